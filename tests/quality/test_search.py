"""Worst slices: few of those that are named are named by chance."""

import numpy as np
import pytest
from scipy.stats import binom

from quality.search import flagged, log_e_values, worst


def test_an_e_value_is_one_on_average_when_nothing_is_wrong() -> None:
    k = np.arange(41)
    e_values = np.exp(log_e_values(np.full(41, 40), k, np.full(41, 0.1)))
    assert float(np.sum(binom.pmf(k, 40, 0.1) * e_values)) == pytest.approx(1)


def test_slices_that_are_worse_are_found_and_hardly_any_other() -> None:
    rng = np.random.default_rng(1)
    false, found = [], []
    for _ in range(200):
        rates = np.full(200, 0.05)
        rates[:5] = 0.15
        named = worst(np.full(200, 500), rng.binomial(500, rates), np.full(200, 0.05))
        false.append(np.mean(named >= 5) if len(named) else 0.0)
        found.append(np.sum(named < 5))
    assert np.mean(false) <= 0.05
    assert np.mean(found) > 4.5


def test_the_surest_comes_first_and_without_slices_there_is_none() -> None:
    assert flagged(np.log([1.0, 1000.0, 90.0]), 0.05).tolist() == [1, 2]
    assert flagged([], 0.05).tolist() == []
    with pytest.raises(ValueError, match="alpha"):
        flagged([1.0], 1.5)
