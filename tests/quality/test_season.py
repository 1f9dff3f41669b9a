"""How the correction rate swings with the hour of the week."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.evidence import add_counts, no_evidence, restart
from quality.season import HOURS, hour_of_week, learn_season
from quality.windows import HOUR_US


def test_hours_of_the_week_come_again() -> None:
    assert hour_of_week(0) == 0
    assert hour_of_week(HOURS * HOUR_US - 1) == HOURS - 1
    assert hour_of_week(HOURS * HOUR_US) == 0


def test_hours_that_differ_by_chance_alone_are_all_the_same() -> None:
    rng = np.random.default_rng(5)
    flat = [learn_season([2000] * HOURS, rng.binomial(2000, 0.05, HOURS).tolist()) for _ in range(20)]
    assert np.median([max(season) for season in flat]) < 1.15


def test_a_day_that_swings_is_found_and_never_much_too_low() -> None:
    rng = np.random.default_rng(6)
    truth = 0.05 * (1 + 0.3 * np.sin(np.arange(HOURS) * 2 * np.pi / 24))
    season = np.array(learn_season([8000] * HOURS, rng.binomial(8000, truth).tolist())) * 0.05
    assert (season > truth * 0.97).all()
    assert np.median(season / truth) < 1.2


def test_a_learnt_season_makes_no_false_alarms() -> None:
    rng = np.random.default_rng(7)
    truth = 0.05 * (1 + 0.3 * np.sin(np.arange(HOURS) * 2 * np.pi / 24))
    n, alarms = 2000, {"learnt": 0, "flat": 0}
    for _ in range(4):
        season = 0.05 * np.array(learn_season([4 * n] * HOURS, rng.binomial(4 * n, truth).tolist()))
        for form, ceilings in (("learnt", season), ("flat", np.full(HOURS, 0.05))):
            log_r = no_evidence(1)
            for hour in range(3 * HOURS):
                now = hour % HOURS
                log_r = add_counts(log_r, [n], [rng.binomial(n, truth[now])], [ceilings[now]])
                log_r, alarmed = restart(log_r, 1e6)
                alarms[form] += int(alarmed[0])
    # Four million events in all.
    assert alarms["learnt"] <= 4
    assert alarms["flat"] > 20


@pytest.mark.parametrize(("n", "k"), [([0] * HOURS, [0] * HOURS), ([9] * HOURS, [0] * HOURS)])
def test_without_corrections_there_is_no_season(n: list[int], k: list[int]) -> None:
    assert learn_season(n, k) == (1.0,) * HOURS


@given(st.lists(st.integers(0, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=2))
def test_every_hour_is_allowed_something(hours: list[tuple[int, int]]) -> None:
    season = learn_season([n for n, _ in hours], [k for _, k in hours])
    assert len(season) == len(hours)
    assert all(factor > 0 for factor in season)
