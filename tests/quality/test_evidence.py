"""Evidence for many slices at once: its bound, and that it equals the detector of one slice."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from quality.evidence import (
    ALTERNATIVES,
    HIGHEST_RATE,
    add_counts,
    add_scores,
    bets_for,
    bets_on_sessions,
    events_per_false_alarm,
    log_mean,
    no_evidence,
    restart,
)

steps = st.lists(st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=20)


def add_alone(log_r: list[float], n: int, k: int, ceiling: float) -> list[float]:
    """What `add_counts` does, for one slice and with sums in the open."""
    if not n:
        return log_r
    moved = []
    for before, multiple in zip(log_r, ALTERNATIVES, strict=True):
        rate = min(multiple * ceiling, HIGHEST_RATE)
        ratio = k * math.log(rate / ceiling) + (n - k) * math.log((1 - rate) / (1 - ceiling))
        moved.append(math.log(math.exp(before) + n) + ratio)
    return moved


@given(steps, st.floats(0.01, 0.6))
def test_a_slice_among_others_is_as_it_would_be_alone(arrived: list[tuple[int, int]], ceiling: float) -> None:
    alone, together = [-math.inf] * len(ALTERNATIVES), no_evidence(3)
    for n, k in arrived:
        alone = add_alone(alone, n, k, ceiling)
        together = add_counts(together, [5, n, 0], [1, k, 0], [0.2, ceiling, 0.1])
    assert together[1].tolist() == pytest.approx(alone)
    assert (together[2] == -np.inf).all()


@pytest.mark.parametrize("multiples", [ALTERNATIVES, (0.8, 0.6, 0.4)], ids=["rise", "fall"])
def test_at_the_ceiling_evidence_grows_by_one_an_event_on_average(multiples: tuple[float, ...]) -> None:
    before = np.log([[1.0, 2.0, 4.0]])
    after = sum(
        binom.pmf(k, 30, 0.2) * math.exp(log_mean(add_counts(before, [30], [k], [0.2], multiples))[0])
        for k in range(31)
    )
    assert after == pytest.approx(7 / 3 + 30)


def test_below_the_ceiling_it_grows_less() -> None:
    after = sum(
        binom.pmf(k, 30, 0.15) * math.exp(log_mean(add_counts(no_evidence(1), [30], [k], [0.2]))[0])
        for k in range(31)
    )
    assert after < 30


@given(st.lists(st.floats(-3, 1), min_size=1, max_size=30), st.permutations(range(3)))
def test_scores_add_up_in_any_order_and_slices_do_not_mix(scores: list[float], place: list[int]) -> None:
    bets = np.repeat(bets_for(-3.0, 0.1), 3, axis=0)
    null = [0.1] * 3
    together = add_scores(no_evidence(3), [0] * len(scores) + [1], [*scores, 0.0], null, bets)
    again = add_scores(no_evidence(3), [1] + [0] * len(scores), [0.0, *reversed(scores)], null, bets)
    alone = add_scores(no_evidence(1), [0] * len(scores), scores, [0.1], bets[:1])
    assert together.tolist() == [pytest.approx(row) for row in again.tolist()]
    assert together[0].tolist() == pytest.approx(alone[0].tolist())
    assert (together[2] == -np.inf).all()


def test_a_bet_that_could_lose_more_than_all_is_refused() -> None:
    with pytest.raises(ValueError, match="bets_for"):
        add_scores(no_evidence(1, 1), [0], [-5.0], [0.1], [[1.0]])


def test_sessions_that_stand_and_fall_together_raise_no_false_alarms() -> None:
    rng = np.random.default_rng(7)
    rate, correlation, size, n_sessions = 0.05, 0.2, 10, 60_000
    shape = (1 - correlation) / correlation
    level = rng.beta(rate * shape, (1 - rate) * shape, n_sessions)
    k = rng.binomial(size, level)
    variance = float(np.var(k / size))
    bets = bets_on_sessions(rate, variance)
    log_r, log_r_of_events, alarms, alarms_of_events = no_evidence(1), no_evidence(1), 0, 0
    for start in range(0, n_sessions, 100):
        part = k[start : start + 100]
        log_r = add_scores(log_r, [0] * 100, part / size, [rate], bets, weights=[size] * 100)
        log_r, alarmed = restart(log_r, 1e5)
        alarms += int(alarmed[0])
        log_r_of_events = add_counts(log_r_of_events, [size * 100], [part.sum()], [rate])
        log_r_of_events, alarmed = restart(log_r_of_events, 1e5)
        alarms_of_events += int(alarmed[0])
    assert alarms <= 6
    assert alarms_of_events > 20


def test_the_level_follows_from_the_false_alarms_that_are_allowed() -> None:
    assert events_per_false_alarm(1_000_000, 0.5) == 2_000_000
    assert events_per_false_alarm(1_000_000, 0.5, n_dimensions=3) == 6_000_000
    with pytest.raises(ValueError, match="false alarms > 0"):
        events_per_false_alarm(1_000_000, 0)
