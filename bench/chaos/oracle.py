"""What the database must hold, from what was sent alone, by a plain count; and how far what it holds is from that.

Nothing of storage/ or quality/ has a part in the count, but for the bucket that a latency belongs to. What is erased or
purged stays counted, but what is said of it from then on counts nowhere, and when that was depends on who was killed:
of its windows the predictions and their latencies are compared, and the rest must only add up.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from bench.chaos.traffic import MODEL, PERSONAL, Held
from errata.events import Event, FeedbackData, PredictionData, VocData
from quality.histogram import bucket_of

_MINUTE_US: Final = 60_000_000

#: Topic and partition.
Partition = tuple[str, int]
#: Topic, partition, offset of the record and position in it.
Place = tuple[str, int, int, int]
#: Model, version, slice and minute.
WindowKey = tuple[str, str, str, int]
#: Every number of a window; a bucket's is named `served` or `shown` with its number.
Numbers = Counter[str]


@dataclass(slots=True)
class Observed:
    """What a database holds."""

    #: Ids of predictions, feedback and comments; an id stored twice is there twice.
    ids: Counter[str] = field(default_factory=Counter)
    #: Ids of what is counted and no longer kept.
    tombstones: Counter[str] = field(default_factory=Counter)
    #: Whom anything that is kept belongs to.
    subjects: set[str] = field(default_factory=set)
    windows: dict[WindowKey, Numbers] = field(default_factory=dict)
    dead_letters: dict[Place, str] = field(default_factory=dict)
    #: Events, new events, duplicates and dead letters of each partition by its ledger.
    ledger: dict[Partition, tuple[int, int, int, int]] = field(default_factory=dict)
    #: The next offset by the ledger; None where its rows leave a hole or overlap.
    ends: dict[Partition, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """How far what was stored is from what was sent. All are 0 where the promise was kept."""

    sent: int
    lost: int
    double: int
    wrong_windows: int
    dead_letters_missing: int
    dead_letters_wrong: int
    ledger_wrong: int
    #: Erased persons, and purged events, of which something is there.
    remaining: int

    def is_right(self) -> bool:
        """Whether nothing differs."""
        return not any(
            (
                self.lost,
                self.double,
                self.wrong_windows,
                self.dead_letters_missing,
                self.dead_letters_wrong,
                self.ledger_wrong,
                self.remaining,
            )
        )


class Expected:
    """What must be stored of the records that were acknowledged by the broker."""

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}
        #: How often each event was sent.
        self._times: Counter[str] = Counter()
        #: Of models that nobody knew yet.
        self._unknown: dict[str, Event] = {}
        self._dead: dict[Place, str] = {}
        self._erased: set[str] = set()
        #: Predictions from before it are purged, with what was said of them.
        self._purged_until_us = 0
        self._n_events: Counter[Partition] = Counter()
        self._n_dead: Counter[Partition] = Counter()
        #: The offset after the last record of each partition.
        self.ends: dict[Partition, int] = {}

    def add(
        self, partition: Partition, offset: int, holds: Iterable[Held], models: Iterable[str] = (MODEL,)
    ) -> None:
        """Note a record at its offset, read by workers that know `models`."""
        for position, held in enumerate(holds):
            self._n_events[partition] += 1
            if isinstance(held, Event):
                self._times[held.id] += 1
            reason = _reason_against(held, models)
            if reason is not None:
                self._dead[*partition, offset, position] = reason
                self._n_dead[partition] += 1
                if isinstance(held, Event):
                    self._unknown[held.id] = held
            elif isinstance(held, Event):
                self._events[held.id] = held
        self.ends[partition] = max(self.ends.get(partition, 0), offset + 1)

    def mend(self) -> dict[str, Event]:
        """From now on the models are known that were not: what was set aside for it must be stored. Returns it."""
        mended, self._unknown = self._unknown, {}
        self._events.update(mended)
        return mended

    def erase(self, subject: str) -> None:
        """From now on nothing of a person may be kept."""
        self._erased.add(subject)

    def purge(self, until_us: int) -> None:
        """From now on no prediction from before a time may be kept."""
        self._purged_until_us = until_us

    def n_sent(self) -> int:
        """Events sent, with repetitions and what was malformed."""
        return self._n_events.total()

    def n_purged(self) -> int:
        """Predictions that may not be kept any more."""
        return len(self._list_purged())

    def n_dead(self) -> int:
        """Events that had to be set aside."""
        return len(self._dead)

    def judge_naively(self, ids: Counter[str]) -> tuple[int, int]:
        """How many events were lost and how many stored too often, by a worker that stores repetitions as well."""
        return (self._times - ids).total(), (ids - self._times).total()

    def windows(self) -> dict[WindowKey, Numbers]:
        """Every window, by the definition."""
        feedback: dict[str, list[Event]] = defaultdict(list)
        for event in self._events.values():
            if isinstance(event.data, FeedbackData) and event.data.who.kind == "user":
                feedback[event.data.prediction_id].append(event)
        counted: dict[WindowKey, Numbers] = defaultdict(Counter)
        for event in self._events.values():
            data = event.data
            if isinstance(data, PredictionData):
                numbers = _count(event, feedback.get(event.id, ()))
                minute_us = event.time_us - event.time_us % _MINUTE_US
                for name in ("all", *(f"{tag}={value}" for tag, value in data.tags.items())):
                    counted[data.model, data.version, name, minute_us].update(numbers)
        return dict(counted)

    def judge(self, observed: Observed) -> Judgement:
        """Compare with what a database holds."""
        gone = self._list_gone()
        # What is said of a purged prediction afterwards waits for it, as if it had not come yet.
        may_be_gone = gone | self._list_about_purged()
        known = observed.ids + observed.tombstones
        return Judgement(
            sent=self.n_sent(),
            lost=len(self._events.keys() - known.keys()) + len(observed.tombstones.keys() - may_be_gone),
            double=sum(n - 1 for n in known.values())
            + len(known.keys() - self._events.keys())
            + max(0, sum(new for _, new, _, _ in observed.ledger.values()) - len(self._events)),
            wrong_windows=self._n_wrong_windows(observed),
            dead_letters_missing=len(self._dead.keys() - observed.dead_letters.keys()),
            dead_letters_wrong=sum(
                self._dead.get(place) != reason for place, reason in observed.dead_letters.items()
            ),
            ledger_wrong=sum(
                not self._is_balanced(partition, observed)
                for partition in self.ends.keys() | observed.ledger.keys()
            ),
            remaining=len(self._erased & observed.subjects) + len(gone & observed.ids.keys()),
        )

    def _list_gone(self) -> set[str]:
        """The ids of what may not be kept: of erased persons and about their predictions, and purged predictions.

        Of a purged prediction nobody knows any more whose it was, when that person is erased.
        """
        events, purged = self._events.values(), self._list_purged()
        erased = {
            event.id
            for event in events
            if isinstance(event.data, PredictionData | VocData) and event.data.subject in self._erased
        }
        about = {
            event.id
            for event in events
            if isinstance(event.data, FeedbackData | VocData) and event.data.prediction_id in erased - purged
        }
        return erased | about | purged

    def _list_purged(self) -> set[str]:
        return {
            event.id
            for event in self._events.values()
            if isinstance(event.data, PredictionData) and event.time_us < self._purged_until_us
        }

    def _list_about_purged(self) -> set[str]:
        purged = self._list_purged()
        return {
            event.id
            for event in self._events.values()
            if isinstance(event.data, FeedbackData | VocData) and event.data.prediction_id in purged
        }

    def _n_wrong_windows(self, observed: Observed) -> int:
        ours, theirs = self.windows(), observed.windows
        n_wrong = 0
        for key in ours.keys() | theirs.keys():
            expected, found = ours.get(key, Counter()), theirs.get(key, Counter())
            if self._may_lack_feedback(key):
                n_said = found["n_edit"] + found["n_accept"] + found["n_reject"]
                n_wrong += _keep_made(expected) != _keep_made(found) or n_said > found["n"]
            else:
                n_wrong += expected != found
        return n_wrong

    def _may_lack_feedback(self, key: WindowKey) -> bool:
        _, version, _, minute_us = key
        return minute_us < self._purged_until_us or (version == PERSONAL and bool(self._erased))

    def _is_balanced(self, partition: Partition, observed: Observed) -> bool:
        n, new, duplicate, dead = observed.ledger.get(partition, (0, 0, 0, 0))
        return (
            n == new + duplicate + dead == self._n_events[partition]
            and dead == self._n_dead[partition]
            and observed.ends.get(partition) == self.ends.get(partition)
        )


def _reason_against(held: Held, models: Iterable[str]) -> str | None:
    if isinstance(held, str):
        return held
    if isinstance(held.data, PredictionData) and held.data.model not in models:
        return "unknown_model"
    return None


def _keep_made(numbers: Numbers) -> Numbers:
    """What a window says of predictions, without what was said of them."""
    return Counter({name: n for name, n in numbers.items() if name == "n" or name.startswith("served")})


def _count(prediction: Event, feedback: Iterable[Event]) -> Numbers:
    """What one prediction and its feedback add to its windows."""
    data = prediction.data
    assert isinstance(data, PredictionData)
    numbers = Counter({"n": 1})
    if data.latency_ms is not None:
        numbers[f"served {bucket_of(round(data.latency_ms * 1000))}"] = 1
    last = max(feedback, key=lambda event: (event.time_us, event.id), default=None)
    if last is None:
        return numbers
    given = last.data
    assert isinstance(given, FeedbackData)
    reverted = given.action == "edit" and given.corrected == data.output
    action = "accept" if reverted else given.action
    numbers[f"n_{action}"] = 1
    if given.display_ms is not None:
        numbers[f"shown {bucket_of(round(given.display_ms * 1000))}"] = 1
    measured = action == "accept" or (action == "edit" and isinstance(given.corrected, str))
    if measured:
        distance = 0 if action == "accept" else distance_ppm(data.output, given.corrected)
        numbers["n_distance"] = 1
        # Left out where they are 0, as in what is compared.
        numbers += Counter(distance_ppm=distance, distance_ppm_squares=distance**2 // 1_000_000)
    return numbers


def distance_ppm(shown: str, corrected: str) -> int:
    """Character error rate: edits over the length of `corrected`, at most 1, in parts per million, half up."""
    if shown == corrected:
        return 0
    row = list(range(len(corrected) + 1))
    for left, ours in enumerate(shown, start=1):
        diagonal, row[0] = row[0], left
        for right, theirs in enumerate(corrected, start=1):
            diagonal, row[right] = (
                row[right],
                min(row[right] + 1, row[right - 1] + 1, diagonal + (ours != theirs)),
            )
    edits, length = row[-1], len(corrected)
    if edits >= length:
        return 1_000_000
    return max(1, (2 * edits * 1_000_000 + length) // (2 * length))
