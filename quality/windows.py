"""What predictions and their feedback add to the one-minute windows, in integers.

Sums of integers are exact and free of order, and what was added can be taken away again: when a later
feedback changes the outcome of a prediction, its window is restated by subtracting the old and adding the
new.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final

import numpy as np
import numpy.typing as npt

from quality import histogram
from quality.distances import PPM
from quality.histogram import Histograms, IntArray, bucket_of
from quality.outcomes import FeedbackFact

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

#: The numbers of a contribution that are no histograms, in the order of the rows of `Contributions.counts`.
COUNTS: Final = (
    "n",
    "n_edit",
    "n_accept",
    "n_reject",
    "n_distance",
    "distance_ppm",
    "distance_ppm_squares",
)
_read_sums = attrgetter(*COUNTS)


@dataclass(frozen=True, slots=True)
class Contributions:
    """Many contributions as columns, so that one operation is about all of them."""

    #: A row for each of COUNTS, a column for each contribution.
    counts: IntArray
    served: Histograms
    shown: Histograms

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return int(self.counts.shape[1])


def minute_of(time_us: int) -> int:
    """Return the start of the minute that a time lies in, in microseconds."""
    return time_us - time_us % MINUTE_US


def starts_of(width_us: int, times_us: Sequence[int]) -> list[int]:
    """Return the start of the minute (or hour, …) that each time lies in, given how long such a span is."""
    times = np.asarray(times_us, dtype=np.int64)
    starts: list[int] = (times - times % width_us).tolist()
    return starts


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


def of_predictions(latencies_us: Sequence[int | None]) -> Contributions:
    """Return `of_prediction` of each, as columns."""
    counts = np.zeros((len(COUNTS), len(latencies_us)), dtype=np.int64)
    counts[COUNTS.index("n")] = 1
    signs = np.ones(len(latencies_us), dtype=np.int64)
    return Contributions(counts, _bucket(latencies_us, signs), _bucket([], signs))


def of_outcomes(facts: Sequence[FeedbackFact], signs: Sequence[int]) -> Contributions:
    """Return `of_outcome` of each, as columns; an outcome with the sign -1 is taken back."""
    weights = np.asarray(signs, dtype=np.int64)
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
    counts = np.zeros((len(COUNTS), len(facts)), dtype=np.int64)
    for name, values in columns.items():
        counts[COUNTS.index(name)] = values * weights
    return Contributions(counts, _bucket([], weights), _bucket([fact.display_us for fact in facts], weights))


def sum_groups(many: Contributions, group_of: Sequence[int] | IntArray, n_groups: int) -> Contributions:
    """Return the sum of each group; `group_of` names the group of each contribution."""
    groups = np.asarray(group_of, dtype=np.int64)
    counts = np.zeros((len(COUNTS), n_groups), dtype=np.int64)
    for total, values in zip(counts, many.counts, strict=True):
        np.add.at(total, groups, values)
    served, shown = (
        histogram.sum_all(replace(each, rows=groups[each.rows])) for each in (many.served, many.shown)
    )
    return Contributions(counts, served, shown)


def take(summed: Contributions, chosen: IntArray) -> Contributions:
    """Return the contributions at the places in `chosen`, in that order, of what `sum_groups` returned."""
    served, shown = (histogram.take_all(each, chosen) for each in (summed.served, summed.shown))
    return Contributions(summed.counts[:, chosen], served, shown)


def join(parts: Sequence[Contributions]) -> Contributions:
    """Return the contributions of all parts, one part after another."""
    n_rows = [part.n_rows for part in parts]
    return Contributions(
        np.concatenate([part.counts for part in parts], axis=1),
        histogram.join_all([part.served for part in parts], n_rows),
        histogram.join_all([part.shown for part in parts], n_rows),
    )


def are_zero(summed: Contributions) -> npt.NDArray[np.bool_]:
    """Return `is_zero` of each, of what `sum_groups` returned."""
    zero: npt.NDArray[np.bool_] = np.logical_not(np.any(summed.counts, axis=0))
    zero[summed.served.rows] = False
    zero[summed.shown.rows] = False
    return zero


def as_columns(parts: Sequence[Contribution]) -> Contributions:
    """Return contributions as columns."""
    counts = np.array([_read_sums(part) for part in parts], dtype=np.int64).reshape(len(parts), len(COUNTS))
    served, shown = (
        histogram.decode_all([histogram.encode(each) for each in histograms])
        for histograms in ([part.served for part in parts], [part.shown for part in parts])
    )
    return Contributions(np.ascontiguousarray(counts.T), served, shown)


def as_objects(summed: Contributions) -> list[Contribution]:
    """Return each contribution by itself, of what `sum_groups` returned."""
    served, shown = (
        map(histogram.decode, histogram.encode_all(each, summed.n_rows))
        for each in (summed.served, summed.shown)
    )
    return [
        Contribution(**dict(zip(COUNTS, counts, strict=True)), served=one, shown=other)
        for counts, one, other in zip(summed.counts.T.tolist(), served, shown, strict=True)
    ]


def add(a: Contribution, b: Contribution) -> Contribution:
    """Return a + b."""
    return add_all((a, b))


def add_all(parts: Iterable[Contribution]) -> Contribution:
    """Return the sum of all parts in one pass."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    sums = [sum(values) for values in zip(*map(_read_sums, parts), strict=True)] or [0] * len(COUNTS)
    return Contribution(
        **dict(zip(COUNTS, sums, strict=True)),
        served=_merge(part.served for part in parts),
        shown=_merge(part.shown for part in parts),
    )


def negate(a: Contribution) -> Contribution:
    """Return -a, which takes `a` back."""
    return Contribution(
        **{name: -getattr(a, name) for name in COUNTS},
        served={bucket: -count for bucket, count in a.served.items()},
        shown={bucket: -count for bucket, count in a.shown.items()},
    )


def subtract(a: Contribution, b: Contribution) -> Contribution:
    """Return a - b."""
    return add(a, negate(b))


def is_zero(a: Contribution) -> bool:
    """Return whether adding `a` changes nothing."""
    return a == ZERO


def _bucket(values_us: Sequence[int | None], weights: IntArray) -> Histograms:
    """Return the histogram of each value that is known, in which it counts with its weight."""
    try:
        # Nearly always all are known.
        known = np.array(values_us, dtype=np.int64)
        rows = np.arange(len(known), dtype=np.int64)
    except TypeError:
        rows = np.array([row for row, value in enumerate(values_us) if value is not None], dtype=np.int64)
        known = np.array([value for value in values_us if value is not None], dtype=np.int64)
    return Histograms(rows, histogram.buckets_of(known), weights[rows])


def _merge(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    merged: dict[int, int] = {}
    for counts in histograms:
        for bucket, count in counts.items():
            merged[bucket] = merged.get(bucket, 0) + count
    return {bucket: count for bucket, count in merged.items() if count}
