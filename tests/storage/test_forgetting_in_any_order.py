"""Whatever comes in, again or late, and whatever is removed in between: each event counts once and the rest adds up."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from errata.events import Event, FeedbackData, PredictionData, VocData
from errata.settings import Retention
from storage.database import Database
from storage.erasing import erase_again, erase_content
from storage.erasures import plan_erasure, record_erasures
from storage.retention import known_since, remove_old
from storage.tables import feedback, metadata, predictions, voc
from storage.verify import verify
from storage.windows import sum_windows
from tests.builders import START_US, a_feedback_event, a_prediction_event, a_voc_event, an_arrival
from tests.records import MODEL
from tests.storage.conftest import MODELS, Apply

DAY_US = 86_400_000_000
KEPT = Retention(predictions_days=3, voc_days=4, tombstones_days=8)
SUBJECTS = ["ada", "bob"]

EVENTS = [
    *(a_prediction_event(n, subject=SUBJECTS[n % 2], time_us=START_US + n * DAY_US) for n in range(4)),
    *(
        a_feedback_event(
            1000 + n,
            prediction=n % 4,
            action=["edit", "accept", "reject"][n % 3],
            time_us=START_US + n * DAY_US + 1,
        )
        for n in range(6)
    ),
    *(a_voc_event(2000 + n, subject=SUBJECTS[n % 2], time_us=START_US + n * DAY_US) for n in range(2)),
]

#: What happens: events come in, what is old is removed, or a person is erased; and days pass.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 2, 5]),
        st.lists(st.sampled_from(EVENTS), min_size=1, max_size=6)
        | st.sampled_from(["remove", "remove", "ada", "bob", "again"]),
    ),
    min_size=1,
    max_size=9,
)


def kind_of(event: Event) -> str:
    kinds = {PredictionData: "prediction", FeedbackData: "feedback", VocData: "voc"}
    return kinds[type(event.data)]


@dataclass
class Plain:
    """What Errata must hold, by the definition."""

    stored: dict[tuple[str, str], Event] = field(default_factory=dict)
    stored_us: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Removed events that are known, with their time and whether a person was erased.
    tombstones: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    erased_us: dict[str, int] = field(default_factory=dict)
    ever: set[tuple[str, str]] = field(default_factory=set)
    kept: Counter[str] = field(default_factory=Counter)
    n_new: int = 0

    def come_in(self, event: Event, now_us: int) -> None:
        key = (kind_of(event), event.id)
        if key in self.stored or key in self.tombstones or event.time_us < known_since(KEPT, now_us):
            return
        assert key not in self.ever, "an event would count twice"
        self.ever.add(key)
        self.n_new += 1
        subject = getattr(event.data, "subject", None)
        about = self.tombstones.get(("prediction", getattr(event.data, "prediction_id", None) or ""))
        is_erased = (about is not None and about[1]) or event.time_us <= self.erased_us.get(subject or "", -1)
        if is_erased:
            self.tombstones[key] = event.time_us, True
        else:
            self.stored[key] = event
            self.stored_us[key] = now_us
        if key[0] == "prediction":
            self.kept["n"] += is_erased
            for answer in self.answers(event.id) if is_erased else []:
                self.remove(answer, is_erased=True)

    def answers(self, prediction_id: str) -> list[tuple[str, str]]:
        return [
            key
            for key, event in self.stored.items()
            if key[0] == "feedback" and event.data.prediction_id == prediction_id  # type: ignore[union-attr]
        ]

    def outcome(self, prediction_id: str) -> Counter[str]:
        given_ = [self.stored[key] for key in self.answers(prediction_id)]
        if not given_:
            return Counter(n=1)
        last: Any = max(given_, key=lambda event: (event.time_us, event.id)).data
        return Counter({"n": 1, f"n_{last.action}": 1})

    def remove(self, key: tuple[str, str], *, is_erased: bool) -> None:
        event = self.stored[key]
        if key[0] == "prediction":
            self.kept += self.outcome(event.id)
            for answer in self.answers(event.id):
                self.remove(answer, is_erased=is_erased)
        del self.stored[key]
        self.tombstones[key] = event.time_us, is_erased

    def remove_old(self, now_us: int) -> None:
        since_us = now_us - 3 * DAY_US
        for key in [each for each in self.stored if each[0] == "prediction"]:
            if self.stored[key].time_us < since_us:
                self.remove(key, is_erased=False)
        for key in list(self.stored):
            event: Any = self.stored[key]
            waits = key[0] == "feedback" and ("prediction", event.data.prediction_id) not in self.stored
            if (waits and self.stored_us[key] < since_us) or (
                key[0] == "voc" and event.time_us < now_us - 4 * DAY_US
            ):
                self.remove(key, is_erased=False)
        self.tombstones = {
            key: (time_us, is_erased)
            for key, (time_us, is_erased) in self.tombstones.items()
            if is_erased or time_us >= known_since(KEPT, now_us) - DAY_US
        }

    def erase(self, subject: str, now_us: int) -> None:
        self.erased_us[subject] = now_us
        for key in list(self.stored):
            if key in self.stored and getattr(self.stored[key].data, "subject", None) == subject:
                self.remove(key, is_erased=True)

    def numbers(self) -> Counter[str]:
        total = Counter(self.kept)
        for kind, id_ in self.stored:
            if kind == "prediction":
                total += self.outcome(id_)
        return +total


@given(steps=STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_event_counts_once_and_all_adds_up(steps: list[Any], db: Database, apply_to: Apply) -> None:
    with db.write() as c:
        for table in reversed(metadata.sorted_tables):
            c.execute(table.delete())
    plain, now_us, offset, n_new = Plain(), START_US, 0, 0
    for days, what in steps:
        now_us += days * DAY_US
        if what == "remove":
            remove_old(db, KEPT, now_us)
            plain.remove_old(now_us)
        elif what == "again":
            erase_again(db)
        elif isinstance(what, str):
            record_erasures(db, [plan_erasure(db, what, now_us, "00" * 16)])
            erase_content(db, what)
            plain.erase(what, now_us)
        else:
            arrival = an_arrival(what, first_offset=offset, topic="errata.predictions")
            applied = apply_to(arrival, now_us=now_us, known_since_us=known_since(KEPT, now_us))
            offset, n_new = offset + len(what), n_new + applied.n_new
            for event in (event for event in what if kind_of(event) != "feedback"):
                plain.come_in(event, now_us)
            for event in (event for event in what if kind_of(event) == "feedback"):
                plain.come_in(event, now_us)
        assert verify(db, MODELS).differences == []
    with db.read() as c:
        stored = {
            (kind, id_)
            for kind, table in (("prediction", predictions), ("feedback", feedback), ("voc", voc))
            for id_ in c.scalars(select(table.c.id))
        }
        windows = sum_windows(c, model=MODEL, by=())
    assert stored == set(plain.stored)
    assert n_new == plain.n_new
    names = ("n", "n_edit", "n_accept", "n_reject")
    assert +Counter({name: sum(getattr(each, name) for each in windows) for name in names}) == plain.numbers()
