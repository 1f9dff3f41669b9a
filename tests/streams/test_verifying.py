"""The continuous verification takes its share of the time, and says what it found."""

import logging

from storage.verify_rounds import Place, Round
from streams.verifying import Verifying


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def make(pieces, clock, *, seconds=0.0625, share=0.1):
    """A verification whose pieces each take some seconds; a piece is (whether it ends the round, differences)."""
    left = iter(pieces)

    def verify_next(now_us):
        clock.now += seconds
        ends, differences = next(left)
        return Round(place=Place(), started_us=0, completed_us=now_us if ends else None), differences

    taken = []
    verifying = Verifying(
        lambda now_us: taken.append(now_us) or verify_next(now_us),
        share=share,
        now_us=lambda: round(clock.now * 1e6),
        monotonic=clock,
    )
    return verifying, taken


def test_a_turn_ends_in_time_and_is_followed_by_rest():
    clock = Clock()
    verifying, taken = make([(False, [])] * 100, clock)
    verifying.take_turn()
    assert len(taken) == 4
    clock.now = 102.4
    verifying.take_turn()
    assert len(taken) == 4
    clock.now = 102.6
    verifying.take_turn()
    assert len(taken) == 8


def test_a_turn_ends_with_the_round():
    clock = Clock()
    verifying, taken = make([(False, []), (True, []), (False, [])], clock)
    verifying.take_turn()
    assert len(taken) == 2


def test_each_difference_is_an_error_in_the_log(caplog):
    verifying, _ = make([(True, ["window X: n is 5, but the facts say 2"])], Clock())
    with caplog.at_level(logging.ERROR):
        verifying.take_turn()
    assert [record.getMessage() for record in caplog.records] == [
        "the proof fails: window X: n is 5, but the facts say 2"
    ]
