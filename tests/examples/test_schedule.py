"""Calls are made when their time has come, in the order of their times, once."""

from hypothesis import given
from hypothesis import strategies as st

from examples.schedule import Schedule


def test_only_what_is_due_is_called():
    made: list[str] = []
    schedule = Schedule()
    schedule.at(2.0, lambda: made.append("later"))
    schedule.at(1.0, lambda: made.append("sooner"))
    assert schedule.run_due(1.0) == 1
    assert (made, len(schedule)) == (["sooner"], 1)
    assert schedule.run_due(1.5) == 0
    assert schedule.run_due(9.0) == 1
    assert (made, len(schedule)) == (["sooner", "later"], 0)


def test_a_call_may_plan_another_which_is_made_too_if_it_is_due():
    made: list[str] = []
    schedule = Schedule()
    schedule.at(1.0, lambda: schedule.at(1.0, lambda: made.append("planned")))
    assert schedule.run_due(1.0) == 2
    assert made == ["planned"]


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 100)))
def test_every_call_is_made_once_and_those_of_one_time_in_the_order_of_their_planning(times, looks):
    made: list[tuple[float, int]] = []
    schedule = Schedule()
    for place, seconds in enumerate(times):
        schedule.at(seconds, lambda seconds=seconds, place=place: made.append((seconds, place)))
    for look in sorted(looks):
        schedule.run_due(look)
        assert all(seconds <= look for seconds, _ in made)
        assert len(made) == sum(seconds <= look for seconds in times)
    schedule.run_due(100)
    assert made == sorted((seconds, place) for place, seconds in enumerate(times))
