"""Intervals that hold at all times together, so that anyone may look at them as often as they like.

An ordinary 95 % interval that is looked at continuously misses the truth sooner or later in most streams. A
confidence sequence misses it with probability alpha over the whole stream, for about twice the width.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, expit
from scipy.stats import beta, binom

#: Prior of the mixture over rates (Jeffreys), which makes the width near the best at every rate.
_PRIOR = 0.5
#: Sums of values that are no more than this bound nothing, lest the arithmetic overflow.
_NEGLIGIBLE = 1e-9
#: Means that a betting interval tells apart.
_CANDIDATES = 1000
#: Bets whose gains are multiplied before a logarithm is taken.
_BETS_AT_ONCE = 16
#: The asymptotic interval of a mean holds only once that much variance was seen.
SUFFICIENT_VARIANCE = 50.0


def rate_interval(n: int, k: float, alpha: float = 0.05) -> tuple[float, float]:
    """Return bounds of a rate after `k` of `n`, valid at all times together with probability 1 - alpha.

    The beta-binomial confidence sequence (Robbins 1970; Howard et al., Annals of Statistics 2021). (0, 1) at
    n = 0; the lower bound is exactly 0 at k = 0, the upper exactly 1 at k = n. `k` may also be the sum of n
    values in 0..1: the bounds then hold for their mean, as each value's factor in the martingale is convex.
    """
    low, high = rate_intervals(np.array([n]), np.array([k]), alpha)
    return float(low[0]), float(high[0])


def rate_intervals(
    n: npt.ArrayLike, k: npt.ArrayLike, alpha: float = 0.05
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the bounds of `rate_interval` for arrays of counts."""
    n, k = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64))
    if ((k < 0) | (k > n)).any():
        raise ValueError("a rate needs 0 <= k <= n")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
    low, high = expit(_lowest_logit(n, k, alpha)), expit(-_lowest_logit(n, n - k, alpha))
    return np.where(k > _NEGLIGIBLE, low, 0.0), np.where(n - k > _NEGLIGIBLE, high, 1.0)


def mean_interval(
    n: int, total: float, total_squares: float, alpha: float = 0.05, optimal_n: int = 5000
) -> tuple[float, float] | None:
    """Return bounds of the mean of n values in 0..1 from their sum and sum of squares; None at n = 0.

    Once n x variance >= 50 this is the asymptotic confidence sequence of Waudby-Smith et al. (Annals of
    Statistics 2024), narrowest around `optimal_n` values. Before, when that one is not valid yet, it is
    `rate_interval` of the sum, which holds for any values in 0..1 but does not profit from a small variance.
    """
    if n == 0:
        return None
    low, high = mean_intervals(np.array([n]), np.array([total]), np.array([total_squares]), alpha, optimal_n)
    return float(low[0]), float(high[0])


def mean_intervals(
    n: npt.ArrayLike,
    total: npt.ArrayLike,
    total_squares: npt.ArrayLike,
    alpha: float = 0.05,
    optimal_n: int = 5000,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the bounds of `mean_interval` for arrays of sums; 0 and 1 at n = 0."""
    n, total, total_squares = np.broadcast_arrays(
        *(np.asarray(values, dtype=np.float64) for values in (n, total, total_squares))
    )
    slack = 1 + 1e-9
    if not ((total_squares >= 0) & (total_squares <= total * slack) & (total <= n * slack)).all():
        raise ValueError("a mean needs 0 <= total_squares <= total <= n, that is values in 0..1")
    low, high = rate_intervals(n, np.minimum(total, n), alpha)
    count = np.maximum(n, 1)
    mean = total / count
    variance = np.maximum(total_squares / count - mean * mean, 0)
    spread = -2 * math.log(alpha)
    rho_squared = (spread + math.log(spread) + 1) / optimal_n
    grown = n * rho_squared + 1
    half_width = np.sqrt(variance * 2 * grown / (count**2 * rho_squared) * np.log(np.sqrt(grown) / alpha))
    asymptotic = n * variance >= SUFFICIENT_VARIANCE
    return (
        np.where(asymptotic, np.maximum(mean - half_width, 0), low),
        np.where(asymptotic, np.minimum(mean + half_width, 1), high),
    )


def betting_interval(values: npt.ArrayLike, alpha: float = 0.05) -> tuple[float, float]:
    """Return bounds of the mean of values in 0..1, in the order in which they came; (0, 1) without any.

    Two bets on each value, that the mean is higher and that it is lower, against every candidate of a grid; those who
    would have made 1 / alpha of a stake of 1 are refuted (hedged capital, Waudby-Smith and Ramdas, Journal of the Royal
    Statistical Society B 2024). Valid at all times, and narrow where the values vary little. What is bet on a value
    depends on those before it and on how many there are, which therefore has to be settled before they are seen.
    """
    x = np.asarray(values, dtype=np.float64)
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError("a betting interval needs values in 0..1")
    if not len(x):
        return 0.0, 1.0
    count = np.arange(1, len(x) + 1) + 1
    means = (0.5 + np.cumsum(x)) / count
    variances = (0.25 + np.cumsum((x - means) ** 2)) / count
    bets = np.sqrt(2 * math.log(2 / alpha) / (np.concatenate([[0.25], variances[:-1]]) * len(x)))
    candidates = np.arange(1, _CANDIDATES) / _CANDIDATES
    most_higher, most_lower = 0.5 / candidates, 0.5 / (1 - candidates)
    higher, lower = np.zeros(len(candidates)), np.zeros(len(candidates))
    for start in range(0, len(x), _BETS_AT_ONCE):
        # A product of a few gains is far from what a float cannot hold, and cheaper than the sum of their logarithms.
        won, lost = np.ones(len(candidates)), np.ones(len(candidates))
        end = start + _BETS_AT_ONCE
        for value, bet in zip(x[start:end], bets[start:end], strict=True):
            gain = value - candidates
            won *= 1 + np.minimum(bet, most_higher) * gain
            lost *= 1 - np.minimum(bet, most_lower) * gain
        higher += np.log(won)
        lower += np.log(lost)
    (kept,) = np.nonzero(np.logaddexp(higher, lower) + math.log(0.5) < -math.log(alpha))
    mean = float(x.mean())
    if not len(kept):
        return mean, mean
    return min(float(kept[0]) / _CANDIDATES, mean), max(float(kept[-1] + 2) / _CANDIDATES, mean)


def upper_bound(n: float, k: float, confidence: float) -> float:
    """Return the one-sided bound of a rate that was looked at once, exact for a fixed whole n.

    Clopper and Pearson, Biometrika 1934.
    """
    return 1.0 if k >= n else float(beta.ppf(confidence, k + 1, n - k))


def accepted_counts(n: int, p: float, alpha: float = 0.05) -> tuple[int, int]:
    """Return the fewest and the most successes of n that do not refute the rate `p` in `rate_interval`."""
    if n < 1 or not 0 < p < 1:
        raise ValueError("accepted counts need n >= 1 and p between 0 and 1")

    def is_refuted(k: int) -> bool:
        evidence = _log_mixture(float(n), float(k)) - k * math.log(p) - (n - k) * math.log1p(-p)
        return bool(evidence >= -math.log(alpha))

    # The evidence against p is convex in k with its minimum near n x p, which is never refuted.
    centre = min(max(round(n * p), 0), n)
    bounds = []
    for end in (0, n):
        accepted, refuted = centre, end
        if not is_refuted(end):
            accepted = end
        while abs(refuted - accepted) > 1:
            middle = (refuted + accepted) // 2
            if is_refuted(middle):
                refuted = middle
            else:
                accepted = middle
        bounds.append(accepted)
    return bounds[0], bounds[1]


def quantile_ranks(n: int, q: float, alpha: float = 0.05) -> tuple[int, int] | None:
    """Return the ranks, from 1 to n, of the values that bound a quantile of which `n` values were measured once.

    Exact for independent values (order statistics, David and Nagaraja 2003), and valid for one look only. None where
    n values do not bound it from both sides: for the 95th percentile that takes 72.
    """
    if n < 1 or not 0 < q < 1:
        raise ValueError("ranks of a quantile need n >= 1 and q between 0 and 1")
    low, high = int(binom.ppf(alpha / 2, n, q)), int(binom.ppf(1 - alpha / 2, n, q)) + 1
    return (low, high) if low >= 1 and high <= n else None


def _lowest_logit(
    n: npt.NDArray[np.float64], k: npt.NDArray[np.float64], alpha: float
) -> npt.NDArray[np.float64]:
    """Return the logit of the lower bound, by Newton's method from below; anything where k is negligible.

    As a function of the logit, the evidence is convex. So every step ends between its start and the bound, on
    the refuted side, and a bound that is not quite reached is too wide rather than too narrow.
    """
    k = np.where(k > _NEGLIGIBLE, k, 1.0)
    n = np.maximum(n, k)
    excess = _log_mixture(n, k) + math.log(alpha)
    logit: npt.NDArray[np.float64] = excess / k
    for _ in range(100):
        evidence = excess - k * logit + n * np.logaddexp(0.0, logit)
        step = np.maximum(evidence, 0.0) / (k - n * expit(logit))
        logit = logit + step
        if (step <= 1e-12 * np.maximum(np.abs(logit), 1.0)).all():
            break
    return logit


def _log_mixture(n: Any, k: Any) -> Any:
    """Return the log likelihood of k of n under the prior; less that under a rate p it is evidence against p.

    If p is true, the exponential of the difference is a martingale that starts at 1, and so it ever reaches
    1 / alpha with probability alpha at most.
    """
    return betaln(_PRIOR + k, _PRIOR + n - k) - betaln(_PRIOR, _PRIOR)
