"""verify() finds whatever does not follow from the facts, and says it in a sentence."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, update

from errata.settings import Model, Task
from storage.database import Database
from storage.tables import (
    dead_letters,
    feedback,
    intake_ledger,
    intake_positions,
    outcomes,
    predictions,
    windows,
)
from storage.verify import verify
from tests.builders import (
    a_dead_letter,
    a_feedback_event,
    a_feedback_row,
    a_prediction_event,
    a_voc_event,
    an_arrival,
)
from tests.records import MODEL, number_id
from tests.storage.conftest import MODELS, Apply


@pytest.fixture
def counted(db: Database, apply_to: Apply) -> Database:
    """Two predictions, one of them edited, a comment and a dead letter, all as they should be."""
    apply_to(an_arrival([a_prediction_event(1), a_prediction_event(2)], dead=[a_dead_letter(2)]))
    apply_to(an_arrival([a_feedback_event(1001)], topic="errata.feedback"))
    apply_to(an_arrival([a_voc_event(2001)], topic="errata.voc"))
    return db


def test_there_is_nothing_to_find_in_an_empty_database(db: Database) -> None:
    assert verify(db, MODELS).differences == []


def test_it_tells_what_it_has_checked(counted: Database) -> None:
    found = verify(counted, MODELS)
    assert found.differences == []
    assert found.checked == {
        "predictions": 2,
        "feedback": 1,
        "outcomes": 1,
        "windows": 2,
        "dead letters": 1,
        "runs of records": 3,
    }


def insert_feedback(c: Connection) -> None:
    c.execute(feedback.insert().values(**a_feedback_row(1009, prediction=2)))


def insert_ledger_row(c: Connection, first_offset: int, next_offset: int) -> None:
    """A run of no records of the topic of VOC."""
    counts = dict.fromkeys(("n_records", "n", "n_new", "n_duplicate", "n_dead"), 0)
    offsets = {"first_offset": first_offset, "next_offset": next_offset}
    place = {"topic": "errata.voc", "partition": 0, "worker": "w", "stored_us": 0}
    c.execute(intake_ledger.insert().values(**place, **offsets, **counts))


TAMPERING: dict[str, tuple[Callable[[Connection], Any], str]] = {
    "a count": (
        lambda c: c.execute(update(windows).where(windows.c.slice == "all").values(n=5)),
        "window 2026-11-23T06:30:00.000000Z of card-reader 1, slice all: n is 5, but the facts say 2",
    ),
    "a distance": (
        lambda c: c.execute(update(windows).where(windows.c.slice == "all").values(distance_ppm=1)),
        "slice all: distance_ppm is 1, but the facts say 111111",
    ),
    "a histogram": (
        lambda c: c.execute(update(windows).where(windows.c.slice == "device=ios").values(served=b"")),
        "slice device=ios: served is 0 values {}, but the facts say 2 values",
    ),
    "a missing window": (
        lambda c: c.execute(delete(windows).where(windows.c.slice == "device=ios")),
        "slice device=ios: n is 0, but the facts say 2",
    ),
    "a window of nothing": (
        lambda c: c.execute(update(windows).where(windows.c.slice == "device=ios").values(version="9")),
        "of card-reader 9, slice device=ios: n is 2, but the facts say 0",
    ),
    "an outcome": (
        lambda c: c.execute(update(outcomes).values(action="reject")),
        f"the outcome of prediction {number_id(1)} is stored with action reject instead of edit",
    ),
    "a missing outcome": (
        lambda c: c.execute(delete(outcomes)),
        f"prediction {number_id(1)} has feedback but no outcome",
    ),
    "an outcome without feedback": (
        lambda c: c.execute(update(feedback).values(who_kind="auditor")),
        f"prediction {number_id(1)} has the outcome edit but no feedback of a user",
    ),
    "a pair that was missed": (insert_feedback, f"prediction {number_id(2)} has feedback but no outcome"),
    "a lost prediction": (
        lambda c: c.execute(delete(predictions).where(predictions.c.id == number_id(1))),
        "1 outcomes belong to no stored prediction",
    ),
    "a lost event": (
        lambda c: c.execute(delete(predictions).where(predictions.c.id == number_id(2))),
        "3 events are stored, but the ledger says 4 were new",
    ),
    "a lost dead letter": (
        lambda c: c.execute(delete(dead_letters)),
        "errata.predictions 0 has 0 dead letters, but the ledger says 1",
    ),
    "a position": (
        lambda c: c.execute(
            update(intake_positions).where(intake_positions.c.topic == "errata.voc").values(next_offset=7)
        ),
        "position of errata.voc 0 is 7, but the ledger ends at 1",
    ),
    "offsets applied twice": (
        lambda c: insert_ledger_row(c, -1, 1),
        "ledger of errata.voc 0, offsets 0 to 1: offsets up to 1 were applied before",
    ),
    "a hole": (
        lambda c: insert_ledger_row(c, 3, 4),
        "nothing is known of the offsets from 1 on before it",
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_it_finds(what: str, counted: Database) -> None:
    tamper, sentence = TAMPERING[what]
    with counted.write() as c:
        tamper(c)
    differences = verify(counted, MODELS).differences
    assert any(sentence in difference for difference in differences), differences


def test_only_so_many_differences_are_told_one_by_one(
    counted: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.verify._TOLD", 1)
    with counted.write() as c:
        c.execute(update(windows).values(n=5, n_reject=5))
    assert verify(counted, MODELS).differences[1:] == ["and 3 more differences"]


def test_pages_of_predictions_are_added_up(
    counted: Database, apply_to: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_to(an_arrival([a_prediction_event(number) for number in range(3, 10)], first_offset=3))
    monkeypatch.setattr("storage.verify._PREDICTIONS_AT_ONCE", 2)
    found = verify(counted, MODELS)
    assert (found.differences, found.checked["predictions"]) == ([], 9)


def test_outcomes_of_a_model_that_is_gone_are_taken_as_they_are(counted: Database) -> None:
    assert verify(counted, {}).differences == []


def test_a_task_that_was_changed_shows_in_the_distances(counted: Database) -> None:
    (difference, *_) = verify(counted, {MODEL: Model(task=Task(kind="exact"))}).differences
    assert "distance_ppm 111111 instead of 1000000" in difference
