"""What predictions and their feedback add to the one-minute windows, in integers.

Sums of integers are exact and free of order, and what was added can be taken away again: when a later
feedback changes the outcome of a prediction, its window is restated by subtracting the old and adding the
new.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from quality.distances import PPM
from quality.histogram import bucket_of
from quality.outcomes import FeedbackFact

MINUTE_US = 60_000_000


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


def add(a: Contribution, b: Contribution) -> Contribution:
    """Return a + b."""
    return add_all((a, b))


def add_all(parts: Iterable[Contribution]) -> Contribution:
    """Return the sum of all parts in one pass."""
    sums = [0] * len(_SUMS)
    served: dict[int, int] = {}
    shown: dict[int, int] = {}
    for part in parts:
        for place, name in enumerate(_SUMS):
            sums[place] += getattr(part, name)
        for counts, added in ((served, part.served), (shown, part.shown)):
            for bucket, count in added.items():
                counts[bucket] = counts.get(bucket, 0) + count
    return Contribution(**dict(zip(_SUMS, sums, strict=True)), served=_compact(served), shown=_compact(shown))


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


def _compact(counts: dict[int, int]) -> dict[int, int]:
    return {bucket: count for bucket, count in counts.items() if count}
