"""What predictions and their feedback add to the one-minute windows, in integers.

Sums of integers are exact and free of order, and what was added can be taken away again: when a later
feedback changes the outcome of a prediction, its window is restated by subtracting the old and adding the
new.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

import numpy as np
import numpy.typing as npt

from quality.distances import PPM
from quality.histogram import LAST_BUCKET, ZERO_BUCKET, bucket_of, buckets_of
from quality.outcomes import FeedbackFact

IntArray = npt.NDArray[np.int64]

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
#: The slice that every prediction is in.
ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Contribution:
    """What is added to a window. Bucket counts of 0 are left out, so equal sums are equal objects."""

    #: Predictions, and those whose counted feedback is an edit, accept or reject; the rest is silence.
    n: int = 0
    n_edit: int = 0
    n_accept: int = 0
    n_reject: int = 0
    #: Predictions with a measured distance: accepted ones at 0, and edited ones.
    n_distance: int = 0
    distance_ppm: int = 0
    #: Sum of squares in parts per million, each rounded down.
    distance_ppm_squares: int = 0
    #: From input to output, as measured by the service.
    served: Mapping[int, int] = field(default_factory=dict)
    #: From capture to display, as reported with the feedback.
    shown: Mapping[int, int] = field(default_factory=dict)


ZERO = Contribution()


def minute_of(time_us: int) -> int:
    """Return the start of the minute that a time lies in, in microseconds."""
    return time_us - time_us % MINUTE_US


def of_prediction(latency_us: int | None) -> Contribution:
    """Return what a prediction adds to its window when it arrives."""
    if latency_us is None:
        return Contribution(n=1)
    return Contribution(n=1, served={bucket_of(latency_us): 1})


def of_outcome(fact: FeedbackFact | None) -> Contribution:
    """Return what the feedback that counts adds to the window of its prediction; nothing for silence."""
    if fact is None:
        return ZERO
    action = fact.action
    distance = {"edit": fact.distance_ppm, "accept": 0, "reject": None}[action]
    display = fact.display_us
    return Contribution(
        n_edit=int(action == "edit"),
        n_accept=int(action == "accept"),
        n_reject=int(action == "reject"),
        n_distance=int(distance is not None),
        distance_ppm=distance or 0,
        distance_ppm_squares=(distance or 0) ** 2 // PPM,
        shown={} if display is None else {bucket_of(display): 1},
    )


def sum_predictions(
    latencies_us: Sequence[int | None], group_of: Sequence[int], n_groups: int
) -> list[Contribution]:
    """Return the sum of `of_prediction` over each group; `group_of` names the group of each prediction."""
    groups = np.asarray(group_of, dtype=np.int64)
    ones = np.ones(len(groups), dtype=np.int64)
    served = _sum_buckets(latencies_us, ones, groups, n_groups)
    return [
        Contribution(n=n, served=counts)
        for n, counts in zip(np.bincount(groups, minlength=n_groups).tolist(), served, strict=True)
    ]


def sum_outcomes(
    facts: Sequence[FeedbackFact], signs: Sequence[int], group_of: Sequence[int], n_groups: int
) -> list[Contribution]:
    """Return the sum of `of_outcome` over each group, an outcome with the sign -1 being taken back."""
    groups, weights = np.asarray(group_of, dtype=np.int64), np.asarray(signs, dtype=np.int64)
    actions = np.array([fact.action for fact in facts], dtype="U6")
    edited, accepted = actions == "edit", actions == "accept"
    known = np.array([fact.distance_ppm is not None for fact in facts], dtype=bool)
    distances = np.array([fact.distance_ppm or 0 for fact in facts], dtype=np.int64) * edited
    columns = {
        "n_edit": edited,
        "n_accept": accepted,
        "n_reject": actions == "reject",
        "n_distance": accepted | (edited & known),
        "distance_ppm": distances,
        "distance_ppm_squares": distances**2 // PPM,
    }
    sums = {name: np.zeros(n_groups, dtype=np.int64) for name in columns}
    for name, values in columns.items():
        np.add.at(sums[name], groups, values * weights)
    shown = _sum_buckets([fact.display_us for fact in facts], weights, groups, n_groups)
    rows = zip(*(total.tolist() for total in sums.values()), shown, strict=True)
    return [Contribution(**dict(zip(columns, row, strict=False)), shown=row[-1]) for row in rows]


def add(a: Contribution, b: Contribution) -> Contribution:
    """Return a + b."""
    return add_all((a, b))


def add_all(parts: Iterable[Contribution]) -> Contribution:
    """Return the sum of all parts in one pass."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    sums = [sum(values) for values in zip(*map(_read_sums, parts), strict=True)] or [0] * len(_SUMS)
    return Contribution(
        **dict(zip(_SUMS, sums, strict=True)),
        served=_merge(part.served for part in parts),
        shown=_merge(part.shown for part in parts),
    )


def negate(a: Contribution) -> Contribution:
    """Return -a, which takes `a` back."""
    return Contribution(
        **{name: -getattr(a, name) for name in _SUMS},
        served={bucket: -count for bucket, count in a.served.items()},
        shown={bucket: -count for bucket, count in a.shown.items()},
    )


def subtract(a: Contribution, b: Contribution) -> Contribution:
    """Return a - b."""
    return add(a, negate(b))


def is_zero(a: Contribution) -> bool:
    """Return whether adding `a` changes nothing."""
    return a == ZERO


_SUMS = (
    "n",
    "n_edit",
    "n_accept",
    "n_reject",
    "n_distance",
    "distance_ppm",
    "distance_ppm_squares",
)
_read_sums = attrgetter(*_SUMS)


def _sum_buckets(
    values_us: Sequence[int | None], weights: IntArray, groups: IntArray, n_groups: int
) -> list[dict[int, int]]:
    """Return the histogram of each group, in which each value counts with its weight."""
    known = np.array([value is not None for value in values_us], dtype=bool)
    buckets = buckets_of(np.array([value for value in values_us if value is not None], dtype=np.int64))
    width = LAST_BUCKET - ZERO_BUCKET + 1
    places, which = np.unique(groups[known] * width + buckets - ZERO_BUCKET, return_inverse=True)
    counts = np.zeros(len(places), dtype=np.int64)
    np.add.at(counts, which, weights[known])
    histograms: list[dict[int, int]] = [{} for _ in range(n_groups)]
    for place, count in zip(places.tolist(), counts.tolist(), strict=True):
        if count:
            histograms[place // width][place % width + ZERO_BUCKET] = count
    return histograms


def _merge(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    merged: dict[int, int] = {}
    for counts in histograms:
        for bucket, count in counts.items():
            merged[bucket] = merged.get(bucket, 0) + count
    return {bucket: count for bucket, count in merged.items() if count}
