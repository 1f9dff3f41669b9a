"""A person who was erased is gone and stays gone, whatever comes in again; numbers stay, and add up."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from errata.errors import Stop
from errata.events import Event
from storage.batches import create_batch, put_labels, read_items, set_status
from storage.database import Database
from storage.erasing import Erased, count_content, erase_again, erase_content, erase_missed
from storage.erasures import Erasure, plan_erasure, read_written, record_erasures, write_down
from storage.examples import put_dataset, put_examples, read_dataset, read_examples
from storage.facts import FeedbackFact, VocFact, fact_of, feedback_columns, voc_columns
from storage.insertion import insert_by_id
from storage.records import Dataset, DeadLetter
from storage.tables import dead_letters, feedback, metadata, predictions, tombstones, voc
from storage.verify import verify
from storage.windows import sum_windows
from tests.builders import (
    SECOND_US,
    START_US,
    a_dead_letter,
    a_feedback_event,
    a_prediction_event,
    a_voc_event,
    an_arrival,
)
from tests.records import MODEL, make_batch, make_example, make_item, make_label, number_id
from tests.storage.conftest import MODELS, Apply

ADA, BOB = "ada-1815", "bob-1900"
ERASED_US = START_US + 60 * SECOND_US
SALT = "00" * 16
#: In every content of Ada's, and in nobody else's.
CANARY = "canary"

EVENTS = [
    a_prediction_event(1, subject=ADA, output=f"{CANARY} output", input=f"{CANARY} input", session=CANARY),
    a_prediction_event(2, subject=BOB),
    a_prediction_event(3, subject=ADA, output=CANARY),
    a_feedback_event(1001, prediction=1, corrected=f"{CANARY} corrected"),
    a_feedback_event(1002, prediction=2, action="accept"),
    a_voc_event(2001, subject=ADA, text=CANARY),
    a_voc_event(2002, prediction_id=number_id(1), text=CANARY),
    a_voc_event(2003, subject=BOB),
]
LETTERS = [
    a_dead_letter(8, raw=f'{{"data": {{"subject": "{ADA}", "x": "{CANARY}'.encode(), detail=CANARY),
    a_dead_letter(9, raw=f'{{"prediction_id": "{number_id(1)}", "corrected": "{CANARY}"'.encode()),
    a_dead_letter(10, raw=f'{{"data": {{"subject": "{BOB}"'.encode()),
]


def again(letters: list[DeadLetter]) -> list[DeadLetter]:
    """The same in another partition."""
    return [replace(letter, partition=1) for letter in letters]


def erase(db: Database, subject: str = ADA, now_us: int = ERASED_US) -> Erasure:
    planned = plan_erasure(db, subject, now_us, SALT)
    record_erasures(db, [planned])
    erase_content(db, subject)
    return planned


def numbers_of(db: Database) -> Counter[str]:
    names = ("n", "n_edit", "n_accept", "n_reject", "n_distance", "distance_ppm")
    with db.read() as c:
        windows = sum_windows(c, model=MODEL, by=())
    return Counter({name: sum(getattr(window, name) for window in windows) for name in names})


def tables_with(db: Database, word: str) -> set[str]:
    """The tables in which a word stands in any column."""
    with db.read() as c:
        return {
            table.name
            for table in metadata.sorted_tables
            for row in c.execute(select(table))
            if any(
                word in (value.decode("latin-1") if isinstance(value, bytes) else str(value)) for value in row
            )
        }


@pytest.fixture
def counted(db: Database, apply_to: Apply) -> Database:
    apply_to(an_arrival(EVENTS, dead=LETTERS))
    assert numbers_of(db) == Counter(
        n=3, n_edit=1, n_accept=1, n_distance=2, distance_ppm=numbers_of(db)["distance_ppm"]
    )
    return db


def test_a_dry_run_counts_and_changes_nothing(counted: Database) -> None:
    assert count_content(counted, ADA) == Erased(predictions=2, feedback=1, voc=2, dead_letters=2)
    assert count_content(counted, BOB) == Erased(predictions=1, feedback=1, voc=1, dead_letters=1)
    assert count_content(counted, "ada") == Erased()
    assert tables_with(counted, CANARY) == {"predictions", "feedback", "voc", "dead_letters"}


def test_the_content_is_gone_and_the_numbers_stay(counted: Database) -> None:
    before = numbers_of(counted)
    erase(counted)
    assert tables_with(counted, CANARY) == tables_with(counted, ADA) == set()
    assert numbers_of(counted) == before
    assert verify(counted, MODELS).differences == []
    with counted.read() as c:
        assert c.scalars(select(predictions.c.id)).all() == [number_id(2)]
        assert c.scalars(select(voc.c.id)).all() == [number_id(2003)]
    assert count_content(counted, ADA) == Erased()


def test_a_full_replay_counts_nothing_again_and_brings_nothing_back(
    counted: Database, apply_to: Apply
) -> None:
    before = numbers_of(counted)
    erase(counted)
    applied = apply_to(an_arrival(EVENTS, dead=again(LETTERS), partition=1))
    assert (applied.n_new, applied.n_duplicate, applied.n_dead) == (0, 8, 3)
    assert tables_with(counted, CANARY) == set()
    assert numbers_of(counted) == before
    assert verify(counted, MODELS).differences == []


@pytest.mark.parametrize("events", [EVENTS, EVENTS[::-1]], ids=["as they happened", "reversed"])
def test_what_comes_in_only_after_the_erasure_is_counted_and_not_kept(
    db: Database, apply_to: Apply, events: list[Event]
) -> None:
    erase(db)
    for offset, event in enumerate(events):
        assert apply_to(an_arrival([event], first_offset=offset)).n_new == 1
        assert verify(db, MODELS).differences == []
    assert tables_with(db, CANARY) == set()
    # Their outcomes could not be told any more.
    assert numbers_of(db) == Counter(n=3, n_accept=1, n_distance=1)


def test_a_run_with_all_of_it_leaves_nothing_either(db: Database, apply_to: Apply) -> None:
    erase(db)
    apply_to(an_arrival(EVENTS, dead=LETTERS))
    assert tables_with(db, CANARY) == set()
    assert verify(db, MODELS).differences == []


def test_who_comes_back_is_kept_again(counted: Database, apply_to: Apply) -> None:
    erase(counted)
    later_us = ERASED_US + 1
    back = [
        a_prediction_event(4, subject=ADA, time_us=later_us),
        a_voc_event(2004, subject=ADA, time_us=later_us),
    ]
    letter = a_dead_letter(
        2, raw=f'{{"time": "2026-11-23T07:00:00Z", "subject": "{ADA}"'.encode(), partition=1
    )
    apply_to(an_arrival(back, dead=[letter], partition=1), now_us=later_us)
    assert tables_with(counted, ADA) == {"predictions", "voc", "dead_letters"}
    assert erase_again(counted) == Erased()
    assert tables_with(counted, ADA) == {"predictions", "voc", "dead_letters"}


def test_feedback_that_an_erased_person_gave_to_others_stays_without_the_name(
    db: Database, apply_to: Apply
) -> None:
    apply_to(an_arrival([a_prediction_event(1, subject=BOB), a_feedback_event(1001)]))
    erase(db, "user-1")
    apply_to(an_arrival([a_feedback_event(1002)], first_offset=2))
    with db.read() as c:
        assert c.scalars(select(feedback.c.who_id)).all() == [None, None]
    assert numbers_of(db)["n_edit"] == 1
    assert verify(db, MODELS).differences == []


def test_items_examples_and_data_sets_lose_a_person(counted: Database) -> None:
    examples = [
        make_example(1, group=ADA),
        make_example(20, group=ADA, role="training"),
        make_example(2, group=BOB),
    ]
    frozen = Dataset(hash="1" * 64, model=MODEL, n_training=3, n_evaluation=0, created_us=START_US)
    with counted.write() as c:
        create_batch(c, make_batch(7), [make_item(1, group=ADA, reasons=[CANARY]), make_item(2, group=BOB)])
        set_status(c, make_batch(7).id, "ordered", "Yes.", START_US)
        put_labels(c, make_batch(7).id, [make_label(1, label=CANARY)])
        put_examples(c, examples)
        put_dataset(c, frozen, [(example.id, "training", False) for example in examples])
    found = count_content(counted, ADA)
    assert (found.batch_items, found.examples) == (1, 2)
    erase(counted)
    assert tables_with(counted, CANARY) == tables_with(counted, ADA) == set()
    with counted.read() as c:
        assert [item.label for item in read_items(c, make_batch(7).id)] == [None, None]
        assert [example.group for example in read_examples(c, model=MODEL)] == [BOB]
        assert [example.group for example, _, _ in read_dataset(c, frozen.hash)] == [BOB]


def test_a_short_subject_is_not_found_in_every_number(counted: Database, apply_to: Apply) -> None:
    letter = a_dead_letter(0, raw=b'{"rating": 7, "text": "7 of 7"', partition=1)
    apply_to(an_arrival([], dead=[letter], partition=1))
    assert count_content(counted, "7") == Erased()


def test_a_long_subject_is_found_in_what_has_no_quotes(counted: Database, apply_to: Apply) -> None:
    letter = a_dead_letter(0, raw=f"subject={ADA};{ADA}9".encode(), partition=1)
    apply_to(an_arrival([], dead=[letter], partition=1))
    assert count_content(counted, ADA).dead_letters == 3
    assert count_content(counted, f"{ADA}98").dead_letters == 0


def test_a_backup_from_before_forgets_again_and_replays(
    counted: Database, tmp_path: Path, apply_to: Apply
) -> None:
    # The database is as it was before; the file has what was erased since.
    file = tmp_path / "kept" / "elsewhere" / "erasures.jsonl"
    write_down(file, [plan_erasure(counted, ADA, ERASED_US, SALT)])
    write_down(file, [plan_erasure(counted, "somebody", ERASED_US, SALT)])
    before = numbers_of(counted)
    record_erasures(counted, read_written(file))
    assert erase_again(counted) == Erased(predictions=2, feedback=1, voc=2, dead_letters=2)
    since = [a_prediction_event(5, subject=ADA, output=CANARY), a_prediction_event(6, subject=BOB)]
    applied = apply_to(an_arrival([*EVENTS, *since], dead=again(LETTERS), partition=1))
    assert (applied.n_new, applied.n_duplicate) == (2, 8)
    assert tables_with(counted, CANARY) == tables_with(counted, ADA) == set()
    assert numbers_of(counted) == before + Counter(n=2)
    assert verify(counted, MODELS).differences == []
    assert erase_again(counted) == Erased()


def test_what_came_in_the_moment_of_an_erasure_is_removed_after_it(counted: Database) -> None:
    """Two transactions at once: one stored what is about a prediction, the other one erased that."""
    erase(counted)
    late = a_feedback_event(1009, prediction=1, corrected=CANARY)
    said = a_voc_event(2009, prediction_id=number_id(1), text=CANARY)
    fit = [a_feedback_event(1010, prediction=2), a_voc_event(2010, prediction_id=number_id(2))]
    facts = [fact_of(event) for event in (late, said, *fit)]
    with counted.write() as c:
        given = [fact for fact in facts if isinstance(fact, FeedbackFact)]
        insert_by_id(c, feedback, feedback_columns(given, 0, ERASED_US))
        insert_by_id(c, voc, voc_columns([fact for fact in facts if isinstance(fact, VocFact)], ERASED_US))
    assert erase_missed(counted, ERASED_US + 1) == Erased(voc=1)
    assert erase_missed(counted, ERASED_US) == Erased(feedback=1)
    assert erase_missed(counted) == Erased()
    assert tables_with(counted, CANARY) == set()
    with counted.read() as c:
        assert {number_id(1010), number_id(2010)} <= {
            *c.scalars(select(feedback.c.id)),
            *c.scalars(select(voc.c.id)),
        }


def test_the_file_names_nobody_and_a_damaged_one_is_refused(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "erasures.jsonl"
    write_down(file, [plan_erasure(db, ADA, ERASED_US, SALT)])
    assert ADA.encode() not in file.read_bytes()
    assert read_written(file) == [plan_erasure(db, ADA, ERASED_US, SALT)]
    file.write_bytes(file.read_bytes() + b'{"hash": ')
    with pytest.raises(Stop, match="line 2 of"):
        read_written(file)


def test_of_several_erasures_of_one_person_the_latest_stands(db: Database, apply_to: Apply) -> None:
    first, last = (plan_erasure(db, ADA, us, SALT) for us in (ERASED_US, ERASED_US + 10))
    record_erasures(db, [last, first])
    record_erasures(db, [first])
    apply_to(an_arrival([a_prediction_event(1, subject=ADA, time_us=ERASED_US + 10)]))
    with db.read() as c:
        assert c.scalars(select(tombstones.c.is_erased)).all() == [1]
        assert c.scalars(select(dead_letters.c.raw)).all() == []
    assert plan_erasure(db, BOB, ERASED_US, "11" * 16).salt == SALT
