"""How late feedback comes is learnt from cohorts that are old enough, and says how much is still to come."""

import pytest

from quality.maturity import learn_delays
from storage.database import Database
from storage.maturity import read_corrections, read_delays, read_exposures, read_newest
from tests.builders import MINUTE_US, SECOND_US, START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.records import MODEL
from tests.storage.conftest import Apply

HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
HORIZON_US = 10 * SECOND_US


def fill(
    apply_to: Apply, n: int, delay_us: int, *, every_us: int = MINUTE_US, start_us: int = START_US
) -> None:
    """A prediction each `every_us`, edited after `delay_us`."""
    times = [start_us + place * every_us for place in range(n)]
    made = [a_prediction_event(place, time_us=time_us) for place, time_us in enumerate(times)]
    given = [
        a_feedback_event(100_000 + place, prediction=place, time_us=time_us + delay_us)
        for place, time_us in enumerate(times)
    ]
    apply_to(an_arrival([*made, *given]))


def test_without_a_correction_nothing_is_known(db: Database, apply_to: Apply) -> None:
    apply_to(an_arrival([a_prediction_event(1), a_feedback_event(prediction=1, action="accept")]))
    with db.read() as c:
        assert read_delays(c, model=MODEL, now_us=START_US + 90 * DAY_US, horizon_us=HORIZON_US) is None


def test_delays_are_learnt_from_predictions_that_are_older_than_the_window(
    db: Database, apply_to: Apply
) -> None:
    fill(apply_to, 60, 30 * MINUTE_US)
    with db.read() as c:
        delays = read_delays(c, model=MODEL, now_us=START_US + 100 * MINUTE_US, horizon_us=HORIZON_US)
    assert delays is not None
    # Of sixty predictions, forty are an hour old; the younger ones would show quick corrections only.
    assert (delays.window_us, delays.n) == (HOUR_US, 40)
    assert delays.share_by([20 * MINUTE_US, 40 * MINUTE_US]).tolist() == [0.0, 1.0]


def test_the_longest_window_with_enough_corrections_is_taken(db: Database, apply_to: Apply) -> None:
    fill(apply_to, 400, 3 * HOUR_US, every_us=HOUR_US // 4)
    with db.read() as c:
        delays = read_delays(c, model=MODEL, now_us=START_US + 5 * DAY_US, horizon_us=HORIZON_US)
    assert delays is not None
    assert (delays.window_us, delays.settled_us) == (DAY_US, DAY_US)


def test_a_service_that_is_minutes_old_is_read_at_the_horizon(db: Database, apply_to: Apply) -> None:
    fill(apply_to, 50, 4 * SECOND_US, every_us=SECOND_US)
    with db.read() as c:
        delays = read_delays(c, model=MODEL, now_us=START_US + 60 * SECOND_US, horizon_us=HORIZON_US)
    assert delays is not None
    assert (delays.window_us, delays.settled_us, delays.n) == (HORIZON_US, HORIZON_US, 50)


def test_an_exposure_counts_old_predictions_whole_and_young_ones_in_part(
    db: Database, apply_to: Apply
) -> None:
    fill(apply_to, 10, 5 * MINUTE_US)
    delays = learn_delays([5 * MINUTE_US] * 50 + [2 * HOUR_US] * 50, 6 * HOUR_US)
    assert delays is not None

    def exposure(now_us: int) -> dict[tuple[str, str], float]:
        with db.read() as c:
            return read_exposures(
                c, model=MODEL, since_us=START_US, until_us=now_us, now_us=now_us, delays=delays
            )

    young, later, old, oldest = (
        exposure(START_US + 10 * MINUTE_US + after_us) for after_us in (0, HOUR_US, 3 * HOUR_US, 3 * DAY_US)
    )
    assert set(young) == {("1", "all"), ("1", "device=ios")}
    assert young["1", "all"] == pytest.approx(10 * 0.5 * 0.5, abs=0.6)
    assert later["1", "all"] == pytest.approx(5.0)
    assert old["1", "all"] == oldest["1", "all"] == pytest.approx(10.0)


def test_the_newest_prediction_of_a_version_is_found_in_its_last_minute(
    db: Database, apply_to: Apply
) -> None:
    fill(apply_to, 3, SECOND_US, every_us=20 * SECOND_US)
    with db.read() as c:
        assert read_newest(c, model=MODEL, version="1", minute_us=START_US) == START_US + 40 * SECOND_US
        assert read_newest(c, model=MODEL, version="2", minute_us=START_US) is None


def test_corrections_are_read_so_far_fresh_and_matured(db: Database, apply_to: Apply) -> None:
    # Each tenth of a prediction a minute is corrected after half an hour.
    times = [START_US + place * MINUTE_US for place in range(600)]
    now_us = START_US + 10 * HOUR_US
    corrected = [
        a_feedback_event(100_000 + place, prediction=place, time_us=times[place] + HOUR_US // 2)
        for place in range(5, 600, 10)
        if times[place] + HOUR_US // 2 <= now_us
    ]
    made = [a_prediction_event(place, time_us=time_us) for place, time_us in enumerate(times)]
    apply_to(an_arrival([*made, *corrected]))
    with db.read() as c:
        delays = read_delays(c, model=MODEL, now_us=now_us, horizon_us=HORIZON_US)
        found = read_corrections(c, model=MODEL, since_us=now_us - HOUR_US, now_us=now_us, delays=delays)
        unknown = read_corrections(c, model=MODEL, since_us=now_us - HOUR_US, now_us=now_us, delays=None)
    assert set(found) == set(unknown) == {"1"}
    rates = found["1"]
    # Half of the last hour is too young to have been corrected: half of the corrections seem to be missing.
    assert rates.so_far.value == pytest.approx(0.05)
    assert rates.fresh.value == pytest.approx(0.1, abs=0.01)
    assert rates.fresh.maturity == pytest.approx(0.5, abs=0.05)
    assert rates.fresh.age_us == MINUTE_US
    assert rates.matured.value == pytest.approx(0.1, abs=0.01)
    assert rates.so_far.low is not None
    assert rates.fresh.low is not None
    assert rates.matured.low is not None
    assert (unknown["1"].fresh.value, unknown["1"].matured.n, unknown["1"].settled_us) == (None, 0, None)
    assert unknown["1"].so_far.value == pytest.approx(0.05)


def test_a_window_that_was_set_is_learnt_in_and_taken_as_it_is(db: Database, apply_to: Apply) -> None:
    fill(apply_to, 400, 3 * HOUR_US, every_us=HOUR_US // 4)
    now_us = START_US + 5 * DAY_US
    with db.read() as c:
        delays = read_delays(c, model=MODEL, now_us=now_us, horizon_us=HORIZON_US, given_us=2 * DAY_US)
        found = read_corrections(c, model=MODEL, since_us=now_us - DAY_US, now_us=now_us, delays=delays)
        early = read_delays(
            c, model=MODEL, now_us=START_US + DAY_US, horizon_us=HORIZON_US, given_us=2 * DAY_US
        )
    assert delays is not None
    assert early is not None
    assert (delays.window_us, delays.settled_us) == (2 * DAY_US, 2 * DAY_US)
    assert all(each.settled_us == 2 * DAY_US for each in found.values())
    assert early.window_us < 2 * DAY_US == early.settled_us
