"""The proof: everything is counted again from the facts and compared with what was counted as it arrived.

All is read in one snapshot, so that it may run while workers write.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, func, select

from errata.settings import Model
from errata.topics import EVENT_TOPICS
from errata.wire import format_time
from quality import histogram
from quality.outcomes import FeedbackFact
from quality.windows import ZERO, Contribution, add_all, of_outcome, of_prediction
from storage.database import Database, lift_timeouts
from storage.pairing import judge, read_feedback, read_outcomes
from storage.records import Window
from storage.retention import read_since
from storage.tables import (
    dead_letters,
    erased_windows,
    feedback,
    intake_ledger,
    intake_positions,
    outcomes,
    predictions,
    removals,
    tombstones,
    windows,
)
from storage.tombstones import TABLES, sum_removals
from storage.windows import Place, WindowKey, contribution_of, list_windows, place_of, sum_shards

_PREDICTIONS_AT_ONCE: Final = 5000
#: What of a prediction is needed to count it again.
PREDICTION_COLUMNS: Final = tuple(
    predictions.c[name]
    for name in ("id", "model", "version", "time_us", "output", "slices", "latency_us", "stored_us")
)
#: Differences that are told one by one.
_TOLD: Final = 1000


@dataclass(slots=True)
class Verification:
    """What was compared (`checked`: what, and how many of it) and each difference as a sentence."""

    differences: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)


def verify(db: Database, models: Mapping[str, Model]) -> Verification:
    """Recount outcomes from the feedback, windows from the predictions and outcomes, and balance the ledger.

    The outcomes of models that are no longer in `models` are taken as they are stored, because their task is
    not known. A pair that missed each other counts as a difference until the sweep has found it
    (storage/intake.py). Windows of predictions that were removed for their age are not recounted, because nothing
    is left to count; `checked` says how many they are. Raises Unavailable.
    """
    found = Verification()
    with db.read() as c:
        lift_timeouts(c)
        since_us = read_since(c, "prediction")
        counted = recount(c, models, _all_predictions(c), found, since_us=since_us)
        n_outcomes, n_stored = found.checked["outcomes"], _count(c, outcomes)
        if n_stored != n_outcomes:
            found.differences.append(f"{n_stored - n_outcomes} outcomes belong to no stored prediction")
        found.checked["feedback"] = _count(c, feedback)
        add_erased(c, counted, erased_windows.c.minute_us >= since_us)
        compare_windows(c, windows.c.minute_us >= since_us, counted, found)
        _count_older(c, since_us, found)
        _balance_ledger(c, found)
    n = len(found.differences)
    if n > _TOLD:
        found.differences[_TOLD:] = [f"and {n - _TOLD} more differences"]
    return found


def recount(
    c: Connection,
    models: Mapping[str, Model],
    pages: Iterable[Sequence[Any]],
    found: Verification,
    *,
    since_us: int,
    settled_us: int | None = None,
) -> dict[WindowKey, Contribution]:
    """Compare the outcomes of predictions (rows of PREDICTION_COLUMNS).

    Returns what the facts say that the windows from `since_us` on are. The sweep (storage/intake.py) still comes to
    predictions that were stored after `settled_us`: their outcomes are taken as they are.
    """
    totals: dict[WindowKey, Contribution] = {}
    n_predictions = n_outcomes = 0
    for some in pages:
        ids = [prediction.id for prediction in some]
        facts, stored = read_feedback(c, ids), read_outcomes(c, ids)
        counted: dict[Place, list[Contribution]] = defaultdict(list)
        for prediction in some:
            old = stored.get(prediction.id)
            now = judge(models, prediction, facts[prediction.id]) if prediction.id in facts else None
            if prediction.model not in models and now is not None and old is not None and now.id == old.id:
                now = old
            if now != old and settled_us is not None and prediction.stored_us > settled_us:
                now = old
            if now != old:
                found.differences.append(_tell_outcome(prediction.id, old, now))
            place = place_of(prediction)
            if place.minute_us < since_us:
                continue
            counted[place] += of_prediction(prediction.latency_us), of_outcome(now)
        for key, parts in _spread(counted).items():
            totals[key] = add_all((totals.get(key, ZERO), *parts))
        n_predictions += len(some)
        n_outcomes += len(stored)
    found.checked |= {"predictions": n_predictions, "outcomes": n_outcomes}
    return totals


def _spread(counted: Mapping[Place, Sequence[Contribution]]) -> dict[WindowKey, list[Contribution]]:
    """What each window is made of, one by one and not as the intake does it (storage/windows.py)."""
    spread: dict[WindowKey, list[Contribution]] = defaultdict(list)
    for place, parts in counted.items():
        total = add_all(parts)
        for key in list_windows(place):
            spread[key].append(total)
    return spread


def add_erased(c: Connection, counted: dict[WindowKey, Contribution], wanted: ColumnElement[bool]) -> None:
    """Add what erased predictions were counted as, in those rows of `erased_windows` that are `wanted`."""
    for key, window in _read_windows(c, erased_windows, wanted):
        counted[key] = add_all((counted.get(key, ZERO), contribution_of(window)))


def _all_predictions(c: Connection) -> Iterator[Sequence[Any]]:
    """All predictions in the order of their ids, some at a time."""
    p = predictions.c
    page = select(*PREDICTION_COLUMNS).order_by(p.id).limit(_PREDICTIONS_AT_ONCE)
    some: Sequence[Any] = c.execute(page).all()
    while some:
        yield some
        some = c.execute(page.where(p.id > some[-1].id)).all()


def _tell_outcome(prediction_id: str, old: FeedbackFact | None, now: FeedbackFact | None) -> str:
    if old is None:
        return f"prediction {prediction_id} has feedback but no outcome: the sweep has not paired them"
    if now is None:
        return f"prediction {prediction_id} has the outcome {old.action} but no feedback of a user"
    different = ", ".join(
        f"{each.name} {getattr(old, each.name)} instead of {getattr(now, each.name)}"
        for each in fields(FeedbackFact)
        if getattr(old, each.name) != getattr(now, each.name)
    )
    return f"the outcome of prediction {prediction_id} is stored with {different}"


def compare_windows(
    c: Connection, wanted: ColumnElement[bool], counted: Mapping[WindowKey, Contribution], found: Verification
) -> None:
    """Compare those rows of `windows` that are `wanted` with what was counted."""
    stored = {key: contribution_of(window) for key, window in _read_windows(c, windows, wanted)}
    for key in sorted(stored.keys() | counted.keys()):
        found.differences += _tell_window(key, stored.get(key, ZERO), counted.get(key, ZERO))
    found.checked["windows"] = len(stored)


def _count_older(c: Connection, since_us: int, found: Verification) -> None:
    if since_us:
        w = windows.c
        older = select(w.model, w.version, w.slice, w.minute_us).where(w.minute_us < since_us).distinct()
        n = c.scalar(select(func.count()).select_from(older.subquery())) or 0
        found.checked["windows not recounted, as their predictions are not kept"] = n


def _read_windows(
    c: Connection, table: Table, wanted: ColumnElement[bool]
) -> Iterator[tuple[WindowKey, Window]]:
    """The windows in a table that are `wanted`, each the sum of its shards."""
    keys = [table.c[name] for name in ("model", "version", "slice", "minute_us")]
    ordered = select(table).where(wanted).order_by(*keys)
    rows = c.execute(ordered, execution_options={"yield_per": _PREDICTIONS_AT_ONCE}).mappings()
    for key, shards in groupby(rows, key=lambda row: tuple(row[each.name] for each in keys)):
        yield key, sum_shards(list(shards))


def _tell_window(key: WindowKey, stored: Contribution, counted: Contribution) -> list[str]:
    model, version, name, minute_us = key
    where = f"window {format_time(minute_us)} of {model} {version}, slice {name}"
    differences = []
    for each in fields(Contribution):
        kept, right = getattr(stored, each.name), getattr(counted, each.name)
        if kept == right:
            continue
        if isinstance(kept, dict):
            kept, right = (
                f"{histogram.count(histogram.encode(part))} values {part}" for part in (kept, right)
            )
        differences.append(f"{where}: {each.name} is {kept}, but the facts say {right}")
    return differences


def _balance_ledger(c: Connection, found: Verification) -> None:
    """Compare the ledger with itself, with the positions, and with the rows that came of it."""
    ledger = intake_ledger.c
    n_rows = n_new = 0
    n_dead: dict[tuple[str, int], int] = defaultdict(int)
    ends: dict[tuple[str, int], int] = {}
    for row in c.execute(select(intake_ledger).order_by(ledger.topic, ledger.partition, ledger.first_offset)):
        partition = row.topic, row.partition
        found.differences += tell_ledger_row(row, ends.get(partition, row.first_offset))
        ends[partition] = row.next_offset
        n_dead[partition] += row.n_dead
        n_new += row.n_new
        n_rows += 1
    positions = {(row.topic, row.partition): row.next_offset for row in c.execute(select(intake_positions))}
    for topic, partition_number in sorted(ends.keys() | positions.keys()):
        end, position = (known.get((topic, partition_number)) for known in (ends, positions))
        if end != position:
            found.differences.append(
                f"position of {topic} {partition_number} is {position}, but the ledger ends at {end}"
            )
    _compare_dead_letters(c, n_dead, found)
    removed = sum_removals(c)
    n_removed = sum(n for n, _ in removed.values())
    n_stored = sum(_count(c, table) for table in TABLES.values())
    if n_stored + n_removed != n_new:
        stored = f"{n_stored} events are stored" + (f" and {n_removed} removed" if n_removed else "")
        found.differences.append(f"{stored}, but the ledger says {n_new} were new")
    _compare_tombstones(c, removed, found)
    found.checked["runs of records"] = n_rows


def tell_ledger_row(row: Any, end: int) -> list[str]:
    """What is wrong with a row of the ledger, given where the one before it ended."""
    where = f"ledger of {row.topic} {row.partition}, offsets {row.first_offset} to {row.next_offset}"
    differences = []
    if row.n != row.n_new + row.n_duplicate + row.n_dead:
        sums = f"{row.n_new} new + {row.n_duplicate} duplicate + {row.n_dead} dead"
        differences.append(f"{where}: {row.n} events are not {sums}")
    if row.first_offset < end:
        differences.append(f"{where}: offsets up to {end} were applied before")
    if row.first_offset > end:
        differences.append(f"{where}: nothing is known of the offsets from {end} on before it")
    return differences


def _compare_tombstones(c: Connection, removed: Mapping[str, tuple[int, int]], found: Verification) -> None:
    counts = select(tombstones.c.kind, func.count().label("n")).group_by(tombstones.c.kind)
    stored = {row.kind: row.n for row in c.execute(counts)}
    for kind in sorted(stored.keys() | removed.keys()):
        n, n_forgotten = removed.get(kind, (0, 0))
        if stored.get(kind, 0) != n - n_forgotten:
            found.differences.append(
                f"{kind} has {stored.get(kind, 0)} tombstones, but {n} were removed and {n_forgotten} forgotten"
            )
    if stored:
        found.checked["tombstones"] = sum(stored.values())


def _compare_dead_letters(c: Connection, n_dead: Mapping[tuple[str, int], int], found: Verification) -> None:
    d = dead_letters.c
    # The trainers' dead letters are none of the ledger's.
    counts = select(d.topic, d.partition, func.count().label("n")).where(d.topic.in_(EVENT_TOPICS))
    rows = c.execute(counts.group_by(d.topic, d.partition))
    stored = {(row.topic, row.partition): row.n for row in rows}
    r = removals.c
    old = c.execute(
        select(r.topic, r.partition, r.n).where(r.kind == "dead_letter", r.topic.in_(EVENT_TOPICS))
    )
    n_removed = {(row.topic, row.partition): row.n for row in old}
    for partition in sorted(stored.keys() | n_dead.keys() | n_removed.keys()):
        kept = stored.get(partition, 0)
        right = n_dead.get(partition, 0) - n_removed.get(partition, 0)
        if kept != right:
            topic, number = partition
            found.differences.append(f"{topic} {number} has {kept} dead letters, but the ledger says {right}")
    found.checked["dead letters"] = sum(stored.values())


def _count(c: Connection, table: Any) -> int:
    return c.scalar(select(func.count()).select_from(table)) or 0
