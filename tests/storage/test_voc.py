"""VOC is found by model, state, words and time."""

import pytest

from errata.errors import Malformed
from storage.database import Database
from storage.errors import NotFound
from storage.voc import count_voc, get_voc, read_voc, set_status, summarise_voc
from tests.builders import MINUTE_US, START_US, a_prediction_event, a_voc_event, an_arrival
from tests.records import MODEL, number_id
from tests.storage.conftest import Apply


@pytest.fixture
def filled(db: Database, apply_to: Apply) -> Database:
    events = [
        a_voc_event(1, text="이중결제됐어요", model=MODEL, tags={"device": "ios"}),
        a_voc_event(2, text="Wrong NUMBER, 100 % of the time", time_us=START_US + MINUTE_US),
    ]
    apply_to(an_arrival(events, topic="errata.voc"))
    return db


def test_the_latest_come_first_with_all_their_fields(filled: Database) -> None:
    with filled.read() as c:
        latest, first = read_voc(c)
        assert [voc.id for voc in read_voc(c, limit=1, offset=1)] == [first.id]
    assert (latest.id, latest.model, latest.tags) == (number_id(2), None, {})
    assert (first.text, first.rating, first.channel, first.status) == ("이중결제됐어요", 3, "app", "new")
    assert first.tags == {"device": "ios"}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"search": "결제"}, [1]),
        ({"search": "wrong number"}, [2]),
        ({"search": "100 %"}, [2]),
        ({"search": "1_0"}, []),
        ({"model": MODEL}, [1]),
        ({"status": "resolved"}, []),
        ({"ratings": (1, 3)}, [2, 1]),
        ({"ratings": (4, 10)}, []),
        ({"since_us": START_US + MINUTE_US}, [2]),
        ({}, [2, 1]),
    ],
)
def test_it_is_found_and_counted_by_conditions(
    filled: Database, conditions: dict[str, object], expected: list[int]
) -> None:
    with filled.read() as c:
        assert [voc.id for voc in read_voc(c, **conditions)] == [number_id(each) for each in expected]
        assert count_voc(c, **conditions) == len(expected)


def test_its_status_is_kept(filled: Database) -> None:
    set_status(filled, number_id(1), "triaged")
    with filled.read() as c:
        assert [voc.id for voc in read_voc(c, status="triaged")] == [number_id(1)]


def test_a_status_that_is_none_and_a_comment_that_is_none_are_refused(filled: Database) -> None:
    with pytest.raises(Malformed, match="new, triaged, resolved, declined"):
        set_status(filled, number_id(1), "done")
    with pytest.raises(NotFound):
        set_status(filled, number_id(9), "triaged")


def test_a_comment_is_found_by_its_id(filled: Database) -> None:
    with filled.read() as c:
        assert get_voc(c, number_id(1)).text == "이중결제됐어요"
        with pytest.raises(NotFound):
            get_voc(c, number_id(9))


def test_a_comment_without_a_model_is_about_that_of_its_prediction(filled: Database, apply_to: Apply) -> None:
    apply_to(an_arrival([a_prediction_event(3)]))
    apply_to(an_arrival([a_voc_event(4, prediction_id=number_id(3))], topic="errata.voc", first_offset=2))
    with filled.read() as c:
        assert {voc.id for voc in read_voc(c, model=MODEL)} == {number_id(1), number_id(4)}


def test_comments_in_numbers(filled: Database, apply_to: Apply) -> None:
    apply_to(an_arrival([a_voc_event(4, rating=None)], topic="errata.voc", first_offset=2))
    set_status(filled, number_id(1), "resolved")
    with filled.read() as c:
        summary = summarise_voc(c)
        nothing = summarise_voc(c, model="unheard-of")
    assert (summary.n, summary.n_new, summary.n_rated, summary.mean_rating) == (3, 2, 2, 3.0)
    assert (nothing.n, nothing.n_new, nothing.mean_rating) == (0, 0, None)
