import os
import threading
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.client import Client
from errata.identity import Stamps, new_id
from errata.wire import format_time


@pytest.fixture
def fake_client():
    def refuse():
        raise ConnectionRefusedError

    client = Client(source="/tests", open_producer=refuse)
    yield client
    client.close(timeout_seconds=0)


@given(st.integers(0, 4_133_980_800_000_000))
def test_an_id_is_a_uuid_of_version_7_that_holds_its_time(now_us):
    made = UUID(new_id(now_us))
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == now_us // 1000


@given(st.lists(st.integers(0, 4_133_980_800_000_000), unique=True))
def test_ids_sort_like_the_microseconds_they_were_made_in(times):
    assert sorted(times, key=new_id) == sorted(times)


def test_ids_of_one_moment_differ():
    assert len({new_id(1_795_415_400_000_000) for _ in range(1000)}) == 1000


moments_us = st.integers(946_684_800_000_000, 4_133_980_799_999_999)


@given(st.lists(moments_us, min_size=1))
def test_a_stamp_is_a_new_id_and_its_time(times):
    stamps = Stamps()
    for now_us in times:
        made, text = stamps.stamp(now_us * 1000 + 999)
        assert made[:19] == new_id(now_us)[:19]
        assert (UUID(made).version, UUID(made).variant, str(UUID(made))) == (7, "specified in RFC 4122", made)
        assert text == format_time(now_us)


@pytest.mark.parametrize("now_us", [0, 946_684_799_999_999, 4_133_980_800_000_000])
def test_a_clock_that_is_far_off_gives_no_stamp(now_us):
    with pytest.raises(ValueError, match="clock"):
        Stamps().stamp(now_us * 1000)


def test_stamps_of_many_threads_differ():
    stamps, made = Stamps(), []
    threads = [
        threading.Thread(target=lambda: made.extend(stamps.stamp(10**18)[0] for _ in range(5000)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20_000


def test_every_random_bit_of_a_stamp_takes_both_values():
    stamps = Stamps()
    ends = [UUID(stamps.stamp(10**18)[0]).int & (1 << 62) - 1 for _ in range(300)]
    seen_one, seen_zero = 0, 0
    for end in ends:
        seen_one |= end
        seen_zero |= ~end
    assert seen_one & seen_zero & (1 << 62) - 1 == (1 << 62) - 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_other_ids_than_its_parent(fake_client):
    fake_client.accept(prediction_id=new_id())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(
            writing, "".join(fake_client.accept(prediction_id=new_id())[19:] for _ in range(50)).encode()
        )
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reading, 10_000).decode()
    os.close(reading)
    os.close(writing)
    its = {told[place : place + 17] for place in range(0, len(told), 17)}
    ours = {fake_client.accept(prediction_id=new_id())[19:] for _ in range(50)}
    assert len(its) == len(ours) == 50
    assert not its & ours
