"""Change without a known level: uniform p-values, the same bits at every replay, and a bound that holds."""

import math
import random
import uuid
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from quality.conformal import (
    MEMORIES,
    N_CELL_BETS,
    SPREADS,
    TILTS,
    Past,
    add_bets,
    add_outcomes,
    add_values,
    bet_on_cells,
    bin_edges,
    bins_of,
    chance_of,
    place_among,
)
from quality.evidence import ALTERNATIVES, HIGHEST_RATE, log_mean, no_evidence, restart

N_BETS = len(TILTS) + len(SPREADS)


def one_by_one(outcomes: list[int], chance: list[float]) -> list[float]:
    """The same by its definition, event for event."""
    r, n, k = [0.0] * len(ALTERNATIVES), 0, 0
    for x, u in zip(outcomes, chance, strict=True):
        p_value = u * (k + 1) / (n + 1) if x else (k + u * (n - k + 1)) / (n + 1)
        rate = min(max((k + 0.5) / (n + 1), 1e-6), HIGHEST_RATE / max(ALTERNATIVES))
        for place, multiple in enumerate(ALTERNATIVES):
            factor = multiple if p_value <= rate else (1 - multiple * rate) / (1 - rate)
            r[place] = (r[place] + 1) * factor
        n, k = n + 1, k + x
    return [math.log(each) for each in r]


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0.001, 0.999)), min_size=1, max_size=60), st.data())
def test_steps_of_any_size_are_the_definition(events: list[tuple[int, float]], data: st.DataObject) -> None:
    outcomes, chance = [x for x, _ in events], [u for _, u in events]
    cuts = sorted({0, len(events), *data.draw(st.lists(st.integers(0, len(events)), max_size=3))})
    log_r, past = no_evidence(2), Past.empty(2)
    for start, end in pairwise(cuts):
        # Another slice is among them.
        mixed = [1, *[0] * (end - start), 1]
        log_r, past = add_outcomes(
            log_r, past, mixed, [0, *outcomes[start:end], 1], [0.5, *chance[start:end], 0.5]
        )
    assert log_r[0].tolist() == pytest.approx(one_by_one(outcomes, chance))
    assert (past.n[0], past.k[0]) == (len(events), sum(outcomes))


def test_chance_is_uniform_and_the_same_at_a_replay() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(5000)]
    chance = chance_of(ids, "salt")
    assert (chance == chance_of(ids, "salt")).all()
    assert not (chance == chance_of(ids, "pepper")).any()
    assert kstest(chance, "uniform").pvalue > 0.001


def test_nothing_is_raised_at_any_level_while_nothing_changes() -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for rate in (0.01, 0.05, 0.2, 0.4):
        log_r, past = no_evidence(1), Past.empty(1)
        for _ in range(100):
            log_r, past = add_outcomes(
                log_r, past, np.zeros(1000, int), rng.random(1000) < rate, rng.random(1000)
            )
            log_r, alarmed = restart(log_r, 1e5)
            alarms += int(alarmed[0])
    assert alarms <= 11


def test_a_rise_is_seen_without_knowing_the_level() -> None:
    rng = np.random.default_rng(4)
    log_r, past = no_evidence(1), Past.empty(1)
    log_r, past = add_outcomes(
        log_r, past, np.zeros(20_000, int), rng.random(20_000) < 0.05, rng.random(20_000)
    )
    log_r, past = add_outcomes(log_r, past, np.zeros(2_000, int), rng.random(2_000) < 0.12, rng.random(2_000))
    assert log_mean(log_r)[0] > math.log(1e6)


def test_values_that_stay_raise_nothing_and_a_shift_is_seen() -> None:
    rng = np.random.default_rng(5)
    edges = bin_edges(rng.normal(size=5_000))
    log_r, counts = no_evidence(1, N_BETS), np.zeros(len(edges) + 1, dtype=np.int64)
    alarms = 0
    for _ in range(100):
        log_r, counts = add_values(log_r, counts, bins_of(rng.normal(size=500), edges), rng.random(500))
        log_r, alarmed = restart(log_r, 1e6)
        alarms += int(alarmed[0])
    assert alarms == 0
    for _ in range(4):
        shifted = bins_of(rng.normal(0.3, size=500), edges)
        log_r, counts = add_values(log_r, counts, shifted, rng.random(500))
    assert log_mean(log_r)[0] > math.log(1e6)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0.001, 0.999)), min_size=1, max_size=40),
    st.integers(0, 40),
)
def test_steps_of_values_may_be_cut_anywhere(values: list[tuple[int, float]], cut: int) -> None:
    bins, chance = [bin_ for bin_, _ in values], [u for _, u in values]
    counts = np.array([2, 0, 5, 1], dtype=np.int64)
    whole, whole_counts = add_values(no_evidence(1, N_BETS), counts, bins, chance)
    first, first_counts = add_values(no_evidence(1, N_BETS), counts, bins[:cut], chance[:cut])
    second, second_counts = add_values(first, first_counts, bins[cut:], chance[cut:])
    assert second[0].tolist() == pytest.approx(whole[0].tolist())
    assert second_counts.tolist() == whole_counts.tolist()


def test_a_tolerance_makes_evidence_weaker() -> None:
    rng = np.random.default_rng(6)
    counts = np.full(64, 100, dtype=np.int64)
    bins, chance = rng.integers(0, 64, 500), rng.random(500)
    strict, _ = add_values(no_evidence(1, N_BETS), counts, bins, chance)
    tolerant, _ = add_values(no_evidence(1, N_BETS), counts, bins, chance, tolerance=0.02)
    assert (tolerant < strict).all()


def test_a_value_that_comes_often_has_a_bin_of_its_own() -> None:
    edges = bin_edges([0.5] * 90 + [0.2] * 5 + [0.9] * 5)
    at = bins_of([0.2, 0.4, 0.5, 0.6], edges)
    assert at[1] < at[2] < at[3]
    constant = bin_edges([1.0] * 100)
    assert bins_of([0.9, 1.0, 1.1], constant).tolist() == [0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.001, 0.999)), min_size=1, max_size=40), st.randoms())
def test_what_counts_become_does_not_depend_on_the_order(
    values: list[tuple[int, float]], random: random.Random
) -> None:
    counts = np.array([2, 0, 5, 1], dtype=np.int64)
    shuffled = random.sample(values, len(values))
    _, first = place_among(counts, *zip(*values, strict=True))
    _, second = place_among(counts, *zip(*shuffled, strict=True))
    assert first.tolist() == second.tolist()


def test_places_of_a_stream_that_stays_are_uniform_whatever_its_values() -> None:
    rng = np.random.default_rng(7)
    bins = rng.choice(4, size=4000, p=[0.7, 0.2, 0.09, 0.01])
    places, _ = place_among(np.zeros(4, dtype=np.int64), bins, rng.random(4000))
    assert kstest(places, "uniform").pvalue > 0.001


def watch_cells(rng: np.random.Generator, shares: list[float], n: int, tolerance: float) -> float:
    """The evidence of `n` outputs that come with `shares`, after 2,000 that came with 50, 30, 20 and 0 %."""
    before = [0.5, 0.3, 0.2, 0.0]
    counts = np.bincount(rng.choice(4, size=2000, p=before), minlength=4).astype(np.int64)
    widths = (counts + 0.5) / (counts + 0.5).sum()
    recent = np.zeros((len(MEMORIES), 4))
    places, _ = place_among(counts, rng.choice(4, size=n, p=shares), rng.random(n))
    made, _ = bet_on_cells(recent, places, widths, tolerance)
    return float(log_mean(add_bets(no_evidence(1, N_CELL_BETS), made))[0])


def test_an_output_that_was_never_there_is_seen_and_one_that_comes_more_often() -> None:
    rng = np.random.default_rng(8)
    assert watch_cells(rng, [0.4, 0.25, 0.15, 0.2], 500, 0.02) > math.log(1e6)
    assert watch_cells(rng, [0.3, 0.5, 0.2, 0.0], 500, 0.02) > math.log(1e6)
    assert watch_cells(rng, [0.5, 0.3, 0.2, 0.0], 5000, 0.0) < math.log(1e6)


def test_bets_on_cells_are_fair_on_average_and_no_better_within_the_tolerance() -> None:
    rng = np.random.default_rng(9)
    widths = np.array([0.6, 0.3, 0.09, 0.01])
    recent = np.array([[10.0, 40.0, 10.0, 5.0], [100.0, 20.0, 60.0, 90.0]])
    # Each cell alone, so that what every bet makes of it is known before anything is learnt.
    made = np.array(
        [np.exp(bet_on_cells(recent, np.array([place]), widths)[0][0]) for place in (0.3, 0.7, 0.95, 0.995)]
    )
    assert widths @ made == pytest.approx(1.0)
    tolerant = np.array(
        [np.exp(bet_on_cells(recent, np.array([at]), widths, 0.05)[0][0]) for at in (0.3, 0.7, 0.95, 0.995)]
    )
    for _ in range(20):
        moved = rng.dirichlet(np.ones(4))
        near = widths + (moved - widths) * min(1.0, 0.05 / (np.abs(moved - widths).sum() / 2))
        assert (near @ tolerant <= 1.0 + 1e-12).all()


def test_no_bets_leave_the_evidence_as_it_is() -> None:
    log_r = np.zeros((1, 3))
    assert add_bets(log_r, np.empty((0, 3))) is log_r
