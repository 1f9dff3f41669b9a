"""Telling new vectors from old ones: fair while nothing changes, and a small shift is seen."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.conformal import add_bets
from quality.evidence import BETS, log_mean, no_evidence, restart
from quality.two_samples import Learnt, bet_on_pairs

Vectors = npt.NDArray[np.float64]
N_DIMENSIONS = 32


def draw(rng: np.random.Generator, n: int, shift: float = 0.0) -> Vectors:
    """Vectors of 32 dimensions in which four things vary; the first of them is shifted, in standard deviations."""
    mixing = np.random.default_rng(0).normal(size=(4, N_DIMENSIONS))
    latent = rng.normal(size=(n, 4))
    latent[:, 0] += shift
    return latent @ mixing + rng.normal(size=(n, N_DIMENSIONS))


def test_nothing_is_raised_while_nothing_changes() -> None:
    rng = np.random.default_rng(1)
    learnt, log_r, alarms = Learnt.nothing(N_DIMENSIONS), no_evidence(1, len(BETS)), 0
    for _ in range(100):
        made, _, learnt = bet_on_pairs(learnt, draw(rng, 1000), draw(rng, 1000))
        log_r, alarmed = restart(add_bets(log_r, made), 1e4)
        alarms += int(alarmed[0])
    assert alarms <= 20


def test_a_shift_is_seen_and_a_tolerance_sees_less() -> None:
    rng = np.random.default_rng(2)
    new, old = draw(rng, 3000, shift=0.5), draw(rng, 3000)
    strict, told_apart, _ = bet_on_pairs(Learnt.nothing(N_DIMENSIONS), new, old)
    tolerant, _, _ = bet_on_pairs(Learnt.nothing(N_DIMENSIONS), new, old, tolerance=0.02)
    evidence = log_mean(add_bets(no_evidence(1, len(BETS)), strict))[0]
    assert evidence > math.log(1e6)
    assert log_mean(add_bets(no_evidence(1, len(BETS)), tolerant))[0] < evidence
    assert told_apart[1000:].mean() > 0.55


def test_the_first_pairs_are_bet_on_before_anything_was_learnt() -> None:
    made, told_apart, _ = bet_on_pairs(Learnt.nothing(2), [[9.0, 9.0]] * 20, [[0.0, 0.0]] * 20)
    assert (made == 0).all()
    assert not told_apart.any()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6), st.integers(1, 60))
def test_evidence_is_finite_whatever_the_numbers(numbers: list[float], n: int) -> None:
    new, old = [numbers[:3]] * n, [numbers[3:]] * n
    made, _, learnt = bet_on_pairs(Learnt.nothing(3), new, old)
    made, _, learnt = bet_on_pairs(learnt, old, new)
    assert np.isfinite(made).all()
    assert np.isfinite(learnt.squares).all()


def test_what_is_constant_is_no_direction() -> None:
    rng = np.random.default_rng(3)
    new, old = draw(rng, 200), draw(rng, 200)
    new[:, 5] = old[:, 5] = 7.0
    _, _, learnt = bet_on_pairs(Learnt.nothing(N_DIMENSIONS), new, old)
    assert learnt.difference[5] == 0
    assert learnt.weight == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize("n_dimensions", [2, 16])
@pytest.mark.parametrize("heavy", [False, True])
def test_a_vector_that_was_a_new_one_before_it_is_an_old_one_makes_no_more_false_alarms(
    n_dimensions: int, heavy: bool
) -> None:
    rng = np.random.default_rng(4)
    n, level = 20_000, 100
    draws = rng.standard_cauchy if heavy else rng.normal
    alarms = {}
    # 10,000 pairs lie between the two uses where it is watched; 40 are so few that what is learnt knows it well.
    for lag in (None, 40):
        vectors, others = draws(size=(n + 40, n_dimensions)), draws(size=(n, n_dimensions))
        old = others if lag is None else vectors[:n]
        learnt, log_r, alarms[lag] = Learnt.nothing(n_dimensions), no_evidence(1, len(BETS)), 0
        for start in range(0, n, 20):
            made, _, learnt = bet_on_pairs(learnt, vectors[40 + start : 60 + start], old[start : start + 20])
            log_r, alarmed = restart(add_bets(log_r, made), level)
            alarms[lag] += int(alarmed[0])
    assert 0 < alarms[None] <= n / level
    assert alarms[40] < alarms[None]
