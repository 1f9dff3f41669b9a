import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.rate_limit import RateLimit

RATES = st.floats(min_value=0.01, max_value=1e6)
BURSTS = st.floats(min_value=1, max_value=1e6)
#: What is asked for, and the seconds that pass before.
TAKEN = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.floats(0, 1e6), st.floats(0, 1e4)), min_size=1, max_size=50
)


@given(rate=RATES, burst=BURSTS, taken=TAKEN)
def test_nobody_ever_gets_more_than_the_burst_and_the_rate_by_time(rate, burst, taken):
    limit, now = RateLimit(rate, burst, senders=3), 0.0
    got = dict.fromkeys("abcdef", 0.0)
    for sender, n, passed in taken:
        now += passed
        if limit.take(sender, n, now) == 0.0:
            got[sender] += n
        for sum_of_sender in got.values():
            assert sum_of_sender <= (burst + rate * now) * (1 + 1e-9)


@given(rate=RATES, burst=BURSTS, taken=TAKEN, share=st.floats(0, 1))
def test_after_the_time_that_was_told_as_much_is_there(rate, burst, taken, share):
    limit, now = RateLimit(rate, burst), 0.0
    for _, n, passed in taken:
        now += passed
        limit.take("a", n, now)
    wanted = share * burst
    wait = limit.take("a", wanted, now)
    if wait:
        assert limit.look("a", wanted, now + wait * 0.9 - 1e-6) > 0 or wait < 1e-5
        assert limit.take("a", wanted * (1 - 1e-9), math.nextafter(now + wait * (1 + 1e-9), math.inf)) == 0.0


@given(taken=TAKEN)
def test_looking_takes_nothing(taken):
    looked_at, left_alone, now = RateLimit(7.0, 100.0), RateLimit(7.0, 100.0), 0.0
    for sender, n, passed in taken:
        now += passed
        looked = looked_at.look(sender, n, now)
        assert looked_at.take(sender, n, now) == looked == left_alone.take(sender, n, now)


def test_a_burst_may_be_taken_at_once_and_the_rate_after_that():
    limit = RateLimit(2.0, 10.0)
    assert limit.take("a", 10, 0.0) == 0.0
    assert limit.take("a", 1, 0.0) == 0.5
    assert limit.take("a", 1, 0.5) == 0.0


def test_one_sender_takes_nothing_from_another():
    limit = RateLimit(2.0, 10.0)
    limit.take("a", 10, 0.0)
    assert limit.take("b", 10, 0.0) == 0.0


def test_a_clock_that_goes_back_gives_nothing():
    limit = RateLimit(2.0, 10.0)
    limit.take("a", 10, 100.0)
    assert limit.take("a", 1, 50.0) == 0.5
    assert limit.take("a", 1, 100.0) == 0.5


@pytest.mark.parametrize("n_senders", [3, 1000])
def test_many_senders_are_remembered_only_in_part_and_share_the_rest(n_senders):
    limit = RateLimit(1.0, 10.0, senders=2)
    got = sum(limit.take(str(number), 10, 0.0) == 0.0 for number in range(n_senders))
    assert got == 3


def test_a_sender_who_has_rested_makes_room_for_another():
    limit = RateLimit(1.0, 10.0, senders=1)
    limit.take("a", 10, 0.0)
    assert limit.take("b", 10, 10.0) == 0.0
    assert limit.take("c", 10, 10.0) == 0.0
    assert limit.take("d", 10, 10.0) == 10.0


def test_who_shared_with_others_brings_no_second_burst():
    limit = RateLimit(1.0, 10.0, senders=1)
    limit.take("a", 5, 0.0)
    assert limit.take("b", 10, 0.0) == 0.0
    assert limit.look("b", 10, 5.0) == 5.0
