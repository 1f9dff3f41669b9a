"""Which feedback counts for a prediction, in whatever order and however often it arrives."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Action = Literal["edit", "accept", "reject"]


@dataclass(frozen=True, slots=True)
class FeedbackFact:
    """One feedback to a prediction, reduced to what is counted."""

    id: str
    #: As it counts: an edit back to the very output that was shown is an accept.
    action: Action
    time_us: int
    #: From the shown to the corrected output; None where nothing was corrected or it can't be measured.
    distance_ppm: int | None = None
    #: From capture to display; None if the service did not say.
    display_us: int | None = None


def effective(facts: Iterable[FeedbackFact]) -> FeedbackFact | None:
    """Return the feedback that counts: the last by time, then by id; None for silence."""
    return max(facts, key=_order, default=None)


def _order(fact: FeedbackFact) -> tuple[int, str, str, int, int]:
    # All that is counted takes part, so that even ids used twice leave nothing to the order of arrival.
    distance = -1 if fact.distance_ppm is None else fact.distance_ppm
    display = -1 if fact.display_us is None else fact.display_us
    return fact.time_us, fact.id, fact.action, distance, display
