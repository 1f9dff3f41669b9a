import pytest

from errata.errors import Malformed
from storage.batches import (
    BEFORE,
    create_batch,
    get_batch,
    list_batches,
    list_ordered_predictions,
    put_labels,
    read_items,
    set_status,
)
from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.records import BatchStatus
from tests.records import MODEL, make_batch, make_item, make_label, number_id

BATCH = number_id(1)


def store_batch(db: Database, status: BatchStatus = "draft") -> None:
    with db.write() as c:
        create_batch(
            c, make_batch(), [make_item(3), make_item(1), make_item(2, part="audit", inclusion=0.01)]
        )
        path: list[BatchStatus] = []
        while status != "draft":
            path.insert(0, status)
            status = BEFORE[status]
        for step in path:
            set_status(c, BATCH, step, f"It is {step}.", 2_000_000)


def test_a_batch_comes_back_as_it_was_stored(db: Database) -> None:
    store_batch(db)
    with db.read() as c:
        assert get_batch(c, BATCH) == make_batch()
        assert read_items(c, BATCH) == [
            make_item(1),
            make_item(2, part="audit", inclusion=0.01),
            make_item(3),
        ]


def test_a_missing_batch_is_not_found(db: Database) -> None:
    with db.read() as c, pytest.raises(NotFound, match=BATCH):
        get_batch(c, BATCH)


def test_a_batch_starts_as_a_draft(db: Database) -> None:
    with db.write() as c, pytest.raises(Conflict, match="draft"):
        create_batch(c, make_batch(status="ordered"), [])


def test_each_step_keeps_its_time_and_reason(db: Database) -> None:
    store_batch(db, "accepted")
    with db.read() as c:
        batch = get_batch(c, BATCH)
    assert (batch.status, batch.reason) == ("accepted", "It is accepted.")
    assert (batch.ordered_us, batch.delivered_us, batch.decided_us) == (2_000_000, 2_000_000, 2_000_000)


STATUSES: list[BatchStatus] = ["draft", "ordered", "delivered", "accepted", "rejected"]


@pytest.mark.parametrize("now", STATUSES)
def test_no_step_is_skipped_repeated_or_taken_back(db: Database, now: BatchStatus) -> None:
    store_batch(db, now)
    for wanted in STATUSES:
        if BEFORE.get(wanted) != now:
            with db.write() as c, pytest.raises(Conflict, match=BATCH):
                set_status(c, BATCH, wanted, "Out of turn.", 3_000_000)
    with db.read() as c:
        assert get_batch(c, BATCH).status == now


def test_batches_are_listed_by_model_status_and_run(db: Database) -> None:
    with db.write() as c:
        create_batch(c, make_batch(1, run_id=number_id(9)), [])
        create_batch(c, make_batch(2), [])
        create_batch(c, make_batch(3, model="translator"), [])
        set_status(c, number_id(2), "ordered", "Ordered.", 2_000_000)
    with db.read() as c:
        assert [batch.id for batch in list_batches(c)] == [number_id(3), number_id(2), number_id(1)]
        assert [batch.id for batch in list_batches(c, model=MODEL)] == [number_id(2), number_id(1)]
        assert [batch.id for batch in list_batches(c, status="ordered")] == [number_id(2)]
        assert [batch.id for batch in list_batches(c, run_id=number_id(9))] == [number_id(1)]


def test_predictions_in_any_batch_of_the_model_are_known(db: Database) -> None:
    store_batch(db)
    with db.write() as c:
        create_batch(c, make_batch(2, model="translator"), [make_item(8)])
    with db.read() as c:
        assert list_ordered_predictions(c, MODEL) == {number_id(1), number_id(2), number_id(3)}


def test_labels_and_flags_are_kept_and_counted(db: Database) -> None:
    store_batch(db, "ordered")
    flagged = make_label(2, label=None, flags=["bad_data"])
    with db.write() as c:
        put_labels(c, BATCH, [make_label(1, label="글자"), flagged])
    with db.read() as c:
        first, second, third = read_items(c, BATCH)
        assert (first.label, first.flags, first.labeler, first.labeled_us) == (
            "글자",
            [],
            "labeler-1",
            5_000_000,
        )
        assert (second.label, second.flags) == (None, ["bad_data"])
        assert third.labeled_us is None
        assert get_batch(c, BATCH).n_labelled == 2


def test_the_last_label_stands(db: Database) -> None:
    store_batch(db, "ordered")
    with db.write() as c:
        put_labels(c, BATCH, [make_label(1, label="wrong")])
        put_labels(c, BATCH, [make_label(1, label="right")])
    with db.read() as c:
        assert read_items(c, BATCH)[0].label == "right"


def test_a_label_for_another_batch_is_refused_by_name(db: Database) -> None:
    store_batch(db, "ordered")
    with pytest.raises(Malformed, match=number_id(8)), db.write() as c:
        put_labels(c, BATCH, [make_label(1), make_label(8)])
    with db.read() as c:
        assert get_batch(c, BATCH).n_labelled == 0


@pytest.mark.parametrize("status", ["draft", "accepted", "rejected"])
def test_labels_are_taken_only_between_order_and_decision(db: Database, status: BatchStatus) -> None:
    store_batch(db, status)
    with db.write() as c, pytest.raises(Conflict, match=status):
        put_labels(c, BATCH, [make_label(1)])
