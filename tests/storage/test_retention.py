"""What has grown old is removed and never counts again; windows stay; verify() still finds no difference."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select, update

from errata.settings import Retention
from storage.batches import create_batch
from storage.database import Database
from storage.dead_letters import list_dead_letters
from storage.records import Applied
from storage.retention import Removed, known_since, remove_old
from storage.tables import (
    batches,
    feedback,
    intake_ledger,
    outcomes,
    predictions,
    slice_values,
    tombstones,
    voc,
)
from storage.verify import verify
from storage.windows import sum_windows
from tests.builders import (
    START_US,
    a_dead_letter,
    a_feedback_event,
    a_prediction_event,
    a_voc_event,
    an_arrival,
)
from tests.records import MODEL, make_batch, make_item, number_id
from tests.storage.conftest import MODELS, Apply

DAY_US = 86_400_000_000
KEPT = Retention(predictions_days=30, voc_days=60, dead_letters_days=10, ledger_days=5, tombstones_days=90)
#: When predictions of START_US are older than they are kept.
LATER_US = START_US + 31 * DAY_US


def count(db: Database, table: Any) -> int:
    with db.read() as c:
        return len(c.execute(select(table)).all())


def numbers_of(db: Database) -> Counter[str]:
    with db.read() as c:
        (window,) = sum_windows(c, model=MODEL, by=())
    return Counter({name: getattr(window, name) for name in ("n", "n_edit", "n_accept", "n_reject")})


@pytest.fixture
def counted(db: Database, apply_to: Apply) -> Database:
    """Two predictions, one of them edited, feedback that waits, a comment and a dead letter."""
    apply_to(an_arrival([a_prediction_event(1), a_prediction_event(2)], dead=[a_dead_letter(2)]))
    waiting = a_feedback_event(1009, prediction=9)
    apply_to(an_arrival([a_feedback_event(1001), waiting], topic="errata.feedback"))
    apply_to(an_arrival([a_voc_event(2001)], topic="errata.voc"))
    return db


def test_nothing_is_removed_unless_it_is_asked_for(counted: Database) -> None:
    assert remove_old(counted, Retention(), LATER_US + 1000 * DAY_US) == Removed()
    assert count(counted, predictions) == 2


def test_what_is_old_enough_is_removed_and_the_numbers_stay(counted: Database) -> None:
    before = numbers_of(counted)
    assert remove_old(counted, KEPT, START_US + 30 * DAY_US) == Removed(dead_letters=1)
    assert remove_old(counted, KEPT, LATER_US) == Removed(predictions=2, waiting_feedback=1)
    assert remove_old(counted, KEPT, START_US + 61 * DAY_US) == Removed(voc=1)
    assert [count(counted, table) for table in (predictions, feedback, outcomes, voc, slice_values)] == [
        0
    ] * 5
    assert numbers_of(counted) == before == Counter(n=2, n_edit=1)
    found = verify(counted, MODELS)
    assert found.differences == []
    assert found.checked["windows not recounted, as their predictions are not kept"] == 2
    assert found.checked["tombstones"] == 5


def test_what_was_removed_is_a_duplicate_when_it_comes_again(counted: Database, apply_to: Apply) -> None:
    remove_old(counted, KEPT, START_US + 61 * DAY_US)
    before = numbers_of(counted)
    again = [
        a_prediction_event(1),
        a_feedback_event(1001),
        a_feedback_event(1009, prediction=9),
        a_voc_event(),
    ]
    applied = apply_to(an_arrival([*again, a_prediction_event(3)], partition=1))
    assert (applied.n_duplicate, applied.n_new) == (4, 1)
    assert numbers_of(counted) == before + Counter(n=1)
    assert verify(counted, MODELS).differences == []


def test_late_feedback_on_a_removed_prediction_moves_no_window(counted: Database, apply_to: Apply) -> None:
    remove_old(counted, KEPT, LATER_US)
    before = numbers_of(counted)
    assert apply_to(an_arrival([a_feedback_event(1002, prediction=2)], partition=1)).n_new == 1
    assert numbers_of(counted) == before
    assert verify(counted, MODELS).differences == []
    assert remove_old(counted, KEPT, LATER_US).waiting_feedback == 1


def test_predictions_in_a_batch_that_is_not_decided_stay(counted: Database) -> None:
    with counted.write() as c:
        create_batch(c, make_batch(1), [make_item(1)])
    assert remove_old(counted, KEPT, LATER_US).predictions == 1
    assert verify(counted, MODELS).differences == []
    with counted.write() as c:
        c.execute(update(batches).values(status="accepted"))
    assert remove_old(counted, KEPT, LATER_US).predictions == 1


def test_much_is_removed_in_portions(db: Database, apply_to: Apply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.retention._ROWS_AT_ONCE", 2)
    apply_to(an_arrival([a_prediction_event(number) for number in range(1, 10)]))
    assert remove_old(db, KEPT, LATER_US, portions=2).predictions == 4
    assert verify(db, MODELS).differences == []
    assert remove_old(db, KEPT, LATER_US).predictions == 5


def test_the_ledger_keeps_a_row_a_day_and_its_chain(db: Database, apply_to: Apply) -> None:
    for offset in range(6):
        apply_to(an_arrival([a_prediction_event(offset)], first_offset=offset))
    for offset in range(6):
        with db.write() as c:
            of_run = intake_ledger.c.first_offset == offset
            c.execute(update(intake_ledger).where(of_run).values(stored_us=START_US + offset // 3 * DAY_US))
    assert remove_old(db, KEPT, START_US + 6 * DAY_US).ledger_rows == 2
    assert remove_old(db, KEPT, START_US + 7 * DAY_US).ledger_rows == 2
    with db.read() as c:
        rows = c.execute(select(intake_ledger).order_by(intake_ledger.c.first_offset)).all()
    assert [(row.first_offset, row.next_offset, row.n, row.n_new) for row in rows] == [
        (0, 3, 3, 3),
        (3, 6, 3, 3),
    ]
    assert verify(db, MODELS).differences == []


def apply_late(apply_to: Apply, *numbers: int) -> Applied:
    now_us = START_US + 100 * DAY_US
    arrival = an_arrival([a_prediction_event(number) for number in numbers], partition=2)
    return apply_to(arrival, now_us=now_us, known_since_us=known_since(KEPT, now_us))


def test_an_event_that_may_have_been_forgotten_is_refused_and_kept(
    counted: Database, apply_to: Apply
) -> None:
    remove_old(counted, KEPT, START_US + 92 * DAY_US)
    assert count(counted, tombstones) == 0
    before = numbers_of(counted)
    assert apply_late(apply_to, 1, 3).n_dead == 2
    assert numbers_of(counted) == before
    assert verify(counted, MODELS).differences == []
    with counted.read() as c:
        letters = list_dead_letters(c, reason="too_late")
    assert len(letters) == 2
    assert b"card-reader" in letters[0].raw


def test_an_old_event_that_is_known_is_a_duplicate(counted: Database, apply_to: Apply) -> None:
    remove_old(counted, replace_days(KEPT, tombstones_days=0), START_US + 61 * DAY_US)
    applied = apply_late(apply_to, 1, 3)
    assert (applied.n_duplicate, applied.n_dead) == (1, 1)


def replace_days(kept: Retention, **days: float) -> Retention:
    return Retention(**({name: getattr(kept, name) for name in kept.__struct_fields__} | days))


def test_a_lost_tombstone_is_found(counted: Database) -> None:
    remove_old(counted, KEPT, LATER_US)
    with counted.write() as c:
        c.execute(tombstones.delete().where(tombstones.c.id == number_id(1)))
    assert verify(counted, MODELS).differences == [
        "prediction has 1 tombstones, but 2 were removed and 0 forgotten"
    ]
