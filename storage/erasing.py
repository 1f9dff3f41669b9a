"""The content of an erased person is removed wherever it lies in the database; numbers and ids stay.

What was counted stays counted: tombstones keep the ids, and `erased_windows` what was counted, so that a recount
still adds up. All of it may be done again, and by several at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, func, or_, select

from quality.windows import add, as_columns, of_outcome, of_prediction
from storage.database import Database, lift_timeouts
from storage.erasures import ERASED_DETAIL, is_about, read_erased, read_quoted
from storage.insertion import as_text, is_one_of, list_keys
from storage.locks import lock_shard
from storage.pairing import read_outcomes
from storage.tables import (
    batch_items,
    batches,
    cases,
    dataset_examples,
    dead_letters,
    erased_windows,
    examples,
    feedback,
    outcomes,
    predictions,
    tombstones,
    voc,
)
from storage.tombstones import remove_events
from storage.windows import Additions, add_to_windows, place_of

_ROWS_AT_ONCE: Final = 1000
#: The shard of `erased_windows` of what was stored before it was erased, which is no partition.
_SHARD: Final = -2

_Place = tuple[str, int, int, int]
_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Erased:
    """How much of a person was found: what is erased, or would be."""

    predictions: int = 0
    feedback: int = 0
    voc: int = 0
    dead_letters: int = 0
    batch_items: int = 0
    examples: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a person's content lies."""

    prediction_ids: list[str]
    voc_ids: list[str]
    item_ids: list[tuple[str, str]]
    example_ids: list[str]
    letters: list[_Place]


def count_content(db: Database, subject: str) -> Erased:
    """How much of a subject is stored. Raises Unavailable."""
    with db.read() as c:
        found = _find(c, subject, None)
        n_feedback = sum(
            c.scalar(select(func.count()).where(is_one_of(c, feedback.c.prediction_id, ids))) or 0
            for ids in _portions(found.prediction_ids)
        )
    return _sum(found, n_feedback)


def list_predictions_of(db: Database, subject: str) -> list[str]:
    """The ids of a subject's predictions. Raises Unavailable."""
    with db.read() as c:
        return _find(c, subject, None).prediction_ids


def erase_content(db: Database, subject: str, until_us: int | None = None) -> Erased:
    """Remove all content of a subject, or that from up to `until_us`, and return how much it was.

    Record the erasure first (storage/erasures.py), so that nothing comes in behind. Raises Unavailable: do it
    again, what is done stays done.
    """
    with db.read() as c:
        found = _find(c, subject, until_us)
    n_feedback = 0
    for ids in _portions(found.prediction_ids):
        with db.write() as c:
            n_feedback += _erase_predictions(c, ids)
    for ids in _portions(found.voc_ids):
        with db.write() as c:
            remove_events(c, "voc", is_one_of(c, voc.c.id, ids), is_erased=True)
    for some in _portions(found.item_ids):
        with db.write() as c:
            _blank_items(c, some)
    for ids in _portions(found.example_ids):
        with db.write() as c:
            for column in (cases.c.example_id, dataset_examples.c.example_id, examples.c.id):
                c.execute(column.table.delete().where(is_one_of(c, column, ids)))
    for places in _portions(found.letters):
        with db.write() as c:
            _blank_letters(c, places)
    with db.write() as c:
        lift_timeouts(c)
        c.execute(feedback.update().where(_named(subject, until_us)).values(who_id=None))
    return _sum(found, n_feedback)


def erase_again(db: Database) -> Erased:
    """Remove what is stored of subjects that were erased, as after a backup from before it was restored.

    What they did after they were erased stays. Raises Unavailable.
    """
    total = Erased()
    for subject, erased_us in _list_erased(db):
        erased = asdict(erase_content(db, subject, erased_us))
        total = Erased(**{name: getattr(total, name) + n for name, n in erased.items()})
    missed = erase_missed(db)
    total.feedback += missed.feedback
    total.voc += missed.voc
    return total


def erase_missed(db: Database, stored_since_us: int = 0) -> Erased:
    """Remove what came about a prediction in the moment in which that was erased: neither transaction saw the other's.

    Looks at feedback stored since a time, and at all comments, of which there are few. Raises Unavailable.
    """
    t, f, v = tombstones.c, feedback.c, voc.c
    with db.read() as c:
        lift_timeouts(c)
        is_of_erased = (t.kind == "prediction") & (t.is_erased == 1)
        given = select(as_text(c, f.id)).join(tombstones, (t.id == f.prediction_id) & is_of_erased)
        feedback_ids = list(c.scalars(given.where(f.stored_us >= stored_since_us)))
        said = select(as_text(c, v.id)).join(tombstones, (t.id == v.prediction_id) & is_of_erased)
        voc_ids = list(c.scalars(said))
    for ids in _portions(feedback_ids):
        with db.write() as c:
            remove_events(c, "feedback", is_one_of(c, f.id, ids), is_erased=True)
    for ids in _portions(voc_ids):
        with db.write() as c:
            remove_events(c, "voc", is_one_of(c, v.id, ids), is_erased=True)
    return Erased(feedback=len(feedback_ids), voc=len(voc_ids))


def _find(c: Connection, subject: str, until_us: int | None) -> _Found:
    """Where the content of a subject lies. There is no index by subject: erasing is rare, storing is not."""
    lift_timeouts(c)
    p, v = predictions.c, voc.c
    own = select(as_text(c, p.id)).where(p.subject == subject, *_up_to(until_us, p.time_us, p.stored_us))
    ids = sorted(c.scalars(own))
    said = select(as_text(c, v.id)).where(v.subject == subject, *_up_to(until_us, v.time_us, v.stored_us))
    voc_ids = set(c.scalars(said))
    i, e = batch_items.c, examples.c
    grouped = (
        select(i.batch_id, i.prediction_id)
        .join(batches, batches.c.id == i.batch_id)
        .where(i.group == subject, *_up_to(until_us, batches.c.created_us))
    )
    items = {(row.batch_id, row.prediction_id) for row in c.execute(grouped)}
    taught = select(as_text(c, e.id)).where(e.group == subject, *_up_to(until_us, e.created_us))
    example_ids = set(c.scalars(taught))
    for some in _portions(ids):
        voc_ids |= set(c.scalars(select(as_text(c, v.id)).where(is_one_of(c, v.prediction_id, some))))
        ordered = select(i.batch_id, i.prediction_id).where(is_one_of(c, i.prediction_id, some))
        items |= {(row.batch_id, row.prediction_id) for row in c.execute(ordered)}
        example_ids |= set(c.scalars(select(as_text(c, e.id)).where(is_one_of(c, e.id, some))))
    letters = list(_find_letters(c, subject, set(ids), until_us))
    return _Found(ids, sorted(voc_ids), sorted(items), sorted(example_ids), letters)


def _find_letters(c: Connection, subject: str, ids: set[str], until_us: int | None) -> Iterator[_Place]:
    """The places of the dead letters that are about a subject and not blank yet."""
    d = dead_letters.c
    wanted = select(dead_letters).where(d.detail != ERASED_DETAIL, *_up_to(until_us, d.stored_us))
    for row in c.execute(wanted, execution_options={"yield_per": 200}):
        if is_about(row.raw, subject, ids):
            yield row.topic, row.partition, row.offset, row.position


def _up_to(until_us: int | None, *times: Any) -> list[ColumnElement[bool]]:
    """Whether one of several times is up to `until_us`; a service's clock may be ahead of ours."""
    return [] if until_us is None else [or_(*(time <= until_us for time in times))]


def _named(subject: str, until_us: int | None) -> ColumnElement[bool]:
    """Whether a feedback says that a subject gave it, to whomever's prediction."""
    f = feedback.c
    condition = f.who_id == subject
    for each in _up_to(until_us, f.time_us, f.stored_us):
        condition &= each
    return condition


def _erase_predictions(c: Connection, ids: Sequence[str]) -> int:
    """Remove predictions and all that is about them; return how much feedback that was."""
    p = predictions.c
    chosen = is_one_of(c, p.id, ids)
    # No feedback comes in behind: that of these predictions is stored under the same locks.
    shards = set(c.scalars(select(p.shard).where(chosen).distinct()))
    for shard in sorted({_SHARD, *shards}):
        lock_shard(c, shard)
    columns = (as_text(c, p.id), p.model, p.version, p.time_us, p.slices, p.latency_us)
    found = c.execute(select(*columns).where(chosen).order_by(p.id).with_for_update()).all()
    became = read_outcomes(c, [row.id for row in found])
    made = [add(of_prediction(row.latency_us), of_outcome(became.get(row.id))) for row in found]
    counted = Additions([place_of(row) for row in found], as_columns(made))
    add_to_windows(c, _SHARD, counted, erased_windows)
    c.execute(outcomes.delete().where(is_one_of(c, outcomes.c.prediction_id, ids)))
    n = remove_events(c, "feedback", is_one_of(c, feedback.c.prediction_id, ids), is_erased=True)
    remove_events(c, "prediction", chosen, is_erased=True)
    return n


def _blank_items(c: Connection, items: Sequence[tuple[str, str]]) -> None:
    """Leave of the items of batches no more than that they were ordered: acceptance and prices count them."""
    i = batch_items.c
    listed = list_keys(c, [i.batch_id, i.prediction_id], items)
    same = (i.batch_id == listed.c.batch_id) & (i.prediction_id == listed.c.prediction_id)
    c.execute(
        batch_items.update()
        .where(select(1).select_from(listed).where(same).exists())
        .values(group="erased", reasons="[]", label=None, flags=None, labeler=None)
    )


def _blank_letters(c: Connection, places: Sequence[_Place]) -> None:
    d = dead_letters.c
    keys = [d.topic, d.partition, d.offset, d.position]
    listed = list_keys(c, keys, places)
    chosen = select(1).select_from(listed).where(*(key == listed.c[key.name] for key in keys))
    c.execute(dead_letters.update().where(chosen.exists()).values(raw=b"", detail=ERASED_DETAIL))


def _list_erased(db: Database) -> list[tuple[str, int]]:
    """The subjects of which something is stored and who were erased, each with the time of it."""
    named: set[str] = set()
    with db.read() as c:
        lift_timeouts(c)
        columns = (
            predictions.c.subject,
            voc.c.subject,
            feedback.c.who_id,
            batch_items.c.group,
            examples.c.group,
        )
        for column in columns:
            named |= set(c.scalars(select(column).where(column.is_not(None)).distinct()))
        for raw in c.scalars(select(dead_letters.c.raw), execution_options={"yield_per": 200}):
            named |= read_quoted(raw)
        return sorted(read_erased(c, named).items())


def _portions(some: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(some), _ROWS_AT_ONCE):
        yield some[start : start + _ROWS_AT_ONCE]


def _sum(found: _Found, n_feedback: int) -> Erased:
    return Erased(
        predictions=len(found.prediction_ids),
        feedback=n_feedback,
        voc=len(found.voc_ids),
        dead_letters=len(found.letters),
        batch_items=len(found.item_ids),
        examples=len(found.example_ids),
    )
