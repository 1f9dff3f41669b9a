"""How long what came in is kept: what has grown old is removed in small transactions, and never counts again.

Windows stay for ever. Those of removed predictions can't be recounted any more: `retained_since` says from
which minute on all predictions are there, and is moved before the first of them is removed.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, exists, func, select, tuple_

from errata.settings import DAY_SECONDS, Retention
from quality.windows import minute_of
from storage.database import Database, lift_timeouts
from storage.insertion import as_text, insert_new, is_one_of
from storage.locks import lock_shard
from storage.slices import hour_of
from storage.tables import (
    batch_items,
    batches,
    dead_letters,
    erased_windows,
    feedback,
    intake_ledger,
    outcomes,
    predictions,
    retained_since,
    slice_values,
    voc,
)
from storage.tombstones import count_removals, forget_tombstones, remove_events

_ROWS_AT_ONCE: Final = 2000
_DAY_US: Final = DAY_SECONDS * 1_000_000
#: Predictions of a batch that is not decided yet stay, because labelers still look at them.
_UNDECIDED: Final = ("draft", "ordered", "delivered")
#: Tombstones are forgotten so much later than events become too late: clocks of workers differ.
_MARGIN_US: Final = _DAY_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """How many were removed; predictions with the feedback on them, rows of the ledger by adding them up."""

    predictions: int = 0
    waiting_feedback: int = 0
    voc: int = 0
    dead_letters: int = 0
    ledger_rows: int = 0
    tombstones: int = 0


def known_since(retention: Retention, now_us: int) -> int:
    """Since when the ids of all events are known; one from before it, of unknown id, is too late."""
    return _cut(retention.tombstones_days, now_us)


def remove_old(db: Database, retention: Retention, now_us: int, portions: int = 10) -> Removed:
    """Remove what is older than it is kept, of each kind at most `portions` of 2,000; return how many.

    Several may do it at once. Raises Unavailable.
    """
    since_us = minute_of(_cut(retention.predictions_days, now_us))
    n_predictions = n_feedback = 0
    if since_us:
        _move_since(db, "prediction", since_us)
        n_predictions = _repeat(db, portions, lambda c: _remove_predictions(c, since_us))
        n_feedback = _repeat(db, portions, lambda c: _remove_waiting_feedback(c, since_us))
        _repeat(db, portions, lambda c: _remove_slice_values(c, since_us))
    voc_us = _cut(retention.voc_days, now_us)
    letters_us = _cut(retention.dead_letters_days, now_us)
    return Removed(
        predictions=n_predictions,
        waiting_feedback=n_feedback,
        voc=_repeat(db, portions, lambda c: _remove_voc(c, voc_us)) if voc_us else 0,
        dead_letters=_repeat(db, portions, lambda c: _remove_dead_letters(c, letters_us))
        if letters_us
        else 0,
        ledger_rows=_fold_ledger(db, _cut(retention.ledger_days, now_us) // _DAY_US * _DAY_US),
        tombstones=_repeat(
            db,
            portions,
            lambda c: forget_tombstones(c, known_since(retention, now_us) - _MARGIN_US, _ROWS_AT_ONCE),
        )
        if retention.tombstones_days
        else 0,
    )


def read_since(c: Connection, kind: str) -> int:
    """What of a kind happened before this is removed, or about to be; 0 if nothing is."""
    return c.scalar(select(retained_since.c.time_us).where(retained_since.c.kind == kind)) or 0


def _cut(days: float, now_us: int) -> int:
    """What is older is not kept; 0 where everything is."""
    return max(0, now_us - round(days * _DAY_US)) if days else 0


def _move_since(db: Database, kind: str, time_us: int) -> None:
    """Say that older ones are removed from now on. It never goes back: what is gone is gone."""
    with db.write() as c:
        insert_new(c, retained_since, [{"kind": kind, "time_us": 0}])
        same = (retained_since.c.kind == kind) & (retained_since.c.time_us < time_us)
        c.execute(retained_since.update().where(same).values(time_us=time_us))


def _repeat(db: Database, portions: int, act: Callable[[Connection], int]) -> int:
    """Let `act` remove a portion in each of several transactions, until it finds none; return how many."""
    n = 0
    for _ in range(portions):
        with db.write() as c:
            n_now = act(c)
        n += n_now
        if not n_now:
            break
    return n


def _each_value(c: Connection, column: Column[Any]) -> Iterator[Any]:
    """The different values of a column that leads an index, without reading all of it."""
    value = c.scalar(select(func.min(column)))
    while value is not None:
        yield value
        value = c.scalar(select(func.min(column)).where(column > value))


def _remove_predictions(c: Connection, since_us: int) -> int:
    """Remove a portion of the predictions of one model, with all feedback on them."""
    p = predictions.c
    item = batch_items.join(batches, batches.c.id == batch_items.c.batch_id)
    is_needed = exists(
        select(1)
        .select_from(item)
        .where(batch_items.c.prediction_id == p.id, batches.c.status.in_(_UNDECIDED))
    )
    for model in _each_value(c, p.model):
        old = select(as_text(c, p.id)).where(p.model == model, p.time_us < since_us, ~is_needed)
        ids = sorted(c.scalars(old.order_by(p.time_us).limit(_ROWS_AT_ONCE)))
        if ids:
            chosen = is_one_of(c, p.id, ids)
            # In the order of ids, as the intake locks them: it may be pairing one of them now.
            c.execute(select(p.id).where(chosen).order_by(p.id).with_for_update()).all()
            c.execute(outcomes.delete().where(is_one_of(c, outcomes.c.prediction_id, ids)))
            remove_events(c, "feedback", is_one_of(c, feedback.c.prediction_id, ids), is_erased=False)
            return remove_events(c, "prediction", chosen, is_erased=False)
    return 0


def _remove_waiting_feedback(c: Connection, since_us: int) -> int:
    """Remove a portion of the feedback whose prediction has not come, or was removed before it came."""
    f = feedback.c
    has_prediction = exists(select(predictions.c.id).where(predictions.c.id == f.prediction_id))
    waiting = f.stored_us < since_us, ~has_prediction
    rows = c.execute(
        select(as_text(c, f.id), f.shard).where(*waiting).order_by(f.stored_us).limit(_ROWS_AT_ONCE)
    ).all()
    for shard in sorted({row.shard for row in rows}):
        lock_shard(c, shard)
    # A prediction may have come before its shard was locked.
    chosen = is_one_of(c, f.id, [row.id for row in rows]) & ~has_prediction
    return remove_events(c, "feedback", chosen, is_erased=False) if rows else 0


def _remove_slice_values(c: Connection, since_us: int) -> int:
    """Remove a portion of the values of hours that are over for good, and what was erased in them."""
    s = slice_values.c
    key = tuple_(s.model, s.hour_us, s.tag, s.value)
    c.execute(erased_windows.delete().where(erased_windows.c.minute_us < since_us))
    for model in _each_value(c, s.model):
        old = select(s.model, s.hour_us, s.tag, s.value).where(
            s.model == model, s.hour_us < hour_of(since_us)
        )
        n = c.execute(slice_values.delete().where(key.in_(old.limit(_ROWS_AT_ONCE)))).rowcount
        if n:
            return n
    return 0


def _remove_voc(c: Connection, before_us: int) -> int:
    v = voc.c
    old = select(v.id).where(v.time_us < before_us).order_by(v.time_us).limit(_ROWS_AT_ONCE)
    return remove_events(c, "voc", v.id.in_(old), is_erased=False)


def _remove_dead_letters(c: Connection, before_us: int) -> int:
    """Remove a portion of the dead letters of one reason."""
    d = dead_letters.c
    key = tuple_(d.topic, d.partition, d.offset, d.position)
    for reason in _each_value(c, d.reason):
        old = select(d.topic, d.partition, d.offset, d.position).where(
            d.reason == reason, d.stored_us < before_us
        )
        removed = c.execute(
            dead_letters.delete()
            .where(key.in_(old.order_by(d.stored_us).limit(_ROWS_AT_ONCE)))
            .returning(d.topic, d.partition)
        ).all()
        if removed:
            count_removals(c, "dead_letter", Counter((row.topic, row.partition) for row in removed))
            return len(removed)
    return 0


def _fold_ledger(db: Database, before_us: int) -> int:
    """Make one row a day of each partition's older rows, once a day; return how many rows that spared.

    Only rows that follow each other are added up, so that the chain of a partition stays whole.
    """
    ledger = intake_ledger.c
    with db.read() as c:
        since_us = read_since(c, "ledger")
        if since_us >= before_us:
            return 0
        lift_timeouts(c)
        rows = c.execute(
            select(ledger.topic, ledger.partition, ledger.first_offset, ledger.next_offset, ledger.stored_us)
            .where(ledger.stored_us >= since_us, ledger.stored_us < before_us)
            .order_by(ledger.topic, ledger.partition, ledger.first_offset)
        ).all()
    n_spared = 0
    for (topic, partition, _), group in groupby(
        rows, key=lambda row: (row.topic, row.partition, row.stored_us // _DAY_US)
    ):
        of_day = list(group)
        chained = all(one.next_offset == other.first_offset for one, other in pairwise(of_day))
        if len(of_day) > 1 and chained:
            with db.write() as c:
                n_spared += _fold(c, topic, partition, of_day[0].first_offset, of_day[-1].first_offset)
    _move_since(db, "ledger", before_us)
    return n_spared


def _fold(c: Connection, topic: str, partition: int, first_offset: int, last_offset: int) -> int:
    """Add the rows of a partition from one first offset to another up in the first of them."""
    ledger = intake_ledger.c
    own: ColumnElement[bool] = (ledger.topic == topic) & (ledger.partition == partition)
    names = ("n_records", "n", "n_new", "n_duplicate", "n_dead")
    sums = c.execute(
        select(
            func.max(ledger.next_offset).label("next_offset"),
            func.max(ledger.stored_us).label("stored_us"),
            *(func.sum(ledger[name]).label(name) for name in names),
        ).where(own, ledger.first_offset.between(first_offset, last_offset))
    ).one()
    gone = c.execute(
        intake_ledger.delete().where(
            own, ledger.first_offset > first_offset, ledger.first_offset <= last_offset
        )
    ).rowcount
    c.execute(
        intake_ledger.update()
        .where(own, ledger.first_offset == first_offset)
        .values(**{name: int(value) for name, value in sums._mapping.items()})
    )
    return gone
