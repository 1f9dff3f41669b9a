"""A candidate against the champion on the same frozen examples."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from quality.comparison import PairedTest, mcnemar, mean_difference_interval, non_inferiority

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
Floats = npt.NDArray[np.float64]


def zeros_and(ones: int, n: int) -> Floats:
    values = np.zeros(n)
    values[:ones] = 1
    return values


@given(pairs)
def test_mcnemar_counts_what_changed_and_tests_it_exactly(wrong: list[tuple[bool, bool]]) -> None:
    champion, candidate = np.array(wrong).T
    test = mcnemar(champion, candidate)
    fixed, broken = wrong.count((True, False)), wrong.count((False, True))
    assert (test.n, test.fixed, test.broken) == (len(wrong), fixed, broken)
    expected = binomtest(fixed, fixed + broken, alternative="greater").pvalue if fixed + broken else 1.0
    assert test.p_value == pytest.approx(expected)


@given(pairs)
def test_the_roles_of_candidate_and_champion_mirror_each_other(wrong: list[tuple[bool, bool]]) -> None:
    champion, candidate = np.array(wrong).T
    there, back = mcnemar(champion, candidate), mcnemar(candidate, champion)
    assert (there.fixed, there.broken) == (back.broken, back.fixed)
    assert there.p_value + back.p_value >= 1


def test_equal_versions_are_no_evidence() -> None:
    wrong = np.array([True, False, True])
    assert mcnemar(wrong, wrong) == PairedTest(3, 0, 0, 1.0)


def test_an_equal_candidate_passes_mcnemar_at_most_at_the_rate_asked_for() -> None:
    rng = np.random.default_rng(1)
    wrong = rng.random((2, 1000, 400)) < 0.1
    passed = [
        mcnemar(champion, candidate).p_value <= 0.05 for champion, candidate in zip(*wrong, strict=True)
    ]
    assert np.mean(passed) <= 0.06


def test_the_interval_is_the_same_for_the_same_seed() -> None:
    rng = np.random.default_rng(2)
    champion, candidate = rng.random((2, 200))
    groups = rng.integers(40, size=200)
    first, second = (mean_difference_interval(champion, candidate, groups, seed=7) for _ in range(2))
    assert first == second
    assert first[0] == pytest.approx((candidate - champion).mean())
    assert first[1] < first[0] < first[2]
    assert first != mean_difference_interval(champion, candidate, groups, seed=8)


def test_examples_of_a_group_are_no_evidence_of_their_own() -> None:
    rng = np.random.default_rng(3)
    by_group = rng.normal(size=40)
    candidate, groups = np.repeat(by_group, 25), np.repeat(np.arange(40), 25)
    _, low, high = mean_difference_interval(np.zeros(1000), candidate, groups, seed=1)
    _, naive_low, naive_high = mean_difference_interval(np.zeros(1000), candidate, None, seed=1)
    assert high - low == pytest.approx(5 * (naive_high - naive_low), rel=0.2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(150):
        sizes = rng.integers(1, 6, 60)
        groups = np.repeat(np.arange(60), sizes)
        candidate = np.repeat(rng.exponential(0.1, 60), sizes) + rng.normal(0, 0.1, len(groups))
        _, low, high = mean_difference_interval(
            np.zeros(len(groups)), candidate, groups, draws=200, seed=seed
        )
        covered += low <= 0.1 <= high
    assert 0.88 <= covered / 150 <= 0.99


def test_one_group_bounds_nothing() -> None:
    interval = mean_difference_interval(np.zeros(5), np.ones(5), np.zeros(5), seed=1)
    assert interval == (1.0, -math.inf, math.inf)


def test_groups_may_have_names() -> None:
    groups = np.array(["ann", "ben", "ann", "cho"])
    mean, low, high = mean_difference_interval(np.zeros(4), np.array([1.0, 0, 1, 0]), groups, seed=1)
    assert mean == 0.5
    assert 0 <= low <= high <= 1


def test_a_candidate_that_is_as_good_is_shown_to_be_so_by_enough_examples() -> None:
    champion = zeros_and(40, 400)
    candidate = np.roll(champion, 1)
    verdict = non_inferiority(champion, candidate, None, tolerated_loss=0.03, seed=1)
    assert verdict.loss == 0
    assert verdict.low < 0 < verdict.high
    assert verdict.shown
    assert not verdict.refuted


def test_a_candidate_that_is_much_worse_is_refuted() -> None:
    verdict = non_inferiority(np.zeros(400), zeros_and(40, 400), None, tolerated_loss=0.03, seed=1)
    assert verdict.loss == pytest.approx(0.1)
    assert verdict.refuted
    assert not verdict.shown


def test_few_examples_show_nothing_even_if_all_agree() -> None:
    assert not non_inferiority(np.zeros(50), np.zeros(50), None, tolerated_loss=0.03, seed=1).shown
    verdict = non_inferiority(np.zeros(100), np.zeros(100), None, tolerated_loss=0.03, seed=1)
    assert verdict.shown
    assert verdict.high == pytest.approx(0.0295, abs=1e-4)


@pytest.mark.parametrize("n", [100, 200, 300])
def test_a_candidate_worse_by_the_tolerated_loss_passes_about_as_rarely_as_asked_for(n: int) -> None:
    passes = 0.0
    for broken in range(n):
        verdict = non_inferiority(np.zeros(n), zeros_and(broken, n), None, tolerated_loss=0.03, seed=1)
        if not verdict.shown:
            break
        passes += binom.pmf(broken, n, 0.03)
    assert 0 < passes <= 0.07


@pytest.mark.parametrize(
    ("champion", "candidate"),
    [(np.zeros(3), np.zeros(4)), (np.zeros(0), np.zeros(0)), (np.zeros((2, 2)),) * 2],
)
def test_values_that_do_not_pair_are_refused(champion: Floats, candidate: Floats) -> None:
    with pytest.raises(ValueError, match="one value per example from both versions"):
        mcnemar(champion.astype(bool), candidate.astype(bool))
    with pytest.raises(ValueError, match="one value per example from both versions"):
        mean_difference_interval(champion, candidate, None, seed=1)


def test_groups_must_name_each_example() -> None:
    with pytest.raises(ValueError, match="groups needs one value per example"):
        mean_difference_interval(np.zeros(3), np.zeros(3), np.zeros(2), seed=1)
