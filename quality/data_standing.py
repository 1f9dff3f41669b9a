"""Where what is watched of a version stands: in sentences, also where a number is missing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from errata.settings import FEATURE, WATCHED, DataDrift
from errata.wire import format_time
from quality.data_drift import (
    DIMENSIONS,
    LAG_REFERENCES,
    LATEST,
    Change,
    EmbeddingState,
    NumberState,
    OutputsState,
    Stage,
    State,
    past_values,
    spread_of,
)
from quality.windows import DAY_US

#: How a watched thing is called in a sentence, and whether there are several of it.
_CALLED = {
    "confidence": ("confidence", False),
    "latency": ("latency", False),
    "input_length": ("length of inputs", False),
    "output_length": ("length of outputs", False),
    "outputs": ("outputs", True),
    "embedding": ("embeddings", True),
}
NO_RUN = "This alone opens no run: only what users correct does."

Spread = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Watched:
    """One thing that is watched: how many values were looked at, where it stands, and that in a sentence."""

    watched: str
    n: int
    #: None where nothing can be said; `said` tells why.
    stage: Stage | None
    #: The evidence as a share of that which alarms.
    evidence_share: float
    #: Of a number, the quartiles with the median in the middle: of the past; where it has moved, of the latest too.
    before: Spread | None
    since: Spread | None
    since_us: int | None
    n_since: int
    said: str


def stand_all(states: Mapping[str, State], settings: DataDrift) -> list[Watched]:
    """Say of all that can be watched where it stands; what has moved comes first, what is missing last."""
    newest_us = max((state.last_us or 0 for state in states.values()), default=0)
    found = [_stand_one(watched, state, settings, newest_us) for watched, state in states.items()]
    found += [_explain_missing(watched, states, settings) for watched in WATCHED if watched not in states]
    places = {name: place for place, name in enumerate(WATCHED)}
    found.sort(
        key=lambda each: (
            ("moved", "calm", None).index(each.stage),
            places.get(each.watched, len(places)),
            each.watched,
        )
    )
    return found


def call(watched: str) -> str:
    """What a watched thing is called in a sentence."""
    return _CALLED[watched][0] if watched in _CALLED else f"feature {watched.removeprefix(FEATURE)}"


def say_moved(watched: str, state: State, whose: str) -> str:
    """That a watched thing of `whose` (a model and version) has moved: since when, from what to what."""
    has = "have" if _CALLED.get(watched, ("", False))[1] else "has"
    change = state.course.change if state.course else None
    since = f" since {format_time(change.since_us)}" if change and change.since_us is not None else ""
    how = f": {_say_change(watched, state, change)}" if change else ""
    return f"The {call(watched)} of {whose} {has} moved{since}{how}. {NO_RUN}"


def say_calm(watched: str, state: State, whose: str, settings: DataDrift) -> str:
    """That a watched thing is calm again, and why that is said."""
    is_many = _CALLED.get(watched, ("", False))[1]
    than = "those before" if isinstance(state, EmbeddingState) else "before it moved"
    return (
        f"The {call(watched)} of {whose} {'are' if is_many else 'is'} calm again: {settings.reference_predictions:,} "
        f"values came without new evidence that they are not like {than}."
    )


def _stand_one(watched: str, state: State, settings: DataDrift, newest_us: int) -> Watched:
    course = state.course
    change = course.change if course and course.stage == "moved" else None
    before = since = None
    if isinstance(state, NumberState) and any(state.counts):
        before = _spread_before(state)
        since = _spread_since(state, change) if change else None
    share = 0.0
    if course is not None:
        share = min(math.exp(course.log_evidence - math.log(settings.events_per_false_alarm)), 1.0)
    is_ignored = watched in settings.ignored or not settings.predictions_per_minute
    has_come = state.last_us is not None and state.last_us < newest_us - DAY_US
    latest = f" None came after {format_time(state.last_us)}." if has_come and state.last_us else ""
    return Watched(
        watched=watched,
        n=state.n,
        stage=None if is_ignored or course is None else course.stage,
        evidence_share=share,
        before=before,
        since=since,
        since_us=change.since_us if change else None,
        n_since=change.n if change else 0,
        said=_IGNORED if is_ignored else _say(watched, state, settings, share, before) + latest,
    )


_IGNORED = "Not watched: the settings say so (data_drift)."


def _explain_missing(watched: str, states: Mapping[str, State], settings: DataDrift) -> Watched:
    n = max((state.n for state in states.values()), default=0)
    if watched in settings.ignored or not settings.predictions_per_minute:
        said = _IGNORED
    elif not n:
        said = "No prediction was looked at yet."
    else:
        wanted = {"embedding": "features that are a list of numbers", "input_length": "an input"}
        said = f"None of the {n:,} predictions that were looked at has {wanted.get(watched, f'a {call(watched)}')}."
    return Watched(watched, 0, None, 0.0, None, None, None, 0, said)


def _say(watched: str, state: State, settings: DataDrift, share: float, before: Spread | None) -> str:
    left_out = ""
    needed = settings.reference_predictions
    if isinstance(state, EmbeddingState):
        needed *= LAG_REFERENCES
        if state.n_dimensions is None:
            return f"Not watched: none of {state.n_other:,} has 1 to {DIMENSIONS:,} dimensions."
        if state.n_other:
            left_out = f" {state.n_other:,} of another length than {state.n_dimensions:,} were left out."
        if state.n_unpaired:
            left_out += (
                f" {state.n_unpaired:,} were not compared: what they would be held to is not stored any more."
            )
    course = state.course
    if course is None:
        return f"Learns what is usual: {min(state.n, needed):,} of {needed:,}.{left_out}"
    if course.stage == "moved":
        change = course.change
        since = f" since {format_time(change.since_us)}" if change and change.since_us is not None else ""
        how = f": {_say_change(watched, state, change)}" if change else ""
        return f"Moved{since}{how}.{left_out}"
    if isinstance(state, OutputsState) and not state.categories:
        return "No output comes often enough to be followed: only how long outputs are is watched."
    if not isinstance(state, EmbeddingState) and sum(state.counts) < past_values(settings):
        learnt = f"{sum(state.counts):,} of {past_values(settings):,}"
        return f"Calm again; learns what is usual now: {learnt}.{left_out}"
    calm = f"Calm: {share:.1%} of the evidence that alarms"
    if isinstance(state, NumberState) and state.low is not None and state.low == state.high:
        return f"{calm}; always {_value(watched, state.low)} so far."
    usual = f"; {_say_spread(watched, before)}" if before else ""
    return f"{calm}{usual}.{left_out}"


def _say_change(watched: str, state: State, change: Change) -> str:
    n = f"{change.n:,} values"
    if isinstance(state, NumberState):
        before, since = _spread_before(state), _spread_since(state, change)
        latest = f"the latest {LATEST} of " if change.n > LATEST else ""
        return f"{_say_spread(watched, before)} -> {_say_spread(watched, since)}, in {latest}{n}"
    if isinstance(state, EmbeddingState):
        told = change.counts[1] / max(sum(change.counts), 1)
        return f"new ones are told from earlier ones in {told:.0%} of {change.n:,} pairs, where 50% would be chance"
    before_shares, since_shares = (
        [n / max(sum(counts), 1) for n in counts] for counts in (state.counts, change.counts)
    )
    place = max(range(len(before_shares)), key=lambda at: abs(since_shares[at] - before_shares[at]))
    what = (
        f"the one that was number {place + 1} by frequency"
        if place < len(before_shares) - 1
        else f"others than the {place} that came often"
    )
    return f"{what}, {before_shares[place]:.1%} -> {since_shares[place]:.1%} of all, in {n}"


def _spread_before(state: NumberState) -> Spread:
    return spread_of(state.edges, state.counts, state.low or 0.0, state.high or 0.0)


def _spread_since(state: NumberState, change: Change) -> Spread:
    low, median, high = np.quantile(state.latest[-change.n :], [0.25, 0.5, 0.75]).tolist()
    return low, median, high


def _say_spread(watched: str, spread: Spread) -> str:
    low, median, high = (_value(watched, each) for each in spread)
    return f"median {median} (half from {low} to {high})"


def _value(watched: str, value: float) -> str:
    if watched == "latency":
        return f"{value / 1000:.3g} ms"
    return f"{value:.0f} characters" if watched.endswith("_length") else f"{value:.3g}"
