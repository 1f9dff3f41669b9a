"""When what a version is given, or what it answers, has drifted: no feedback is waited for, and none is looked at.

Watched are numbers (confidence, latency, lengths, named features), which of the outputs that come often come, and
embeddings. Each is held to its own past by bets that are fair as long as the order of predictions says nothing
(quality/conformal.py, quality/two_samples.py), so that they reach a level A at most once in A values on average,
however often one looks. A watched thing is `calm` until then, has `moved` from then on, and is calm again when as many
values as set its reference have come without such evidence.

A version sets its own reference, by its first predictions. What has moved and is calm again sets a new one, so that
the bound holds for all alarms together, not for the first alone; and embeddings are each paired with one some thousands
before, which was a new one then, so that for them it holds up to what a faded sum still knows of it
(quality/two_samples.py). Data drift is no proof that a version became worse: it opens no run. States are exact: the
same steps give the same bits.
"""

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from errata.errors import Malformed
from errata.settings import FEATURE, DataDrift
from quality.conformal import (
    MEMORIES,
    N_CELL_BETS,
    N_PLACE_BETS,
    add_bets,
    bet_on_cells,
    bet_on_places,
    bin_edges,
    bins_of,
    chance_of,
    place_among,
)
from quality.evidence import BETS, FloatArray, IntArray, log_mean
from quality.two_samples import Learnt, bet_on_pairs

Stage = Literal["calm", "moved"]

#: Of a reference, the first values choose the bins; only those after them are counted, so that the bins know none.
_CHOOSING_SHARE: Final = 0.25
#: Outputs that came so often while categories were chosen are categories of their own, the most frequent ones.
_OFTEN: Final = 5
_CATEGORIES: Final = 31
#: Named features that are watched, at most, and the longest name of one.
FEATURES: Final = 20
FEATURE_CHARACTERS: Final = 200
#: An embedding with more dimensions is not watched.
DIMENSIONS: Final = 4096
_LARGEST: Final = 1e300
#: Values that are kept as they were.
LATEST: Final = 200
#: Embeddings are compared with those of so many references before, and have to be told from them within as many.
LAG_REFERENCES: Final = 5


@dataclass(frozen=True, slots=True)
class Observed:
    """A prediction as it was made, whatever became of it. `output` is JSON, None where it is long."""

    id: str
    time_us: int
    confidence: float | None
    latency_us: int | None
    input_length: int | None
    output_length: int
    output: str | None
    features: Mapping[str, float] | Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Step:
    """The predictions of a span of time that is over, by their times and ids; the next span begins at `end_us`."""

    end_us: int
    predictions: Sequence[Observed]

    @property
    def start_us(self) -> int:
        """When the first of them was made."""
        return self.predictions[0].time_us


@dataclass(frozen=True, slots=True)
class OldEmbedding:
    """An embedding of the reference, and where it lies among all."""

    time_us: int
    id: str
    vector: Sequence[float]


@dataclass(frozen=True, slots=True)
class Change:
    """Where a stream most likely changed: how many values came since then, in which bins, and the time."""

    n: int
    since_us: int | None
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """How the bets on a stream go, one entry a bet where it is a tuple."""

    #: Logarithm of R; None before the first value and after an alarm, where R is 0.
    log_r: tuple[float | None, ...]
    #: What each bet has won since it was last at 0, as a logarithm (Page's CUSUM), and the values since then.
    gain: tuple[float, ...]
    gain_n: tuple[int, ...]
    gain_since_us: tuple[int | None, ...]
    gain_counts: tuple[tuple[int, ...], ...]
    stage: Stage = "calm"
    #: When the stage began, unless it was calm from the beginning.
    stage_us: int | None = None
    #: Values since the latest evidence of an alarm.
    quiet_n: int = 0
    #: The evidence of the latest alarm, as a logarithm.
    alarm_log_evidence: float | None = None

    @classmethod
    def begin(cls, n_bets: int, n_bins: int) -> "Course":
        """Return the course before the first value."""
        return cls(
            (None,) * n_bets, (0.0,) * n_bets, (0,) * n_bets, (None,) * n_bets, ((0,) * n_bins,) * n_bets
        )

    @property
    def log_evidence(self) -> float:
        """Log M, to be compared with the logarithm of the level."""
        return float(log_mean(_from_none(self.log_r))[0])

    @property
    def change(self) -> Change | None:
        """The most likely change; None while no bet wins."""
        best = max(range(len(self.gain)), key=lambda place: self.gain[place])
        if self.gain[best] <= 0:
            return None
        return Change(self.gain_n[best], self.gain_since_us[best], self.gain_counts[best])


@dataclass(frozen=True, slots=True)
class NumberState:
    """All that is remembered of a watched number."""

    n: int = 0
    last_us: int | None = None
    #: The first values, until bins are chosen from them.
    first: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    #: The past: how many values came into each bin, without those since it has moved.
    counts: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    #: The latest values as they were: where they lie beyond the bins, these do not tell.
    latest: tuple[float, ...] = ()
    course: Course | None = None


@dataclass(frozen=True, slots=True)
class OutputsState:
    """All that is remembered of the outputs that come often: their hashes, and how often each came."""

    n: int = 0
    last_us: int | None = None
    first: tuple[str, ...] = ()
    #: The most frequent first; the last of `counts` and `widths` is every other output.
    categories: tuple[str, ...] | None = None
    counts: tuple[int, ...] = ()
    #: The shares that categories had in the reference.
    widths: tuple[float, ...] = ()
    recent: tuple[tuple[float, ...], ...] = ()
    course: Course | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingState:
    """All that is remembered of embeddings, and which of them is the next old one of a pair."""

    n: int = 0
    last_us: int | None = None
    n_dimensions: int | None = None
    #: Those of another length than the first one, or of too many dimensions: they are left out.
    n_other: int = 0
    #: Those that would have been compared, if their old ones had still been stored.
    n_unpaired: int = 0
    weight: float = 0.0
    difference: tuple[float, ...] = ()
    squares: tuple[float, ...] = ()
    #: The last embedding that was an old one.
    old_us: int = 0
    old_id: str = ""
    course: Course | None = None


State: TypeAlias = NumberState | OutputsState | EmbeddingState


@dataclass(frozen=True, slots=True)
class Notice:
    """A watched thing has moved, or is calm again; its state as it was at that moment."""

    watched: str
    stage: Stage
    state: State
    log_evidence: float
    #: The end of the step.
    time_us: int


def to_json(state: State) -> str:
    """Write a state so that `from_json` returns it bit by bit."""
    return msgspec.json.encode(state).decode()


def from_json(watched: str, text: str) -> State:
    """Read what `to_json` wrote of a watched thing. Raises Malformed("bad_data_drift_state")."""
    kind, n_bets = {
        "outputs": (OutputsState, N_CELL_BETS),
        "embedding": (EmbeddingState, len(BETS)),
    }.get(watched, (NumberState, N_PLACE_BETS))
    try:
        state: State = msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise Malformed("bad_data_drift_state", f"not the state of {watched}: {error}") from error
    if state.course is not None and {len(each) for each in _per_bet(state.course)} != {n_bets}:
        raise Malformed("bad_data_drift_state", f"not the state of {watched}: it has other bets")
    return state


def follow(
    states: Mapping[str, State],
    steps: Iterable[Step],
    old_embeddings: Iterable[OldEmbedding],
    settings: DataDrift,
    salt: str,
) -> tuple[dict[str, State], list[Notice]]:
    """Take in `steps`; return the states after them, and what has moved or is calm again.

    What is new is watched from then on. `old_embeddings` are those that `count_pairs` asks for, in their order. `salt`
    is the version's own, so that chance is.
    """
    following = _Following(dict(states), deque(old_embeddings), settings, salt)
    for step in steps:
        following.take_in(step)
    return following.states, following.notices


def count_pairs(state: EmbeddingState, steps: Iterable[Step], settings: DataDrift) -> int:
    """How many old embeddings `follow` will ask for: those after `old_us` and `old_id`, by time and id."""
    wanted = _lag(settings)
    n = sum(isinstance(each.features, Sequence) for step in steps for each in step.predictions)
    return max(state.n + n - max(wanted, state.n), 0) if "embedding" not in settings.ignored else 0


def first_values(settings: DataDrift) -> int:
    """How many values choose the bins."""
    return max(int(settings.reference_predictions * _CHOOSING_SHARE), 1)


def past_values(settings: DataDrift) -> int:
    """How many values a past has at least; those that chose the bins are not among them."""
    return settings.reference_predictions - first_values(settings)


def spread_of(
    edges: Sequence[float], counts: Sequence[int], low: float, high: float
) -> tuple[float, float, float]:
    """The quartiles of binned values, the median in the middle: straight lines within a bin."""
    bounds = np.concatenate([[low], np.clip(edges, low, high), [high]])
    reached = np.concatenate([[0.0], np.cumsum(counts)])
    quartiles = np.interp(np.array([0.25, 0.5, 0.75]) * reached[-1], reached, bounds)
    return float(quartiles[0]), float(quartiles[1]), float(quartiles[2])


@dataclass
class _Following:
    """The states of a version while steps are taken in."""

    states: dict[str, State]
    old: deque[OldEmbedding]
    settings: DataDrift
    salt: str

    def __post_init__(self) -> None:
        self.notices: list[Notice] = []
        self._log_level = math.log(self.settings.events_per_false_alarm)

    def take_in(self, step: Step) -> None:
        # One for each prediction does for all that is watched of it: each is a stream of its own.
        chance = chance_of([each.id for each in step.predictions], self.salt)
        for watched, at, values in self._columns(step.predictions):
            before = self.states.get(watched) or _BEGIN.get(watched, NumberState)()
            stage = before.course.stage if before.course else "calm"
            before = replace(before, last_us=step.predictions[at[-1]].time_us)
            after: State
            if isinstance(before, OutputsState):
                after, evidence = self._take_outputs(before, values, chance[at], step)
            elif isinstance(before, EmbeddingState):
                after, evidence = self._take_embeddings(before, values, step)
            else:
                after, evidence = self._take_numbers(before, np.array(values, np.float64), chance[at], step)
            self.states[watched] = after
            if after.course is not None and after.course.stage != stage:
                told = before if after.course.stage == "calm" else after
                self.notices.append(Notice(watched, after.course.stage, told, evidence, step.end_us))

    def _columns(self, predictions: Sequence[Observed]) -> list[tuple[str, list[int], list[Any]]]:
        """What there is to watch in predictions: its name, the places of those that have it, and their values."""
        columns: dict[str, tuple[list[int], list[Any]]] = {}
        for watched, of in _FIELDS.items():
            found = [(at, value) for at, each in enumerate(predictions) if (value := of(each)) is not None]
            if found:
                columns[watched] = [at for at, _ in found], [value for _, value in found]
        for at, each in enumerate(predictions):
            if isinstance(each.features, Mapping):
                for name, value in each.features.items():
                    places, values = columns.setdefault(FEATURE + name, ([], []))
                    places.append(at)
                    values.append(value)
        known = [name for name in self.states if name.startswith(FEATURE)]
        new = [
            name
            for name in sorted(columns)
            if name.startswith(FEATURE) and name not in known and _can_be_named(name)
        ]
        wanted = {*_FIELDS, *known, *new[: max(FEATURES - len(known), 0)]} - {*self.settings.ignored}
        return [(name, *columns[name]) for name in sorted(columns) if name in wanted]

    def _take_numbers(
        self, state: NumberState, values: FloatArray, chance: FloatArray, step: Step
    ) -> tuple[NumberState, float]:
        # Differences of the largest numbers there are would not be finite.
        values = np.clip(values, -_LARGEST, _LARGEST)
        low, high = float(values.min()), float(values.max())
        state = replace(
            state,
            n=state.n + len(values),
            low=low if state.low is None else min(low, state.low),
            high=high if state.high is None else max(high, state.high),
            latest=(*state.latest, *values.tolist())[-LATEST:],
        )
        if not state.edges:
            missing = max(first_values(self.settings) - len(state.first), 0)
            first = (*state.first, *values[:missing].tolist())
            if len(values) < missing:
                return replace(state, first=first), 0.0
            edges = bin_edges(first)
            state = replace(state, first=(), edges=tuple(edges.tolist()), counts=(0,) * (len(edges) + 1))
            values, chance = values[missing:], chance[missing:]
        bins = bins_of(values, np.array(state.edges))
        course = state.course
        past, bins, chance = self._complete(np.array(state.counts), bins, chance, course)
        if len(bins):
            places, after = place_among(past, bins, chance)
            made = bet_on_places(places, self.settings.tolerance)
            course, evidence = self._move(course, made, bins, len(past), step)
            past = _past(past, after, state.course, course)
        else:
            evidence = 0.0
        return replace(state, counts=tuple(past.tolist()), course=course), evidence

    def _take_outputs(
        self, state: OutputsState, values: Sequence[str], chance: FloatArray, step: Step
    ) -> tuple[OutputsState, float]:
        hash_of = {value: _hash(value, self.salt) for value in set(values)}
        hashes = [hash_of[value] for value in values]
        state = replace(state, n=state.n + len(values))
        if state.categories is None:
            missing = max(first_values(self.settings) - len(state.first), 0)
            first = (*state.first, *hashes[:missing])
            if len(values) < missing:
                return replace(state, first=first), 0.0
            often = sorted(Counter(first).items(), key=lambda each: (-each[1], each[0]))
            chosen = tuple(name for name, n in often if n >= _OFTEN and name)[:_CATEGORIES]
            state = replace(state, first=(), categories=chosen, counts=(0,) * (len(chosen) + 1))
            hashes, chance = hashes[missing:], chance[missing:]
        categories = state.categories or ()
        place_of = {name: place for place, name in enumerate(categories)}
        bins = np.array([place_of.get(each, len(categories)) for each in hashes], dtype=np.int64)
        past, bins, chance = self._complete(np.array(state.counts), bins, chance, state.course)
        if not len(bins):
            return replace(state, counts=tuple(past.tolist())), 0.0
        widths, recent = np.array(state.widths), np.array(state.recent)
        if not len(widths):
            widths = (past + 0.5) / (past.sum() + 0.5 * len(past))
            recent = np.zeros((len(MEMORIES), len(past)))
        places, after = place_among(past, bins, chance)
        made, recent = bet_on_cells(recent, places, widths, self.settings.tolerance)
        course, evidence = self._move(state.course, made, bins, len(past), step)
        is_over = _is_over(state.course, course)
        past = _past(past, after, state.course, course)
        state = replace(
            state,
            counts=tuple(past.tolist()),
            # Cells are as wide as the categories of the past are frequent, and are chosen anew with it.
            widths=() if is_over else tuple(widths.tolist()),
            recent=() if is_over else tuple(tuple(row) for row in recent.tolist()),
            course=course,
        )
        return state, evidence

    def _take_embeddings(
        self, state: EmbeddingState, values: Sequence[Sequence[float]], step: Step
    ) -> tuple[EmbeddingState, float]:
        wanted = state.n_dimensions
        if wanted is None:
            wanted = next((len(each) for each in values if 0 < len(each) <= DIMENSIONS), None)
        fitting = [each for each in values if len(each) == wanted]
        waiting = min(max(_lag(self.settings) - state.n, 0), len(fitting))
        state = replace(
            state,
            n=state.n + len(fitting),
            n_dimensions=wanted,
            n_other=state.n_other + len(values) - len(fitting),
        )
        new = fitting[waiting:]
        old: list[Sequence[float]] = []
        # Where many were removed, the next one may be as new as those that it would be compared with.
        while self.old and len(old) < len(new) and self.old[0].time_us < step.start_us:
            each = self.old.popleft()
            state = replace(state, old_us=each.time_us, old_id=each.id)
            if len(each.vector) == wanted:
                old.append(each.vector)
        state = replace(state, n_unpaired=state.n_unpaired + len(new) - len(old))
        if not old or wanted is None:
            return state, 0.0
        learnt = (
            Learnt(state.weight, np.array(state.difference), np.array(state.squares))
            if state.difference
            else Learnt.nothing(wanted)
        )
        made, told_apart, learnt = bet_on_pairs(learnt, new[: len(old)], old, self.settings.tolerance)
        course, evidence = self._move(state.course, made, told_apart.astype(np.int64), 2, step)
        state = replace(
            state,
            weight=learnt.weight,
            difference=tuple(learnt.difference.tolist()),
            squares=tuple(learnt.squares.tolist()),
            course=course,
        )
        return state, evidence

    def _complete(
        self, past: IntArray, bins: IntArray, chance: FloatArray, course: Course | None
    ) -> tuple[IntArray, IntArray, FloatArray]:
        """Count what the reference still lacks; return the past, and the bins and chance of the values after it."""
        missing = max(past_values(self.settings) - int(past.sum()), 0)
        if course is not None and course.stage == "moved":
            missing = 0
        counted = past + np.bincount(bins[:missing], minlength=len(past))
        return counted.astype(np.int64), bins[missing:], chance[missing:]

    def _move(
        self, course: Course | None, log_factors: FloatArray, bins: IntArray, n_bins: int, step: Step
    ) -> tuple[Course, float]:
        """Take in what the bets made of the values of a step; return the course after it, and the evidence."""
        course = course or Course.begin(log_factors.shape[1], n_bins)
        log_r = add_bets(_from_none(course.log_r), log_factors)
        evidence = float(log_mean(log_r)[0])
        before = np.array(course.gain)
        gain = np.maximum(before + log_factors.sum(axis=0), 0.0)
        goes_on = gain > 0
        counts = np.array(course.gain_counts) + np.bincount(bins, minlength=n_bins)
        since = zip(course.gain_since_us, (before > 0).tolist(), goes_on.tolist(), strict=True)
        course = replace(
            course,
            log_r=_to_none(log_r),
            gain=tuple(gain.tolist()),
            gain_n=tuple(np.where(goes_on, np.array(course.gain_n) + len(bins), 0).tolist()),
            gain_since_us=tuple(
                (since_us if had else step.start_us) if has else None for since_us, had, has in since
            ),
            gain_counts=tuple(tuple(row) for row in (counts * goes_on[:, None]).tolist()),
            quiet_n=course.quiet_n + len(bins),
        )
        if evidence >= self._log_level:
            course = replace(
                course, log_r=(None,) * len(course.log_r), quiet_n=0, alarm_log_evidence=evidence
            )
            if course.stage == "calm":
                course = replace(course, stage="moved", stage_us=step.end_us)
        elif course.stage == "moved" and course.quiet_n >= self.settings.reference_predictions:
            course = replace(Course.begin(len(course.log_r), n_bins), stage_us=step.end_us)
        return course, evidence


#: What is watched of every prediction that has it; the others are its named features.
_FIELDS: Final[dict[str, Callable[[Observed], Any]]] = {
    "confidence": lambda each: each.confidence,
    "latency": lambda each: each.latency_us,
    "input_length": lambda each: each.input_length,
    "output_length": lambda each: each.output_length,
    "outputs": lambda each: each.output or "",
    "embedding": lambda each: each.features if isinstance(each.features, Sequence) else None,
}
_BEGIN: Final[dict[str, Callable[[], State]]] = {"outputs": OutputsState, "embedding": EmbeddingState}


def _past(past: IntArray, after: IntArray, before: Course | None, now: Course) -> IntArray:
    """What values are compared with from now on: what came since a change is no past as long as it has moved.

    What is calm again begins a new past with the values to come. The one before was chosen by what the bets won, and
    against one that was chosen bets are not fair: only the values after a moment that the past determines are.
    """
    if _is_over(before, now):
        return np.zeros_like(past)
    if before is not None and before.stage == "moved":
        return past
    if now.stage == "moved" and now.change is not None:
        before_change: IntArray = np.maximum(after - np.array(now.change.counts, dtype=np.int64), 0)
        return before_change
    return after


def _is_over(before: Course | None, now: Course) -> bool:
    """Whether what had moved is calm again."""
    return before is not None and before.stage == "moved" and now.stage == "calm"


def _per_bet(course: Course) -> tuple[Sequence[Any], ...]:
    return course.log_r, course.gain, course.gain_n, course.gain_since_us, course.gain_counts


def _can_be_named(watched: str) -> bool:
    """Whether a name is one that tables and sentences can hold: anything may be a name in JSON."""
    return len(watched) <= FEATURE_CHARACTERS and watched.isprintable()


def _lag(settings: DataDrift) -> int:
    return LAG_REFERENCES * settings.reference_predictions


def _hash(output: str, salt: str) -> str:
    """What is kept of an output, which may be personal data; nothing of one that is too long to be a category."""
    return hashlib.blake2b(f"{salt}\n{output}".encode(), digest_size=7).hexdigest() if output else ""


def _from_none(log_r: Sequence[float | None]) -> FloatArray:
    return np.array([[-np.inf if each is None else each for each in log_r]], dtype=np.float64)


def _to_none(log_r: npt.NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if each == -np.inf else each for each in log_r[0].tolist())
