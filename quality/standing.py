"""Where the slices of a version stand: which are surely worse than the whole, and how near each is to an alarm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from errata.settings import Detector
from errata.wire import format_time
from quality.drift import STAGES, DetectorState, Stage
from quality.evidence import HIGHEST_RATE
from quality.horizons import name_horizon, say_horizon
from quality.intervals import rate_interval, rate_intervals
from quality.search import worst
from quality.windows import ALL


@dataclass(frozen=True, slots=True)
class HorizonStanding:
    """Where the detector of one horizon stands; it says the same in a sentence."""

    detector: str
    stage: Stage
    evidence_share: float
    #: The rate that is allowed; None while it is learnt.
    ceiling: float | None
    said: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A slice: `k` of `n` predictions corrected and the interval of the rate; what its detector says, in a sentence."""

    slice: str
    n: int
    k: int
    low: float
    high: float
    #: Surely worse than the whole: of the slices of which that is said, one in twenty is wrong on average.
    is_worse: bool
    stage: Stage
    #: The evidence as a share of that which alarms; 0 where nothing is known.
    evidence_share: float
    said: str
    #: Of several detectors that which is nearest to an alarm: the name of its horizon; None where none watches.
    detector: str | None
    #: Every detector of the slice, the shortest horizon first.
    horizons: tuple[HorizonStanding, ...]


def stand(
    counts: Mapping[str, tuple[int, int]],
    states: Mapping[int, Mapping[str, DetectorState]],
    detector: Detector,
) -> list[Standing]:
    """Say of the whole, and of each slice in `counts` (predictions, corrections), where it stands.

    `states` are by horizon and slice; of each slice that which is nearest to an alarm is told.

    The whole comes first, then slices that are surely worse, the surest first; then those whose detectors are
    nearest to an alarm.
    """
    names = [name for name, (n, _) in counts.items() if n and name != ALL]
    worse = find_worse(counts)
    low, high = rate_intervals(
        np.array([counts[name][0] for name in names], dtype=np.int64),
        np.array([counts[name][1] for name in names], dtype=np.int64),
    )
    found = [
        _stand_one(name, *counts[name], bounds, name in worse, states, detector)
        for name, bounds in zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)
    ]
    found.sort(
        key=lambda each: (
            worse.index(each.slice) if each.is_worse else len(worse),
            -STAGES.index(each.stage),
            -each.evidence_share,
            -each.n,
            each.slice,
        )
    )
    n, k = counts.get(ALL, (0, 0))
    whole = [_stand_one(ALL, n, k, rate_interval(n, k), False, states, detector)] if n else []
    return [*whole, *found]


def find_worse(counts: Mapping[str, tuple[int, int]]) -> list[str]:
    """The slices that are surely corrected more often than the whole, the surest first, however many there are."""
    names = sorted(name for name, (n, _) in counts.items() if n and name != ALL)
    n, k = counts.get(ALL, (0, 0))
    if not names or not n:
        return []
    # The rate of the whole is not known exactly either.
    allowed = np.full(len(names), rate_interval(n, k)[1])
    found = worst([counts[name][0] for name in names], [counts[name][1] for name in names], allowed)
    return [names[place] for place in found.tolist()]


def describe_detector(state: DetectorState | None, detector: Detector) -> str:
    """Where a detector stands, in a sentence."""
    if state is None:
        return "Not watched."
    if state.ceiling is None:
        needed = max(detector.reference_predictions, 1)
        return f"Learns what is usual: {state.reference_n:,} of {needed:,} matured predictions."
    if state.ceiling >= HIGHEST_RATE:
        return f"Up to {state.ceiling:.1%} are usual: a rise could not be told."
    since = f" since {format_time(state.stage_us)}" if state.stage_us is not None else ""
    allowed = f"up to {state.ceiling:.1%} are allowed"
    if state.stage == "alarmed":
        return f"Alarmed{since}; calm again when the rate is surely below the {state.ceiling:.1%} allowed."
    share = f"{_share(state):.1%} of the evidence that alarms"
    return f"Warned{since}: {share}; {allowed}." if state.stage == "warned" else f"Calm: {share}; {allowed}."


def _stand_one(
    name: str,
    n: int,
    k: int,
    bounds: tuple[float, float],
    is_worse: bool,
    states: Mapping[int, Mapping[str, DetectorState]],
    detector: Detector,
) -> Standing:
    horizons = tuple(
        HorizonStanding(
            detector=name_horizon(horizon_us),
            stage=by_slice[name].stage,
            evidence_share=_share(by_slice[name]),
            ceiling=by_slice[name].ceiling,
            said=_say_by_horizon(horizon_us, by_slice[name], detector),
        )
        for horizon_us, by_slice in sorted(states.items())
        if name in by_slice
    )
    # The shortest of those that are as near to an alarm.
    nearest = max(
        horizons,
        key=lambda each: (STAGES.index(each.stage), each.evidence_share, each.ceiling is not None),
        default=None,
    )
    return Standing(
        slice=name,
        n=n,
        k=k,
        low=bounds[0],
        high=bounds[1],
        is_worse=is_worse,
        stage=nearest.stage if nearest else "calm",
        evidence_share=nearest.evidence_share if nearest else 0.0,
        said=nearest.said if nearest else describe_detector(None, detector),
        detector=nearest.detector if nearest else None,
        horizons=horizons,
    )


def _say_by_horizon(horizon_us: int, state: DetectorState, detector: Detector) -> str:
    said = describe_detector(state, detector)
    if len(detector.horizons_seconds) == 1:
        return said
    return f"By corrections within {say_horizon(horizon_us)}: {said[0].lower()}{said[1:]}"


def _share(state: DetectorState) -> float:
    return math.exp(state.log_evidence - state.log_level) if state.log_level is not None else 0.0
