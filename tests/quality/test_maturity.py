"""Fresh rates: unbiased before feedback is in, as long as delays stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.maturity import (
    AGES_US,
    LONGEST_WINDOW_US,
    SHORTEST_WINDOW_US,
    choose_window,
    describe_window,
    exposure_interval,
    fresh_rate,
    learn_delays,
)
from quality.windows import HOUR_US, WEEK_US


def some_delays(rng: np.random.Generator, n: int) -> np.ndarray:
    """Half within minutes, a third within hours, the rest after days."""
    kind = rng.choice(3, n, p=[0.5, 0.35, 0.15])
    return (rng.exponential([600.0, 8 * 3600.0, 2.5 * 86_400.0], (n, 3))[np.arange(n), kind] * 1e6).astype(
        int
    )


@pytest.mark.parametrize("hours", [6, 24, 72])
def test_a_fresh_rate_is_right_long_before_all_feedback_is_in(hours: int) -> None:
    rng = np.random.default_rng(hours)
    delays = learn_delays(some_delays(rng, 20_000), WEEK_US)
    assert delays is not None
    n, true = 200_000, 0.05
    ages = rng.integers(0, hours * HOUR_US, n)
    corrected = rng.random(n) < true
    seen = corrected & (some_delays(rng, n) <= ages)
    fresh = fresh_rate(int(seen.sum()), ages, delays)
    assert fresh.rate == pytest.approx(true, abs=0.004)
    assert fresh.low < true < fresh.high
    assert seen.sum() / n < 0.9 * true


def test_only_what_is_within_the_window_is_learnt() -> None:
    delays = learn_delays([-5, HOUR_US, 2 * WEEK_US], WEEK_US)
    assert delays is not None
    assert delays.n == 2
    assert delays.share_by([-1, 0, HOUR_US * 1.2, WEEK_US]).tolist() == pytest.approx([0, 0.5, 1, 1])
    assert learn_delays([2 * WEEK_US], WEEK_US) is None


@given(st.lists(st.integers(0, LONGEST_WINDOW_US), min_size=1, max_size=50))
def test_the_share_that_has_come_never_falls_and_ends_at_all(delays_us: list[int]) -> None:
    delays = learn_delays(delays_us, LONGEST_WINDOW_US)
    assert delays is not None
    shares = delays.share_by(AGES_US)
    assert (np.diff(shares) >= 0).all()
    assert shares[-1] == 1
    assert SHORTEST_WINDOW_US <= choose_window(delays) <= LONGEST_WINDOW_US


def test_the_window_is_where_nearly_all_corrections_have_come() -> None:
    quick = learn_delays([60_000_000] * 100, WEEK_US)
    slow = learn_delays([60_000_000] * 90 + [5 * 24 * HOUR_US] * 10, WEEK_US)
    assert quick is not None
    assert slow is not None
    assert choose_window(quick) == SHORTEST_WINDOW_US
    assert 5 * 24 * HOUR_US <= choose_window(slow) <= 1.1 * 5 * 24 * HOUR_US


@given(st.floats(0.5, 1e6), st.integers(0, 1000))
def test_an_interval_of_an_exposure_holds_what_was_seen(exposure: float, k: int) -> None:
    low, high = exposure_interval(exposure, k)
    assert low <= k / exposure <= high
    assert (low == 0) == (k == 0)


def test_intervals_of_exposures_hold_at_all_times_together() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(100):
        seen = np.cumsum(rng.random(4000) < 0.05 * 0.5)
        looks = range(100, 4000, 100)
        missed += any(
            not low <= 0.05 <= high
            for low, high in (exposure_interval(0.5 * n, int(seen[n - 1])) for n in looks)
        )
    assert missed <= 8


def test_without_any_exposure_nothing_is_claimed() -> None:
    delays = learn_delays([HOUR_US], WEEK_US)
    assert delays is not None
    fresh = fresh_rate(0, [0, 0], delays)
    assert (fresh.rate, fresh.low, fresh.high) == (None, 0.0, 1.0)


def test_the_window_is_the_age_by_which_98_percent_have_come() -> None:
    delays = learn_delays([*[HOUR_US] * 97, *[3 * 24 * HOUR_US] * 3], WEEK_US)
    found = describe_window(delays, None)
    assert found.window_us is not None
    assert 3 * 24 * HOUR_US <= found.window_us <= 1.1 * 3 * 24 * HOUR_US
    assert (found.is_given, found.n, found.learnt_in_us, found.share) == (False, 100, WEEK_US, 1.0)
    assert "learnt from 100 corrections of predictions older than 7 days" in found.said


def test_a_young_service_says_that_later_corrections_are_not_known() -> None:
    found = describe_window(learn_delays([1_000_000] * 300, HOUR_US), None)
    assert found.window_us == HOUR_US
    assert "later corrections are not known yet" in found.said


def test_a_window_that_was_set_is_kept_and_judged_by_what_was_learnt() -> None:
    delays = learn_delays([*[HOUR_US] * 90, *[3 * 24 * HOUR_US] * 10], WEEK_US)
    assert delays is not None
    given = replace(delays, given_us=24 * HOUR_US)
    found = describe_window(given, 24 * HOUR_US)
    assert (found.window_us, found.is_given, found.share) == (24 * HOUR_US, True, pytest.approx(0.9))
    assert found.said.startswith("Set to 1 day, by when 90 %")
    assert given.settled_us == 24 * HOUR_US


def test_without_corrections_there_is_no_window_but_one_that_was_set() -> None:
    assert describe_window(None, None).window_us is None
    assert describe_window(None, HOUR_US).window_us == HOUR_US
    longer = replace(learn_delays([1] * 5, HOUR_US), given_us=WEEK_US)
    assert "not known yet" in describe_window(longer, WEEK_US).said
