"""Evidence that vectors are not like those before them: bets on telling the new one of a pair from the old one.

From pairs of a new vector and one of a reference a direction is learnt, in which new ones lie further. Which way the
next pair lies is bet on before it is learnt from (Podkopaev and Ramdas, Sequential predictive two-sample and
independence testing, NeurIPS 2023). As long as both come from one distribution, the sign of the difference is a coin,
whatever was learnt, provided that a vector of the reference is used once: used again, what was learnt knows it.

Where an old one was a new one some thousands of pairs before, that is not quite so: what was learnt leans towards it by
what has not faded, a thousandth after ten half-lives. It lies further that way than a fresh one would, so the bets
lose: alarms were rarer, never more frequent, in all streams that were tried, also where only 20 pairs lay between.
That is no proof; a proof would need each vector to be used once, and half of all predictions to be left out.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quality.evidence import BETS, FloatArray

#: Pairs after which what was learnt weighs half.
_HALF_LIFE = 1000.0
#: Pairs that are bet on before they are learnt from.
_AT_ONCE = 20
#: Variances are drawn towards their mean by this share, so that a dimension that hardly varies is no direction.
_SHRINKAGE = 0.3
_LARGEST = 1e100


@dataclass(frozen=True, slots=True)
class Learnt:
    """What pairs have taught so far, fading: per dimension where it is an array."""

    #: Pairs, as they weigh now.
    weight: float
    #: Sums of new minus old, and of its squares.
    difference: FloatArray
    squares: FloatArray

    @classmethod
    def nothing(cls, n_dimensions: int) -> "Learnt":
        """Return what is known before the first pair."""
        return cls(0.0, np.zeros(n_dimensions), np.zeros(n_dimensions))


def bet_on_pairs(
    learnt: Learnt, new: npt.ArrayLike, old: npt.ArrayLike, tolerance: float = 0.0
) -> tuple[FloatArray, npt.NDArray[np.bool_], Learnt]:
    """Return what the bets make of each pair, as logarithms (pairs, BETS); which were told apart; what is learnt then.

    Rows of `new` and `old` are pairs, in their order. With a `tolerance` the bets stay fair where the new ones come
    from a distribution within that total variation of the old ones'.
    """
    differences = np.asarray(new, dtype=np.float64) - np.asarray(old, dtype=np.float64)
    # Squares of the largest numbers there are would not be finite.
    differences = np.clip(differences, -_LARGEST, _LARGEST)
    scores = np.empty(len(differences))
    for start in range(0, len(differences), _AT_ONCE):
        some = differences[start : start + _AT_ONCE]
        scores[start : start + len(some)] = np.tanh(some @ _direction(learnt))
        kept = 0.5 ** (len(some) / _HALF_LIFE)
        learnt = Learnt(
            learnt.weight * kept + len(some),
            learnt.difference * kept + some.sum(axis=0),
            learnt.squares * kept + (some**2).sum(axis=0),
        )
    # A score lies in (-1, 1), so within the tolerance its mean is at most twice that.
    log_factors = np.log1p(np.asarray(BETS)[None, :] * (scores[:, None] - 2 * tolerance))
    return log_factors, scores > 0, learnt


def _direction(learnt: Learnt) -> FloatArray:
    """The direction of linear discriminant analysis, with dimensions taken for independent, in standard deviations."""
    if learnt.weight == 0:
        return learnt.difference
    mean = learnt.difference / learnt.weight
    variance = learnt.squares / learnt.weight
    drawn = (1 - _SHRINKAGE) * variance + _SHRINKAGE * variance.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        direction = np.where(drawn > 0, mean / drawn, 0.0)
    # How far apart the two of a pair lie in this direction, as a standard deviation.
    spread = math.sqrt(float(np.sum(direction**2 * variance)))
    return direction / spread if spread > 0 else direction
