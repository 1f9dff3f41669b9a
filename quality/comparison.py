"""A candidate against the champion on the same frozen examples: what pairs say about the difference.

Both versions fail on mostly the same examples, so the difference is far more certain than either mean.
Examples of one group (a user, a document) stand or fall together: groups are drawn, not examples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm


@dataclass(frozen=True, slots=True)
class PairedTest:
    """How the candidate's errors differ from the champion's."""

    n: int
    #: Wrong before, right now.
    fixed: int
    #: Right before, wrong now.
    broken: int
    #: Probability of so many fixed among the changed examples if the candidate were no better.
    p_value: float


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Whether a candidate is worse by more than is tolerated; `loss` is candidate minus champion."""

    loss: float
    #: One-sided bounds: each is wrong with probability alpha.
    low: float
    high: float
    #: Even the highest plausible loss is tolerated.
    shown: bool
    #: Even the lowest plausible loss is more than tolerated.
    refuted: bool


def mcnemar(champion_wrong: npt.NDArray[np.bool_], candidate_wrong: npt.NDArray[np.bool_]) -> PairedTest:
    """Test that the candidate is wrong less often: McNemar's test, exact, one-sided, independent examples."""
    champion_wrong, candidate_wrong = _pair(champion_wrong, candidate_wrong)
    champion_wrong, candidate_wrong = champion_wrong.astype(bool), candidate_wrong.astype(bool)
    fixed = int(np.count_nonzero(champion_wrong & ~candidate_wrong))
    broken = int(np.count_nonzero(~champion_wrong & candidate_wrong))
    p_value = float(binom.sf(fixed - 1, fixed + broken, 0.5))
    return PairedTest(len(champion_wrong), fixed, broken, p_value)


def mean_difference_interval(
    champion: npt.NDArray[np.float64],
    candidate: npt.NDArray[np.float64],
    groups: npt.NDArray[Any] | None,
    *,
    draws: int = 2000,
    alpha: float = 0.05,
    seed: int,
) -> tuple[float, float, float]:
    """Return the mean of candidate - champion, and the bounds of its (1 - alpha) interval.

    Below 0 the candidate is better if the values are losses (distances, errors). `groups` holds the group of
    each example; None means that each is its own. Paired bootstrap of whole groups, bias-corrected and
    accelerated (Efron, JASA 1987). One group alone bounds nothing: minus to plus infinity. With fewer than
    about twenty groups the interval is too narrow.
    """
    sums, sizes = _sum_by_group(champion, candidate, groups)
    mean = float(sums.sum() / sizes.sum())
    if len(sums) == 1:
        return mean, -np.inf, np.inf
    means = _draw_means(sums, sizes, draws, np.random.default_rng(seed))
    return mean, *_accelerated_bounds(sums, sizes, means, alpha)


def non_inferiority(
    champion: npt.NDArray[np.float64],
    candidate: npt.NDArray[np.float64],
    groups: npt.NDArray[Any] | None,
    *,
    tolerated_loss: float,
    draws: int = 2000,
    alpha: float = 0.05,
    seed: int,
) -> NonInferiority:
    """Bound how much worse the candidate is, for losses in 0..1 and otherwise as `mean_difference_interval`.

    Where no group differs there is nothing to draw from. Then a loss that no group has shown may still hit a
    share 1 - alpha^(1/groups) of them, which is 3 % at 100 groups, and `low` and `high` say so.
    """
    sums, _ = _sum_by_group(champion, candidate, groups)
    loss, low, high = mean_difference_interval(
        champion, candidate, groups, draws=draws, alpha=2 * alpha, seed=seed
    )
    if not sums.any():
        unseen = 1 - alpha ** (1 / len(sums))
        low, high = -unseen, unseen
    return NonInferiority(loss, low, high, shown=high <= tolerated_loss, refuted=low > tolerated_loss)


def _pair(
    champion: npt.NDArray[Any], candidate: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    champion, candidate = np.asarray(champion), np.asarray(candidate)
    if champion.ndim != 1 or champion.shape != candidate.shape or not len(champion):
        raise ValueError(
            "a comparison needs one value per example from both versions, "
            f"not arrays of shapes {champion.shape} and {candidate.shape}"
        )
    return champion, candidate


def _sum_by_group(
    champion: npt.NDArray[Any], candidate: npt.NDArray[Any], groups: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the sum of differences and the number of examples of each group."""
    champion, candidate = _pair(champion, candidate)
    differences = candidate.astype(np.float64) - champion.astype(np.float64)
    if groups is None:
        return differences, np.ones(len(differences))
    if np.shape(groups) != differences.shape:
        raise ValueError(f"groups needs one value per example, not shape {np.shape(groups)}")
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros(len(sizes))
    np.add.at(sums, places, differences)
    return sums, sizes.astype(np.float64)


def _draw_means(
    sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], draws: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    means = np.empty(draws)
    for draw in range(draws):
        drawn = rng.integers(len(sums), size=len(sums))
        means[draw] = sums[drawn].sum() / sizes[drawn].sum()
    return means


def _accelerated_bounds(
    sums: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    means: npt.NDArray[np.float64],
    alpha: float,
) -> tuple[float, float]:
    mean = sums.sum() / sizes.sum()
    # Draws equal to the mean count half, else few distinct values would pass for bias.
    below = (np.count_nonzero(means < mean) + 0.5 * np.count_nonzero(means == mean)) / len(means)
    bias = norm.ppf(np.clip(below, 1 / len(means), 1 - 1 / len(means)))
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    skew = without.mean() - without
    spread = float((skew**2).sum())
    acceleration = float((skew**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    bounds = []
    for share in (alpha / 2, 1 - alpha / 2):
        z = bias + norm.ppf(share)
        adjusted = norm.cdf(bias + z / (1 - acceleration * z))
        bounds.append(float(np.quantile(means, adjusted)))
    return min(bounds[0], float(mean)), max(bounds[1], float(mean))
