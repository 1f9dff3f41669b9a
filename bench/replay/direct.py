"""The figures of a file computed from its rows alone, in exact fractions: no code of the pipeline takes part."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from bench.replay.files import Truth

PPM = 1_000_000


@dataclass(slots=True)
class Direct:
    """Sums over the predictions of one slice."""

    n: int = 0
    n_edit: int = 0
    n_accept: int = 0
    n_reject: int = 0
    n_distance: int = 0
    distance_ppm: int = 0
    n_confident: int = 0
    n_right: int = 0
    confidence: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)

    def add(self, truth: Truth) -> None:
        """Count one prediction."""
        self.n += 1
        self.n_edit += truth.action == "edit"
        self.n_accept += truth.action == "accept"
        self.n_reject += truth.action == "reject"
        if truth.distance is not None:
            self.n_distance += 1
            # Distances are kept in millionths, rounded half up; none that is not 0 becomes 0.
            rounded = (2 * truth.distance * PPM + 1) // 2
            self.distance_ppm += max(rounded, 1) if truth.distance else 0
        if truth.confidence is not None and truth.action is not None:
            is_right = truth.action == "accept"
            confidence = Fraction(truth.confidence)
            self.n_confident += 1
            self.n_right += is_right
            self.confidence += confidence
            self.squares += (confidence - is_right) ** 2


def sum_truths(truths: Iterable[Truth]) -> dict[str, Direct]:
    """The sums of all predictions (`all`) and of each slice."""
    sums: dict[str, Direct] = {}
    for truth in truths:
        for name in ("all", *truth.slices):
            sums.setdefault(name, Direct()).add(truth)
    return sums
