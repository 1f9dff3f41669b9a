"""Labeling batches: what was ordered from the labelers, why, at what price, and what came back."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from errata.errors import Malformed
from storage.errors import Conflict, NotFound
from storage.json_text import from_text, from_text_or_none, to_text, to_text_or_none
from storage.records import Batch, BatchItem, BatchStatus, Label
from storage.tables import batch_items, batches

#: From which status each status is reached.
BEFORE: Final[dict[BatchStatus, BatchStatus]] = {
    "ordered": "draft",
    "delivered": "ordered",
    "accepted": "delivered",
    "rejected": "delivered",
}
_TIME_COLUMN: Final[dict[BatchStatus, str]] = {
    "ordered": "ordered_us",
    "delivered": "delivered_us",
    "accepted": "decided_us",
    "rejected": "decided_us",
}


def create_batch(c: Connection, batch: Batch, items: Sequence[BatchItem]) -> None:
    """Store a draft and its items."""
    if batch.status != "draft":
        raise Conflict(f"batch {batch.id} starts as {batch.status}: store it as draft and order it then")
    c.execute(
        insert(batches).values(
            id=batch.id,
            model=batch.model,
            status=batch.status,
            run_id=batch.run_id,
            quantity=batch.quantity,
            unit_price=batch.unit_price,
            currency=batch.currency,
            guide=batch.guide,
            guide_version=batch.guide_version,
            policy=to_text(batch.policy),
            reason=batch.reason,
            created_us=batch.created_us,
        )
    )
    rows = [
        {
            "batch_id": batch.id,
            "prediction_id": item.prediction_id,
            "part": item.part,
            "reasons": to_text(item.reasons),
            "score": item.score,
            "inclusion": item.inclusion,
            "group": item.group,
        }
        for item in items
    ]
    if rows:
        c.execute(insert(batch_items), rows)


def get_batch(c: Connection, batch_id: str) -> Batch:
    """One batch; raises NotFound."""
    found = _read_batches(c, batches.c.id == batch_id)
    if not found:
        raise NotFound("batch", batch_id)
    return found[0]


def list_batches(
    c: Connection, *, model: str | None = None, status: BatchStatus | None = None, run_id: str | None = None
) -> list[Batch]:
    """Batches, the newest first."""
    wanted = ((batches.c.model, model), (batches.c.status, status), (batches.c.run_id, run_id))
    conditions = [column == value for column, value in wanted if value is not None]
    return _read_batches(c, *conditions)


def read_items(c: Connection, batch_id: str) -> list[BatchItem]:
    """The items of a batch in an order that says nothing about their part (by prediction)."""
    query = (
        select(batch_items).where(batch_items.c.batch_id == batch_id).order_by(batch_items.c.prediction_id)
    )
    return [
        BatchItem(
            prediction_id=row.prediction_id,
            part=row.part,
            reasons=from_text(row.reasons),
            score=row.score,
            inclusion=row.inclusion,
            group=row.group,
            label=from_text_or_none(row.label),
            flags=from_text_or_none(row.flags) or [],
            labeler=row.labeler,
            labeled_us=row.labeled_us,
        )
        for row in c.execute(query)
    ]


def list_ordered_predictions(c: Connection, model: str) -> set[str]:
    """Ids of the predictions of `model` in batches that were not rejected: none is paid for twice."""
    query = (
        select(batch_items.c.prediction_id)
        .join(batches, batches.c.id == batch_items.c.batch_id)
        .where(batches.c.model == model, batches.c.status != "rejected")
    )
    return set(c.execute(query).scalars())


def set_status(c: Connection, batch_id: str, status: BatchStatus, reason: str, now_us: int) -> None:
    """Take one step of draft, ordered, delivered, accepted or rejected; raises Conflict if it is not next."""
    if status not in BEFORE:
        raise Conflict(f"batch {batch_id} cannot become {status} again: order a new batch")
    changed = c.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.status == BEFORE[status])
        .values({"status": status, "reason": reason, _TIME_COLUMN[status]: now_us})
    ).rowcount
    if not changed:
        now = get_batch(c, batch_id).status
        raise Conflict(f"batch {batch_id} is {now}: only a {BEFORE[status]} batch becomes {status}")


def put_labels(c: Connection, batch_id: str, labels: Sequence[Label]) -> None:
    """Store what labelers wrote; the last write stands until the batch is decided.

    Raises Conflict unless the batch is ordered or delivered, and Malformed that names predictions not in it.
    """
    status = get_batch(c, batch_id).status
    if status not in ("ordered", "delivered"):
        raise Conflict(f"batch {batch_id} is {status}: labels are taken while it is ordered or delivered")
    known = set(
        c.execute(select(batch_items.c.prediction_id).where(batch_items.c.batch_id == batch_id)).scalars()
    )
    unknown = sorted(label.prediction_id for label in labels if label.prediction_id not in known)
    if unknown:
        raise Malformed("unknown_item", f"batch {batch_id} has no item {', '.join(unknown[:5])}")
    for label in labels:
        c.execute(
            update(batch_items)
            .where(batch_items.c.batch_id == batch_id, batch_items.c.prediction_id == label.prediction_id)
            .values(
                label=to_text_or_none(label.label),
                flags=to_text(label.flags),
                labeler=label.labeler,
                labeled_us=label.labeled_us,
            )
        )


def _read_batches(c: Connection, *conditions: ColumnElement[bool]) -> list[Batch]:
    n_labelled = (
        select(func.count())
        .where(batch_items.c.batch_id == batches.c.id, batch_items.c.labeled_us.is_not(None))
        .scalar_subquery()
        .label("n_labelled")
    )
    query = select(batches, n_labelled).where(*conditions)
    return [
        Batch(
            id=row.id,
            model=row.model,
            status=row.status,
            run_id=row.run_id,
            quantity=row.quantity,
            unit_price=row.unit_price,
            currency=row.currency,
            guide=row.guide,
            guide_version=row.guide_version,
            policy=from_text(row.policy),
            reason=row.reason,
            created_us=row.created_us,
            ordered_us=row.ordered_us,
            delivered_us=row.delivered_us,
            decided_us=row.decided_us,
            n_labelled=row.n_labelled,
        )
        for row in c.execute(query.order_by(batches.c.created_us.desc(), batches.c.id.desc()))
    ]
