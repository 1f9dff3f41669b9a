"""Intervals that hold at all times together."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom

from quality.intervals import (
    accepted_counts,
    betting_interval,
    mean_interval,
    mean_intervals,
    quantile_ranks,
    rate_interval,
    rate_intervals,
)

counts = st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
LOOKS = np.unique(np.geomspace(10, 20_000, 200).astype(int))


@given(counts, st.floats(0.001, 0.5))
def test_an_interval_holds_its_estimate(n_and_k: tuple[int, int], alpha: float) -> None:
    n, k = n_and_k
    low, high = rate_interval(n, k, alpha)
    assert 0 <= low <= k / n <= high <= 1
    assert high > low


@given(counts)
def test_an_interval_is_exact_at_none_and_all(n_and_k: tuple[int, int]) -> None:
    n, _ = n_and_k
    assert rate_interval(n, 0)[0] == 0
    assert rate_interval(n, n)[1] == 1
    assert 0 < rate_interval(n, 0)[1] == pytest.approx(1 - rate_interval(n, n)[0])


def test_no_observation_says_nothing() -> None:
    assert rate_interval(0, 0) == (0, 1)


@given(counts)
def test_corrected_and_uncorrected_are_mirror_images(n_and_k: tuple[int, int]) -> None:
    n, k = n_and_k
    low, high = rate_interval(n, k)
    assert rate_interval(n, n - k) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(counts, st.integers(2, 10))
def test_an_interval_shrinks_with_evidence_and_grows_with_confidence(
    n_and_k: tuple[int, int], times: int
) -> None:
    n, k = n_and_k
    low, high = rate_interval(n, k)
    longer = rate_interval(n * times, k * times)
    surer = rate_interval(n, k, 0.01)
    assert longer[1] - longer[0] < high - low < surer[1] - surer[0]


def test_arrays_give_the_same_bounds_as_single_counts() -> None:
    n, k = np.array([0, 10, 10, 500]), np.array([0, 0, 10, 30])
    low, high = rate_intervals(n, k)
    assert list(zip(low, high, strict=True)) == [
        rate_interval(int(a), int(b)) for a, b in zip(n, k, strict=True)
    ]


@pytest.mark.parametrize(("n", "half_width"), [(1000, 0.0251), (10_000, 0.0086), (100_000, 0.0029)])
def test_the_width_is_about_twice_that_of_a_peeked_interval(n: int, half_width: float) -> None:
    low, high = rate_interval(n, n // 20)
    assert (high - low) / 2 == pytest.approx(half_width, rel=0.03)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.4])
def test_at_most_one_stream_in_twenty_ever_leaves_its_interval(rate: float) -> None:
    rng = np.random.default_rng(11)
    corrections = np.cumsum(rng.random((200, LOOKS[-1])) < rate, axis=1)[:, LOOKS - 1]
    low, high = rate_intervals(LOOKS, corrections)
    missed = ((rate < low) | (rate > high)).any(axis=1)
    assert missed.mean() <= 0.05


def test_an_ordinary_interval_is_left_by_many_of_these_streams() -> None:
    # The check above could not fail if these streams were easy.
    rng = np.random.default_rng(11)
    corrections = np.cumsum(rng.random((200, LOOKS[-1])) < 0.05, axis=1)[:, LOOKS - 1]
    estimate = corrections / LOOKS
    half_width = 1.96 * np.sqrt(estimate * (1 - estimate) / LOOKS)
    assert (np.abs(estimate - 0.05) > half_width).any(axis=1).mean() > 0.3


@pytest.mark.parametrize("shape", [(0.001, 0.099), (0.5, 3.0), (5.0, 5.0)])
def test_at_most_one_stream_in_twenty_ever_leaves_the_interval_of_its_mean(
    shape: tuple[float, float],
) -> None:
    rng = np.random.default_rng(12)
    values = rng.beta(*shape, (200, LOOKS[-1]))
    totals, squares = (np.cumsum(power, axis=1)[:, LOOKS - 1] for power in (values, values**2))
    truth = shape[0] / sum(shape)
    low, high = mean_intervals(LOOKS, totals, squares)
    missed = ((truth < low) | (truth > high)).any(axis=1)
    assert missed.mean() <= 0.05


@example([5e-324], 1)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 2000))
def test_the_interval_of_a_mean_holds_it(values: list[float], times: int) -> None:
    n, total = len(values) * times, sum(values) * times
    interval = mean_interval(n, total, sum(value * value for value in values) * times)
    assert interval is not None
    assert 0 <= interval[0] <= min(total / n + 1e-12, 1)
    assert max(total / n - 1e-12, 0) <= interval[1] <= 1


def test_the_mean_of_nothing_is_unknown() -> None:
    assert mean_interval(0, 0, 0) is None
    low, high = mean_intervals([0, 100], [0, 20], [0, 10])
    assert (low[0], high[0]) == (0, 1)
    assert (low[1], high[1]) == mean_interval(100, 20, 10)


def test_little_variance_is_no_reason_for_confidence() -> None:
    assert mean_interval(100, 0, 0) == rate_interval(100, 0)


def test_much_evidence_makes_use_of_a_small_variance() -> None:
    # 10,000 values of .4 and .6, in equal parts.
    interval = mean_interval(10_000, 5000, 2600)
    assert interval is not None
    as_rate = rate_interval(10_000, 5000)
    assert interval[1] - interval[0] < 0.3 * (as_rate[1] - as_rate[0])


@given(st.integers(1, 5000), st.floats(0.01, 0.99))
def test_the_accepted_counts_are_those_whose_interval_holds_the_rate(n: int, rate: float) -> None:
    fewest, most = accepted_counts(n, rate)
    k = np.arange(n + 1)
    low, high = rate_intervals(np.full(n + 1, n), k)
    accepted = k[(low - 1e-9 <= rate) & (rate <= high + 1e-9)]
    assert (fewest, most) == (accepted.min(), accepted.max())
    assert binom.cdf(most, n, rate) - binom.cdf(fewest - 1, n, rate) >= 0.95


@pytest.mark.parametrize(("n", "k"), [(1, 2), (1, -1), (0, 1)])
def test_counts_that_are_no_rate_are_refused(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="0 <= k <= n"):
        rate_interval(n, k)


def test_sums_of_values_beyond_0_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values in 0\.\.1"):
        mean_interval(2, 3, 5)
    with pytest.raises(ValueError, match="alpha"):
        rate_interval(2, 1, alpha=0)
    with pytest.raises(ValueError, match="n >= 1"):
        accepted_counts(0, 0.5)


@given(n=st.integers(1, 400), q=st.floats(0.01, 0.99), alpha=st.sampled_from([0.01, 0.05, 0.2]))
def test_ranks_of_a_quantile_hold_it_with_at_least_the_promised_probability(
    n: int, q: float, alpha: float
) -> None:
    ranks = quantile_ranks(n, q, alpha)
    if ranks is None:
        assert max(q, 1 - q) ** n > alpha / 2 - 1e-9
        return
    low, high = ranks
    assert 1 <= low <= high <= n
    # The quantile lies between the two values when low to high - 1 of all values are below it.
    assert binom.cdf(high - 1, n, q) - binom.cdf(low - 1, n, q) >= 1 - alpha - 1e-9


def test_72_values_bound_the_95th_percentile() -> None:
    assert quantile_ranks(71, 0.95) is None
    assert quantile_ranks(72, 0.95) is not None


@given(st.lists(st.floats(0, 1), max_size=60))
def test_a_bet_holds_the_mean_of_what_it_saw(values: list[float]) -> None:
    low, high = betting_interval(values)
    assert 0 <= low <= high <= 1
    if values:
        assert low - 1e-9 <= np.mean(values) <= high + 1e-9
    else:
        assert (low, high) == (0, 1)


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_bets_miss_the_mean_seldom_and_are_narrower_than_a_rate_that_may_be_looked_at_for_ever(
    rate: float,
) -> None:
    rng = np.random.default_rng(5)
    missed, narrower = 0, 0
    for _ in range(60):
        values = (rng.random(400) < rate).astype(float)
        low, high = betting_interval(values)
        missed += not low <= rate <= high
        fixed = rate_interval(400, values.sum())
        narrower += high - low < fixed[1] - fixed[0]
    assert missed <= 3
    assert narrower >= 54


def test_values_outside_of_0_to_1_cannot_be_bet_on() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        betting_interval([0.5, 1.5])
