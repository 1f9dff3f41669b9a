"""Several detectors of one slice: their names, what they share, and which drift is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.drift import DetectorState
from quality.horizons import is_same_drift, name_horizon, say_horizon, share_level
from quality.windows import DAY_US, HOUR_US, MINUTE_US, WEEK_US

horizons = st.one_of(
    st.integers(1, 10**7),
    st.integers(1, 10**4).map(lambda count: count * MINUTE_US),
    st.integers(1, 999).map(lambda count: count * HOUR_US),
)


@pytest.mark.parametrize(
    ("horizon_us", "name", "said"),
    [
        (500_000, "0.5s", "0.5 seconds"),
        (1_000_000, "1s", "1 second"),
        (10_000_000, "10s", "10 seconds"),
        (90_000_000, "90s", "90 seconds"),
        (MINUTE_US, "1min", "1 minute"),
        (HOUR_US, "1h", "1 hour"),
        (DAY_US, "24h", "24 hours"),
        (36 * HOUR_US, "36h", "36 hours"),
        (WEEK_US, "7d", "7 days"),
    ],
)
def test_horizons_have_names(horizon_us: int, name: str, said: str) -> None:
    assert (name_horizon(horizon_us), say_horizon(horizon_us)) == (name, said)


@given(horizons, horizons)
def test_no_two_horizons_share_a_name(one: int, other: int) -> None:
    assert (name_horizon(one) == name_horizon(other)) == (one == other)
    assert len(name_horizon(one)) <= 32


@given(st.floats(1, 1e12), st.integers(1, 20))
def test_all_detectors_together_alarm_falsely_no_more_than_one_did(level: float, n: int) -> None:
    assert n / share_level(level, n) == pytest.approx(1 / level)


class TestSameDrift:
    LASTS = DetectorState(stage="alarmed", alarm_since_us=5 * DAY_US)
    OVER = DetectorState(alarm_since_us=5 * DAY_US, alarm_until_us=6 * DAY_US)

    def test_without_an_alarm_there_is_none(self) -> None:
        assert not is_same_drift(DetectorState(), 1, 2)
        assert not is_same_drift(DetectorState(stage="warned"), 1, 2)

    def test_an_alarm_that_lasts_covers_what_came_after_its_change(self) -> None:
        assert is_same_drift(self.LASTS, 5 * DAY_US, 9 * DAY_US)
        assert is_same_drift(self.LASTS, None, 9 * DAY_US)
        assert is_same_drift(DetectorState(stage="alarmed"), None, 1)

    def test_what_was_before_its_change_is_another(self) -> None:
        assert not is_same_drift(self.LASTS, 3 * DAY_US, 5 * DAY_US - 1)
        assert not is_same_drift(self.OVER, 3 * DAY_US, 5 * DAY_US - 1)

    def test_one_that_is_over_covers_what_began_in_it(self) -> None:
        assert is_same_drift(self.OVER, 4 * DAY_US, 5 * DAY_US)
        assert is_same_drift(self.OVER, 6 * DAY_US, 7 * DAY_US - 1)
        assert not is_same_drift(self.OVER, 6 * DAY_US + 1, 6 * DAY_US + 2)

    def test_what_goes_on_for_a_day_after_it_is_another(self) -> None:
        assert not is_same_drift(self.OVER, 5 * DAY_US, 7 * DAY_US)
