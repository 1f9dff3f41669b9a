"""Why corrections rose: the model got worse, or the inputs got harder.

Before the change confidences meant certain chances of a correction (quality/calibration.py). Inputs that got harder
come with lower confidences, so that the rate follows what they lead to expect; a model that got worse is corrected more
often than it is unsure. The mean residual y - f(x) since the change tells the two apart, by a test that also allows
for how little f may be known where there are few confidences like those since.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from quality.calibration import calibrate, estimate_wrong
from quality.evidence import FloatArray

Cause = Literal["model", "inputs", "both", "unknown"]

#: Predictions with a confidence that are needed before the change, and since it.
LEAST_BEFORE: Final = 200
LEAST_SINCE: Final = 30
#: Standard errors by which residuals that are no chance lie above 0.
_SURE: Final = 3.0
#: Inputs explain a rise if by their confidences so much of it was to be expected.
_EXPLAINED: Final = 0.3


@dataclass(frozen=True, slots=True)
class Explained:
    """Why corrections rose, and the rate that was to be expected by confidence; None where there is none."""

    cause: Cause
    expected: float | None
    sentence: str


def explain(before: Sequence[tuple[float, bool]], since: Sequence[tuple[float, bool]]) -> Explained:
    """Say why predictions since a change are corrected more often than those before: each has a confidence."""
    if not before and not since:
        return _unknown("the model gives no confidence.")
    for found, least, when in ((before, LEAST_BEFORE, "before the change"), (since, LEAST_SINCE, "since it")):
        if len(found) < least:
            return _unknown(
                f"of the {least} predictions with a confidence that it takes {when} there are {len(found)}."
            )
    confidences, corrected = (np.array(column, dtype=np.float64) for column in zip(*before, strict=True))
    calibration = calibrate(confidences, corrected)
    confidences_since, corrected_since = (
        np.array(column, dtype=np.float64) for column in zip(*since, strict=True)
    )
    expected = estimate_wrong(calibration, confidences_since)
    assert expected is not None
    rate_before, rate_since = float(corrected.mean()), float(corrected_since.mean())
    known, chances = calibration.chance_wrong(confidences), calibration.chance_wrong(confidences_since)
    is_worse = rate_since - expected >= _SURE * _standard_error(known, chances)
    is_harder = rate_since > rate_before and expected - rate_before >= _EXPLAINED * (rate_since - rate_before)
    by_confidence = f"By confidence {expected:.1%} was to be expected:"
    if is_worse and is_harder:
        said = "the inputs got harder, and the model got worse."
        return Explained("both", expected, f"{by_confidence} {said}")
    if is_worse:
        return Explained("model", expected, f"{by_confidence} the model got worse.")
    if is_harder:
        return Explained("inputs", expected, f"{by_confidence} the inputs got harder.")
    return Explained("unknown", expected, f"{by_confidence} whether the model got worse cannot be told yet.")


def _unknown(why: str) -> Explained:
    return Explained(
        "unknown", None, f"Whether the model got worse or the inputs got harder cannot be told: {why}"
    )


def _standard_error(known: FloatArray, chances: FloatArray) -> float:
    """Of the mean residual of predictions with these chances, which were learnt from those with `known` ones."""
    levels, counts = np.unique(known, return_counts=True)
    middles = (levels[1:] + levels[:-1]) / 2
    share = np.bincount(np.searchsorted(middles, chances), minlength=len(levels)) / len(chances)
    of_chances = (share**2 * levels * (1 - levels) / counts).sum()
    of_corrections = (chances * (1 - chances)).sum() / len(chances) ** 2
    return math.sqrt(of_chances + of_corrections)
