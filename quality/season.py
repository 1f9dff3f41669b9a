"""How the correction rate swings with the hour of the week, so that a busy evening is no drift."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.stats import beta

from quality.windows import HOUR_US

HOURS: Final = 168
#: So much time is needed before hours of the week can be told apart: each of them four times.
LEAST_US: Final = 4 * HOURS * HOUR_US
#: Confidence that the true rate of an hour lies below what is allowed in it.
CONFIDENCE: Final = 0.99


def hour_of_week(time_us: int) -> int:
    """The hour of the week of a time, 0 to 167, from Thursday midnight UTC (as 1970 began)."""
    return time_us // HOUR_US % HOURS


def learn_season(n: Sequence[int], k: Sequence[int]) -> tuple[float, ...]:
    """Return for each hour of the week how many times the rate of all hours it may have.

    `n` predictions were made in an hour, `k` of them corrected. The rate of an hour is drawn towards the flat rate, the
    more the less hours differ beyond chance (empirical Bayes for the beta-binomial model), and its upper bound counts:
    a rate that is taken too low makes false alarms. All are 1 where hours differ by no more than chance.
    """
    made, corrected = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    total = made.sum()
    flat = corrected.sum() / total if total else 0.0
    if not 0 < flat < 1:
        return (1.0,) * len(made)
    seen = made > 0
    spread = (made[seen] * (corrected[seen] / made[seen] - flat) ** 2).sum() / (flat * (1 - flat))
    by_chance = seen.sum() - 1
    # The share of the variance that is between hours, by the method of moments.
    between = (spread - by_chance) / max(total - (made**2).sum() / total - by_chance, 1.0)
    if between <= 0:
        return (1.0,) * len(made)
    strength = (1 - min(between, 1 - 1e-9)) / between
    upper = beta.ppf(CONFIDENCE, corrected + strength * flat, made - corrected + strength * (1 - flat))
    factors: list[float] = (upper / flat).tolist()
    return tuple(factors)
