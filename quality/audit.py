"""The truth behind the volunteers: an unbiased error rate from feedback and a small random audit.

Users who correct are not all users: wrong outputs are answered more often than right ones, and most are never
answered. Of those who stayed silent, some are labelled by an auditor, each with a known probability. Then

    z = y                                where a user answered,
    z = g + (audited / probability) (y - g)    where none did,

has the mean of y, whatever the users do and however good the guess g is (Hansen and Hurwitz, Journal of the American
Statistical Association 1946; as prediction-powered inference Angelopoulos et al., Science 2023). A good guess, and
audits where the guess is unsure, only make it narrower (Zrnic and Candes, PNAS 2024).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quality.calibration import Calibration
from quality.intervals import betting_interval

FloatArray = npt.NDArray[np.float64]


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
class ActiveDraw:
    """How likely a prediction is to be audited, by its confidence alone: so it is known of those not drawn too.

    Kept with the batch, whatever is learnt later. A prediction without confidence is one in doubt.
    """

    #: The chance of being wrong at some confidences, as it was believed when the audits were drawn.
    confidences: tuple[float, ...]
    chances: tuple[float, ...]
    share: float
    least: float
    #: The mean spread of the predictions that were drawn from.
    mean_spread: float

    def probabilities(self, confidences: npt.ArrayLike) -> FloatArray:
        """Return the probability of each confidence; NaN stands for none."""
        spread = _spread(self.confidences, self.chances, confidences)
        relative = spread / self.mean_spread if self.mean_spread > 0 else np.ones(len(spread))
        probabilities: FloatArray = np.minimum(self.share * (self.least + (1 - self.least) * relative), 1.0)
        return probabilities


def plan_draw(
    confidences: npt.ArrayLike, share: float, calibration: Calibration | None = None, *, least: float = 0.5
) -> ActiveDraw:
    """Return how to audit a share of predictions of these confidences, more of those in doubt.

    `least` of the audits are spread evenly, so that no probability falls below `least` x `share`. Where nothing was
    calibrated yet, confidence is taken at its word: that costs precision at most, since any known probabilities do.
    """
    if not (0 < share <= 1 and 0 < least <= 1):
        raise ValueError("shares are above 0 and at most 1")
    at, chances = (
        ((0.0, 1.0), (1.0, 0.0)) if calibration is None else (calibration.confidences, calibration.chances)
    )
    spread = _spread(at, chances, confidences)
    return ActiveDraw(at, chances, share, least, float(spread.mean()) if len(spread) else 0.0)


def _spread(at: tuple[float, ...], chances: tuple[float, ...], confidences: npt.ArrayLike) -> FloatArray:
    """The standard deviation of being wrong, at each confidence: where it is largest an audit tells most."""
    x = np.asarray(confidences, dtype=np.float64)
    chance = np.where(np.isnan(x), 0.5, np.interp(x, at, chances))
    spread: FloatArray = np.sqrt(chance * (1 - chance))
    return spread


def draw_systematically(probabilities: npt.ArrayLike, start: float) -> npt.NDArray[np.int64]:
    """Return the places that are drawn, in an order that the caller has shuffled, by a start uniform in 0..1.

    Each place is drawn with exactly its probability, and as many in all as the probabilities add up to, give or take
    one (Madow, Annals of Mathematical Statistics 1949).
    """
    ends = np.cumsum(np.asarray(probabilities, dtype=np.float64))
    passed = np.floor(ends - start).astype(np.int64)
    return np.flatnonzero(np.diff(passed, prepend=math.floor(-start)) > 0)


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
