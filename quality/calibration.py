"""How likely a prediction is wrong, from the confidence that its model gave: learnt once, then kept fixed.

And how well confidence and outcome go together as they are: `check_reliability`.

What is learnt at a release and frozen is what the inputs of that time meant. It serves the estimate without labels
(CBPE, as NannyML calls it), the guess that audits correct, and the residual y - f(x), which tells a worse model from
harder inputs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from quality.intervals import rate_interval
from quality.rates import Number

FloatArray = npt.NDArray[np.float64]

#: Where a smooth fit is kept: closer to each other towards 0 and 1.
_KNOTS = 1 / (1 + np.exp(-np.linspace(-8.0, 8.0, 65)))
#: Confidences are told apart by tenths.
N_STEPS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chance of being wrong at some confidences, linear between them and level outside."""

    confidences: tuple[float, ...]
    chances: tuple[float, ...]
    #: Labelled predictions that it was learnt from.
    n: int

    def chance_wrong(self, confidences: npt.ArrayLike) -> FloatArray:
        """Return P(wrong) for each confidence."""
        chances: FloatArray = np.interp(
            np.asarray(confidences, dtype=np.float64), self.confidences, self.chances
        )
        return chances


def calibrate(confidences: npt.ArrayLike, wrong: npt.ArrayLike) -> Calibration:
    """Return the isotonic fit: more confident predictions are wrong no more often. Raises ValueError without any.

    Every chance is kept a little away from 0 and 1, since no finite sample shows that nothing can happen: half an
    event more of each kind.
    """
    x, y = np.asarray(confidences, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    if not len(x) or len(x) != len(y):
        raise ValueError("a calibration needs as many labels as confidences, at least one")
    fit = IsotonicRegression(y_min=0.5 / (len(x) + 1), y_max=(len(x) + 0.5) / (len(x) + 1), increasing=False)
    fit.fit(x, y)
    return Calibration(tuple(fit.X_thresholds_.tolist()), tuple(fit.y_thresholds_.tolist()), len(x))


def calibrate_smoothly(confidences: npt.ArrayLike, wrong: npt.ArrayLike) -> Calibration:
    """Return a logistic fit over the log odds of confidence, or `calibrate` where all labels are alike.

    Platt scaling (Advances in Large Margin Classifiers, 1999). Of a few wrong outputs an isotonic fit makes two or
    three steps, by which audits would be drawn hardly better than evenly.
    """
    x, y = np.asarray(confidences, dtype=np.float64), np.asarray(wrong, dtype=bool)
    if len(x) != len(y) or not y.any() or y.all():
        return calibrate(confidences, wrong)
    fit = LogisticRegression(C=10.0).fit(_log_odds(x)[:, None], y)
    chances = fit.predict_proba(_log_odds(_KNOTS)[:, None])[:, 1]
    return Calibration(tuple(_KNOTS.tolist()), tuple(chances.tolist()), len(x))


def _log_odds(confidences: FloatArray) -> FloatArray:
    # A confidence of 0 or 1 is one that cannot be told from a thousandth.
    x = np.clip(confidences, 0.0, 1.0)
    odds: FloatArray = np.log((1 - x + 1e-3) / (x + 1e-3))
    return odds


def estimate_wrong(calibration: Calibration, confidences: npt.ArrayLike) -> float | None:
    """Return the share of wrong predictions to be expected from their confidences alone; None without any.

    It follows inputs that got harder, and is blind to a model that got worse while it stays as confident.
    """
    chances = calibration.chance_wrong(confidences)
    return float(chances.mean()) if len(chances) else None


@dataclass(frozen=True, slots=True)
class Step:
    """The predictions with a confidence between two bounds: what they promised and what users made of them."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence beside outcome, of predictions that users answered: who stays silent is not among them."""

    #: The share that was accepted.
    accuracy: Number
    #: The mean confidence: the accuracy that the model promised.
    expected: float
    #: Mean squared distance of the confidence from the outcome.
    brier: float
    #: Mean distance of confidence and accuracy over the steps, each weighted by its predictions.
    calibration_error: float
    steps: tuple[Step, ...]


def check_reliability(confidences: npt.ArrayLike, wrong: npt.ArrayLike) -> Reliability | None:
    """Return how confidence and outcome go together; None without any."""
    x, right = np.asarray(confidences, dtype=np.float64), 1.0 - np.asarray(wrong, dtype=np.float64)
    n = len(x)
    if not n:
        return None
    place = np.clip((x * N_STEPS).astype(np.int64), 0, N_STEPS - 1)
    counts = np.bincount(place, minlength=N_STEPS)
    promised, kept = (np.bincount(place, weights=values, minlength=N_STEPS) for values in (x, right))
    steps = tuple(
        Step(
            low=step / N_STEPS,
            high=(step + 1) / N_STEPS,
            n=int(counts[step]),
            confidence=float(promised[step] / counts[step]),
            accuracy=float(kept[step] / counts[step]),
        )
        for step in np.flatnonzero(counts).tolist()
    )
    k = round(float(right.sum()))
    return Reliability(
        accuracy=Number(k / n, n, *rate_interval(n, k)),
        expected=float(x.mean()),
        brier=float(np.mean((x - right) ** 2)),
        calibration_error=float(np.abs(promised - kept).sum() / n),
        steps=steps,
    )
