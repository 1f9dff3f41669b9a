"""The truth behind the volunteers: an unbiased error rate from feedback and a small random audit.

Users who correct are not all users: wrong outputs are answered more often than right ones, and most are never
answered. Of those who stayed silent, some are labelled by an auditor, each with a known probability. Then

    z = y                                where a user answered,
    z = g + (audited / probability) (y - g)    where none did,

has the mean of y, whatever the users do and however good the guess g is (Hansen and Hurwitz, Journal of the American
Statistical Association 1946; as prediction-powered inference Angelopoulos et al., Science 2023). A good guess, and
audits where the guess is unsure, only make it narrower (Zrnic and Candes, PNAS 2024). What somebody has corrected
already is wrong, and no audit is spent on it; what somebody accepted is audited, but more seldom than what nobody said
anything of, as far as earlier labels bear that out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from quality.calibration import Calibration
from quality.intervals import betting_interval

FloatArray = npt.NDArray[np.float64]

#: Of active audits so many are spread evenly.
LEAST: Final = 0.25
#: Silent predictions fall into so many strata by confidence, at most, and each should get so many audits.
_STRATA: Final = 12
_LEAST_PER_STRATUM: Final = 5


@dataclass(frozen=True, slots=True)
class Audited:
    """A rate with its interval, valid at all times, from `n` predictions of which `n_audited` were audited."""

    rate: float | None
    low: float
    high: float
    n: int
    n_audited: int
    n_answered: int


@dataclass(frozen=True, slots=True)
class Guess:
    """How likely an output is wrong that nobody corrected, from the labels that came before."""

    #: By confidence, where users said nothing.
    silent: Calibration
    #: Where users accepted it; None where that is not known apart.
    accepted: float | None

    def chance_wrong(self, confidences: npt.ArrayLike, accepted: npt.ArrayLike) -> FloatArray:
        """Return P(wrong) for each; NaN stands for no confidence."""
        x = np.asarray(confidences, dtype=np.float64)
        chance = self.silent.chance_wrong(np.where(np.isnan(x), 0.5, x))
        if self.accepted is not None:
            chance = np.where(np.asarray(accepted, dtype=bool), self.accepted, chance)
        return chance


@dataclass(frozen=True, slots=True)
class AuditDraw:
    """How audits are drawn from predictions that nobody has corrected: of each stratum so many, all alike.

    A stratum is one or more cells: confidences between two edges, no confidence, and what users accepted. So the
    probability of a prediction is `drawn / sizes` of its stratum, exactly, and is known of those not drawn too. Kept
    with the batch, whatever is learnt later.
    """

    #: A cell begins at each of these confidences.
    edges: tuple[float, ...]
    #: The stratum of each cell: by confidence from the lowest, then no confidence, then accepted.
    strata: tuple[int, ...]
    sizes: tuple[int, ...]
    drawn: tuple[int, ...]

    @property
    def n_drawn(self) -> int:
        """How many audits are drawn in all."""
        return sum(self.drawn)

    def places(self, confidences: npt.ArrayLike, accepted: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the stratum of each prediction; NaN stands for no confidence."""
        cells = _cells(self.edges, confidences, accepted)
        places: npt.NDArray[np.int64] = np.array(self.strata, dtype=np.int64)[cells]
        return places

    def probabilities(self, confidences: npt.ArrayLike, accepted: npt.ArrayLike) -> FloatArray:
        """Return how likely each prediction is to be audited."""
        of_strata = np.array(self.drawn, dtype=np.float64) / np.array(self.sizes, dtype=np.float64)
        probabilities: FloatArray = of_strata[self.places(confidences, accepted)]
        return probabilities

    def draw(
        self, confidences: npt.ArrayLike, accepted: npt.ArrayLike, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """Return the places of the audits among the predictions that were planned for."""
        strata = self.places(confidences, accepted)
        drawn = [
            rng.choice(np.flatnonzero(strata == stratum), size=n, replace=False)
            for stratum, n in enumerate(self.drawn)
        ]
        return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, dtype=np.int64)


def plan_uniform(n: int, wanted: int) -> AuditDraw:
    """Return how to draw `wanted` of `n` predictions, all alike."""
    if not 0 <= wanted <= n:
        raise ValueError("a draw needs 0 <= wanted <= n")
    return AuditDraw((), (0, 0, 0), (max(n, 1),), (wanted,))


def plan_active(
    confidences: npt.ArrayLike,
    accepted: npt.ArrayLike,
    wanted: int,
    guess: Guess | None = None,
    *,
    least: float = LEAST,
) -> AuditDraw:
    """Return how to draw `wanted` of these predictions, more of those in doubt.

    `least` of the audits are spread evenly, the rest by the standard deviation of being wrong (Neyman, Journal of the
    Royal Statistical Society 1934), and one at least goes to each stratum. Where nothing was learnt yet, confidence is
    taken at its word: that costs precision at most, since any known probabilities do. Few audits are drawn uniformly.
    """
    x, accepted = np.asarray(confidences, dtype=np.float64), np.asarray(accepted, dtype=bool)
    if not 0 < least <= 1:
        raise ValueError("the least share is above 0 and at most 1")
    n_steps = min(_STRATA, wanted // _LEAST_PER_STRATUM - 2)
    if n_steps < 1:
        return plan_uniform(len(x), wanted)
    chance = np.where(np.isnan(x), 0.5, 1 - x) if guess is None else guess.chance_wrong(x, accepted)
    spread = np.sqrt(chance * (1 - chance))
    edges = _edges(x, spread, ~accepted & ~np.isnan(x), n_steps)
    cells, n_cells = _cells(edges, x, accepted), len(edges) + 3
    sizes = np.bincount(cells, minlength=n_cells)
    (kept,) = np.nonzero(sizes)
    # Nothing is in the other cells; whatever may turn up there is taken for one of the first stratum.
    strata = np.zeros(n_cells, dtype=np.int64)
    strata[kept] = np.arange(len(kept))
    spreads = np.bincount(cells, weights=spread, minlength=n_cells)[kept]
    doubt = spreads / spreads.sum() if spreads.sum() > 0 else sizes[kept] / len(x)
    drawn = _round(wanted * (least * sizes[kept] / len(x) + (1 - least) * doubt), sizes[kept], wanted)
    return AuditDraw(
        edges, tuple(strata.tolist()), tuple(sizes[kept].tolist()), tuple(int(each) for each in drawn)
    )


def _edges(x: FloatArray, spread: FloatArray, of: npt.NDArray[np.bool_], n_steps: int) -> tuple[float, ...]:
    """Confidences that cut those `of` which it is into steps of about the same sum of spreads."""
    order = np.argsort(x[of], kind="stable")
    sums = np.cumsum(spread[of][order])
    if not len(sums) or sums[-1] <= 0:
        return ()
    at = np.searchsorted(sums, sums[-1] * np.arange(1, n_steps) / n_steps)
    cut = np.unique(x[of][order][np.minimum(at, len(sums) - 1)])
    return tuple(cut[cut > x[of].min()].tolist())


def _cells(
    edges: tuple[float, ...], confidences: npt.ArrayLike, accepted: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    x = np.asarray(confidences, dtype=np.float64)
    cells = np.searchsorted(np.array(edges), x, side="right")
    cells = np.where(np.isnan(x), len(edges) + 1, cells)
    return np.where(np.asarray(accepted, dtype=bool), len(edges) + 2, cells).astype(np.int64)


def _round(shares: FloatArray, sizes: npt.NDArray[np.int64], wanted: int) -> npt.NDArray[np.int64]:
    """Whole numbers near `shares` that add up to `wanted`: at least one, and at most `sizes`, of each."""
    drawn = np.clip(np.floor(shares).astype(np.int64), 1, sizes)
    while (missing := wanted - int(drawn.sum())) != 0:
        may = drawn < sizes if missing > 0 else drawn > 1
        # The one that is farthest from its share.
        away = np.where(may, (shares - drawn) * np.sign(missing), -np.inf)
        drawn[int(np.argmax(away))] += int(np.sign(missing))
    return drawn


def scores(
    wrong: npt.ArrayLike,
    answered: npt.ArrayLike,
    audited: npt.ArrayLike,
    probability: npt.ArrayLike,
    guess: npt.ArrayLike,
) -> FloatArray:
    """Return z for each prediction; `wrong` is read only where a user answered or an auditor looked.

    `guess` and `probability` must have been fixed before any label of the prediction came in.
    """
    answered, audited = np.asarray(answered, dtype=bool), np.asarray(audited, dtype=bool)
    probability, guess = np.asarray(probability, dtype=np.float64), np.asarray(guess, dtype=np.float64)
    labelled = np.where(answered | audited, np.asarray(wrong, dtype=np.float64), 0.0)
    corrected = np.where(audited, (labelled - guess) / probability, 0.0)
    z: FloatArray = np.where(answered, labelled, guess + corrected)
    return z


def power(wrong: npt.ArrayLike, guess: npt.ArrayLike, n_all: int) -> float:
    """Return how much of the guess to use, from labels that came before: 0 for a worthless one, 1 at most.

    PPI++ (Angelopoulos et al., arXiv 2311.01453): Cov(y, g) / ((1 + n / N) Var g).
    """
    y, g = np.asarray(wrong, dtype=np.float64), np.asarray(guess, dtype=np.float64)
    if len(y) < 2 or n_all < 1 or not (variance := float(np.var(g))):
        return 0.0
    covariance = float(np.mean((y - y.mean()) * (g - g.mean())))
    return min(max(covariance / ((1 + len(y) / n_all) * variance), 0.0), 1.0)


def estimate(
    wrong: npt.ArrayLike,
    answered: npt.ArrayLike,
    audited: npt.ArrayLike,
    probability: npt.ArrayLike,
    guess: npt.ArrayLike,
) -> Audited:
    """Return the error rate of these predictions, the mean of their `scores`, with bounds that hold at all times.

    What is not known are the outputs that nobody answered and nobody audited. Their mean distance from the guess is
    bounded from the audits alone, each weighted by how unlikely it was, in their order.
    """
    answered, audited = np.asarray(answered, dtype=bool), np.asarray(audited, dtype=bool)
    n, n_audited, n_answered = len(answered), int((audited & ~answered).sum()), int(answered.sum())
    if not n:
        return Audited(None, 0.0, 1.0, 0, 0, 0)
    z = scores(wrong, answered, audited, probability, guess)
    low, high = _bound(
        np.asarray(wrong, dtype=np.float64),
        answered,
        audited,
        np.asarray(probability, dtype=np.float64),
        np.asarray(guess, dtype=np.float64),
    )
    rate = min(max(float(z.mean()), low), high)
    return Audited(rate, low, high, n, n_audited, n_answered)


def _bound(
    wrong: FloatArray,
    answered: npt.NDArray[np.bool_],
    audited: npt.NDArray[np.bool_],
    probability: FloatArray,
    guess: FloatArray,
) -> tuple[float, float]:
    silent = ~answered
    looked_at = silent & audited
    known = float(np.where(answered, np.where(answered, wrong, 0.0), guess).mean())
    if not silent.any():
        return known, known
    # The range that a weighted distance can have at all, not the one that the audits happened to have.
    weight = probability[silent].mean() / probability
    heaviest = float(weight[silent].max())
    lowest, highest = -heaviest * float(guess[silent].max()), heaviest * (1 - float(guess[silent].min()))
    distances = (weight * (wrong - guess))[looked_at]
    bounds = betting_interval(np.clip((distances - lowest) / (highest - lowest), 0, 1))
    share = float(silent.mean())
    low, high = (known + share * (lowest + (highest - lowest) * bound) for bound in bounds)
    return min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)


def bias_in_a_sentence(silence_is_consent: float, audited: Audited, of_answers: float | None = None) -> str:
    """Say what taking silence for consent, and asking only who answered, get wrong, beside what audits found."""
    if audited.rate is None:
        return "No prediction was audited yet, so nobody knows what silence means."
    said = f"Taking silence for consent gives {_compare(silence_is_consent, audited.rate, audited)}"
    if of_answers is not None:
        said += f"; asking only those who answered gives {_compare(of_answers, audited.rate, audited)}"
    return (
        f"{said}: {audited.n_audited:,} audits of predictions that nobody corrected put the share of wrong outputs at "
        f"{100 * audited.rate:.1f} % ({100 * audited.low:.1f} to {100 * audited.high:.1f} %)."
    )


def _compare(rate: float, true: float, audited: Audited) -> str:
    points = 100 * (rate - true)
    said = f"{100 * rate:.1f} %, which is {abs(points):.1f} points"
    if audited.low <= rate <= audited.high:
        return f"{said} {'less' if points < 0 else 'more'}, which may be chance"
    return f"{said} too {'low' if points < 0 else 'high'}"
