"""Which of many slices stand out, without being fooled by their number."""

import math

import numpy as np
import numpy.typing as npt

from quality.evidence import log_mean, log_ratios


def flagged(log_evidence: npt.ArrayLike, alpha: float) -> npt.NDArray[np.int64]:
    """Return the slices whose e-values stand out, the strongest first: of these at most `alpha` are false on average.

    e-BH (Wang and Ramdas, Journal of the Royal Statistical Society B 2022): the k largest, with the largest k of which
    the k-th is at least S / (alpha k) of S slices. It holds under any dependence, as overlapping tags have it. For a
    question that is asked once (a report, a gate). The evidence of a running detector is no e-value: divide it by the
    events it has seen first.
    """
    evidence = np.asarray(log_evidence, dtype=np.float64)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
    order = np.argsort(-evidence, kind="stable")
    needed = math.log(max(len(evidence), 1) / alpha) - np.log(np.arange(1, len(evidence) + 1))
    reached = np.flatnonzero(evidence[order] >= needed)
    return order[: reached[-1] + 1] if len(reached) else order[:0]


def log_e_values(n: npt.ArrayLike, k: npt.ArrayLike, rate: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return for each slice the log e-value of `k` of `n` against a rate of at most `rate`.

    A mixture over the multiples of quality/evidence.py, each a likelihood ratio with mean 1 or less.
    """
    ratios, _ = log_ratios(n, k, np.maximum(rate, 1e-9))
    return log_mean(ratios)


def worst(
    n: npt.ArrayLike, k: npt.ArrayLike, rate: npt.ArrayLike, alpha: float = 0.05
) -> npt.NDArray[np.int64]:
    """Return the slices that are surely worse than their rate, the surest first."""
    return flagged(log_e_values(n, k, rate), alpha)
