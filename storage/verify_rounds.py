"""The proof as a habit: rounds through ledger and windows, in pieces.

A piece is some rows of the ledger of one partition, or the minutes of one model that hold some thousands of
predictions. Each is read in a snapshot of its own, which no writer waits for, and where the round goes on is a row:
whichever worker looks next goes on from there. `errata verify` (storage/verify.py) compares the same at one moment, and
totals besides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, func, or_, select, tuple_

from errata.identity import NewId
from errata.settings import Model
from errata.topics import EVENT_TOPICS
from quality.windows import MINUTE_US, minute_of
from storage.alerts import News, raise_alert, resolve_alert
from storage.database import Database
from storage.insertion import in_span, put_rows
from storage.retention import read_since
from storage.tables import (
    dead_letters,
    erased_windows,
    intake_ledger,
    intake_positions,
    predictions,
    removals,
    verify_rounds,
    windows,
)
from storage.verify import (
    PREDICTION_COLUMNS,
    Verification,
    add_erased,
    compare_windows,
    recount,
    tell_ledger_row,
)

#: For so long after it was stored a prediction may have missed its feedback without a fault: the sweep comes to it.
SETTLED_US: Final = 300_000_000

_LEDGER_ROWS: Final = 2000
_PREDICTIONS: Final = 10_000
_PREDICTIONS_AT_ONCE: Final = 2000
_CURRENT: Final = "current"
#: The condition that people are told of.
_DIFFERENCE: Final = "difference"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a round goes on: in the ledger of a partition, or at a minute of a model once `model` is not None."""

    topic: str = ""
    partition: int = -1
    #: The row of the ledger that was looked at last, as its first and next offset; None: the partition is done.
    row: tuple[int, int] | None = None
    model: str | None = None
    minute_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The round under way, and what the one before it found."""

    place: Place
    started_us: int
    n_differences: int = 0
    completed_us: int | None = None
    n_differences_before: int = 0


def get_round(c: Connection) -> Round | None:
    """The round under way; None before the first one."""
    row = c.execute(select(verify_rounds).where(verify_rounds.c.name == _CURRENT)).mappings().one_or_none()
    if row is None:
        return None
    values = {name: value for name, value in row.items() if name != "name"}
    return Round(**{**values, "place": msgspec.json.decode(row["place"], type=Place)})


def verify_next(
    db: Database, models: Mapping[str, Model], now_us: int, new_id: NewId
) -> tuple[Round, list[str]]:
    """Compare the next piece, and remember that; return where the round is now, and the differences as sentences.

    A round is at its end when its `completed_us` is `now_us`. Raises Unavailable.
    """
    found = Verification()
    with db.read() as c:
        before = get_round(c) or Round(place=Place(), started_us=now_us)
        place = _compare_piece(c, models, before.place, now_us - SETTLED_US, found)
    n_differences = before.n_differences + len(found.differences)
    if place is not None:
        after = replace(before, place=place, n_differences=n_differences)
    else:
        after = Round(
            place=Place(), started_us=now_us, completed_us=now_us, n_differences_before=n_differences
        )
    with db.write() as c:
        row = asdict(after) | {"name": _CURRENT, "place": msgspec.json.encode(after.place).decode()}
        put_rows(c, verify_rounds, [row])
        if found.differences:
            raise_alert(c, _tell(found.differences[0], n_differences), now_us, new_id)
        elif after.completed_us == now_us and n_differences == 0:
            resolve_alert(c, _DIFFERENCE, "A whole round of verification found no difference.", now_us)
    return after, found.differences


def _tell(difference: str, n: int) -> News:
    return News(
        key=_DIFFERENCE,
        kind="difference",
        severity="critical",
        title="A number does not follow from the facts",
        sentence=f"{difference} Differences so far: {n}. Run errata verify, and keep the database as it is.",
    )


def _compare_piece(
    c: Connection, models: Mapping[str, Model], place: Place, settled_us: int, found: Verification
) -> Place | None:
    """Compare the piece at `place`; return the place after it, or None at the end of the round."""
    if place.model is None:
        return _compare_ledger(c, place, found)
    if place.minute_us == 0:
        first = _first_model(c, place.model)
        if first is None:
            return None
        place = first
    return _compare_minutes(c, models, place, settled_us, found)


# --- The ledger ---------------------------------------------------------------------------------------------


def _compare_ledger(c: Connection, place: Place, found: Verification) -> Place:
    """Compare some rows of the ledger of one partition with each other, with the dead letters and the position."""
    if place.row is None:
        p = intake_positions.c
        later = select(p.topic, p.partition).where(
            tuple_(p.topic, p.partition) > tuple_(place.topic, place.partition)
        )
        partition = c.execute(later.order_by(p.topic, p.partition).limit(1)).one_or_none()
        if partition is None:
            return Place(model="")
        place = Place(partition.topic, partition.partition)
    ledger = intake_ledger.c
    own = select(intake_ledger).where(ledger.topic == place.topic, ledger.partition == place.partition)
    if place.row is not None:
        own = own.where(ledger.first_offset > place.row[0])
    rows = c.execute(own.order_by(ledger.first_offset).limit(_LEDGER_ROWS)).all()
    end = None if place.row is None else place.row[1]
    for row in rows:
        found.differences += tell_ledger_row(row, row.first_offset if end is None else end)
        end = row.next_offset
    _compare_dead_letters(c, place, rows, found)
    if len(rows) == _LEDGER_ROWS:
        return replace(place, row=(rows[-1].first_offset, rows[-1].next_offset))
    _compare_position(c, place, end, found)
    return Place(place.topic, place.partition)


def _compare_dead_letters(c: Connection, place: Place, rows: Sequence[Any], found: Verification) -> None:
    if not rows or place.topic not in EVENT_TOPICS:
        return
    d, first, end = dead_letters.c, rows[0].first_offset, rows[-1].next_offset
    n_stored = c.scalar(
        select(func.count())
        .select_from(dead_letters)
        .where(d.topic == place.topic, d.partition == place.partition, d.offset >= first, d.offset < end)
    )
    n_dead = sum(row.n_dead for row in rows)
    r = removals.c
    own = (r.kind == "dead_letter", r.topic == place.topic, r.partition == place.partition)
    # Where some were removed, it is known how many, and not from where: `errata verify` compares the totals.
    n_removed = c.scalar(select(func.coalesce(func.sum(r.n), 0)).where(*own)) or 0
    if not n_dead - n_removed <= (n_stored or 0) <= n_dead:
        found.differences.append(
            f"{place.topic} {place.partition}, offsets {first} to {end}, has {n_stored} dead letters, "
            f"but the ledger says {n_dead}"
        )


def _compare_position(c: Connection, place: Place, end: int | None, found: Verification) -> None:
    p = intake_positions.c
    position = c.scalar(select(p.next_offset).where(p.topic == place.topic, p.partition == place.partition))
    if position != end:
        found.differences.append(
            f"position of {place.topic} {place.partition} is {position}, but the ledger ends at {end}"
        )


# --- The windows --------------------------------------------------------------------------------------------


def _first_model(c: Connection, after: str) -> Place | None:
    """The first minute of the next model that has predictions or windows; None after the last one."""
    p, w = predictions.c, windows.c
    names = [c.scalar(select(func.min(model)).where(model > after)) for model in (p.model, w.model)]
    name = min((name for name in names if name is not None), default=None)
    if name is None:
        return None
    first_us = c.scalar(select(func.min(p.time_us)).where(p.model == name))
    minutes = [
        minute_of(first_us) if first_us is not None else None,
        c.scalar(select(func.min(w.minute_us)).where(w.model == name)),
    ]
    return Place(model=name, minute_us=min(minute for minute in minutes if minute is not None))


def _compare_minutes(
    c: Connection, models: Mapping[str, Model], place: Place, settled_us: int, found: Verification
) -> Place:
    """Count whole minutes of a model again, and compare their windows."""
    assert place.model is not None
    p, since_us = predictions.c, place.minute_us
    # Of what is older, predictions are not kept, and so windows are not counted again.
    kept_us = read_since(c, "prediction")
    own = select(*PREDICTION_COLUMNS).where(p.model == place.model)
    beyond_us = c.scalar(
        select(p.time_us)
        .where(p.model == place.model, p.time_us >= since_us)
        .order_by(p.time_us)
        .offset(_PREDICTIONS)
        .limit(1)
    )
    until_us = None if beyond_us is None else max(minute_of(beyond_us), since_us + MINUTE_US)
    pages = _pages(c, own.where(*in_span(p.time_us, since_us, until_us)))
    counted = recount(c, models, pages, found, since_us=kept_us, settled_us=settled_us)
    from_us = max(since_us, kept_us)
    e, w = erased_windows.c, windows.c
    add_erased(c, counted, and_(e.model == place.model, *in_span(e.minute_us, from_us, until_us)))
    compare_windows(c, and_(w.model == place.model, *in_span(w.minute_us, from_us, until_us)), counted, found)
    return Place(model=place.model, minute_us=until_us or 0)


def _pages(c: Connection, wanted: Any) -> Iterator[Sequence[Any]]:
    """Predictions in the order of their times, some at a time: one minute may hold millions."""
    p = predictions.c
    page = wanted.order_by(p.time_us, p.id).limit(_PREDICTIONS_AT_ONCE)
    some: Sequence[Any] = c.execute(page).all()
    while some:
        yield some
        last = some[-1]
        after = or_(p.time_us > last.time_us, (p.time_us == last.time_us) & (p.id > last.id))
        some = c.execute(page.where(p.time_us >= last.time_us, after)).all()
