from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from errata.identity import new_id


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
