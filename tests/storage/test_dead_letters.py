"""Dead letters are found by reason and by place, and marked when they were sent again."""

import pytest

from storage.database import Database
from storage.dead_letters import (
    count_by_reason,
    get_dead_letter,
    list_dead_letters,
    mark_replayed,
    read_waiting,
)
from storage.errors import NotFound
from tests.builders import a_dead_letter, an_arrival
from tests.storage.conftest import Apply

TOPIC = "errata.predictions"


@pytest.fixture
def filled(db: Database, apply_to: Apply) -> Database:
    letters = [
        a_dead_letter(0),
        a_dead_letter(0, position=1, reason="too_deep"),
        a_dead_letter(1, raw=b"\xff\x00"),
    ]
    apply_to(an_arrival(dead=letters))
    return db


def test_they_are_listed_and_counted_by_reason(filled: Database) -> None:
    with filled.read() as c:
        assert [(each.offset, each.position) for each in list_dead_letters(c)] == [(0, 0), (0, 1), (1, 0)]
        assert [each.position for each in list_dead_letters(c, reason="too_deep")] == [1]
        assert len(list_dead_letters(c, limit=2)) == 2
        assert count_by_reason(c) == {"broken_json": 2, "too_deep": 1}


def test_one_is_found_with_its_bytes(filled: Database) -> None:
    with filled.read() as c:
        assert get_dead_letter(c, TOPIC, 0, 1).raw == b"\xff\x00"
        assert get_dead_letter(c, TOPIC, 0, 0, 1).reason == "too_deep"
        with pytest.raises(NotFound):
            get_dead_letter(c, TOPIC, 0, 2)


def test_only_those_that_were_sent_again_are_marked(filled: Database) -> None:
    with filled.read() as c:
        letters = list_dead_letters(c)
    mark_replayed(filled, letters[:2], 7)
    mark_replayed(filled, [], 8)
    with filled.read() as c:
        assert [each.replayed_us for each in list_dead_letters(c)] == [7, 7, None]


def test_those_that_wait_are_read_oldest_first_until_they_were_sent_again(filled: Database) -> None:
    with filled.read() as c:
        waiting = list(read_waiting(c))
        assert [(each.offset, each.position) for each in waiting] == [(0, 0), (0, 1), (1, 0)]
        assert [each.position for each in read_waiting(c, reason="too_deep")] == [1]
    mark_replayed(filled, waiting[:2], now_us=7)
    with filled.read() as c:
        assert [(each.offset, each.position) for each in read_waiting(c)] == [(1, 0)]
