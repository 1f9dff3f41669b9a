"""Tombstones: ids of events that were counted and are not stored any more, so that none is counted again.

Every removal is counted as well, so that `errata verify` can still balance the ledger (storage/verify.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from sqlalchemy import ColumnElement, Connection, Table, exists, func, select

from storage.insertion import Columns, as_text, insert_by_id, insert_new, is_one_of
from storage.tables import feedback, predictions, removals, tombstones, voc

#: What can be removed and leaves a tombstone.
Kind = Literal["prediction", "feedback", "voc"]

TABLES: Final[Mapping[Kind, Table]] = {"prediction": predictions, "feedback": feedback, "voc": voc}

#: Who removes, where it is no partition: the timer and `errata erase`.
REMOVER: Final = -1


def find_tombstones(c: Connection, ids: Iterable[str]) -> dict[tuple[Kind, str], bool]:
    """The tombstones of `ids`, each with whether a person was erased.

    To be asked after the tables: what is removed in between is then found here. `ids` are not listed where there
    is no tombstone at all.
    """
    t = tombstones.c
    if not c.scalar(select(exists(select(t.id)))):
        return {}
    found = select(t.kind, as_text(c, t.id), t.is_erased).where(is_one_of(c, t.id, list(ids)))
    return {(row.kind, row.id): bool(row.is_erased) for row in c.execute(found)}


def remove_events(
    c: Connection, kind: Kind, condition: ColumnElement[bool], *, is_erased: bool, remover: int = REMOVER
) -> int:
    """Delete the events of a kind for which `condition` holds, leave tombstones, and return how many."""
    table = TABLES[kind]
    removed = c.execute(
        table.delete().where(condition).returning(as_text(c, table.c.id), table.c.time_us)
    ).all()
    bury(c, kind, [(row.id, row.time_us) for row in removed], is_erased=is_erased, remover=remover)
    return len(removed)


def bury(
    c: Connection,
    kind: Kind,
    events: Sequence[tuple[str, int]],
    *,
    is_erased: bool,
    remover: int = REMOVER,
) -> None:
    """Leave tombstones for events, given by id and time, that are counted and not stored."""
    if not events:
        return
    columns: Columns = {
        "id": [id_ for id_, _ in events],
        "kind": [kind] * len(events),
        "time_us": [time_us for _, time_us in events],
        "is_erased": [int(is_erased)] * len(events),
    }
    insert_by_id(c, tombstones, columns)
    count_removals(c, kind, {("", remover): len(events)})


def count_removals(
    c: Connection, kind: Kind | Literal["dead_letter"], counts: Mapping[tuple[str, int], int]
) -> None:
    """Note how many were removed of each topic and partition (or by which remover, for events)."""
    r = removals.c
    for topic, partition in sorted(counts):
        key = {"kind": kind, "topic": topic, "partition": partition}
        insert_new(c, removals, [{**key, "n": 0, "n_forgotten": 0}])
        same = (r.kind == kind) & (r.topic == topic) & (r.partition == partition)
        c.execute(removals.update().where(same).values(n=r.n + counts[topic, partition]))


def forget_tombstones(c: Connection, before_us: int, limit: int) -> int:
    """Delete up to `limit` tombstones of events older than `before_us`, and return how many.

    Those of erased persons stay, because what comes in late about an erased prediction is told by them.
    """
    t, r = tombstones.c, removals.c
    old = select(t.id, t.kind).where(t.time_us < before_us, t.is_erased == 0).order_by(t.time_us).limit(limit)
    chosen = old.subquery()
    same = (t.id == chosen.c.id) & (t.kind == chosen.c.kind)
    gone = c.execute(
        tombstones.delete().where(exists(select(1).select_from(chosen).where(same))).returning(t.kind)
    ).scalars()
    counts = Counter(gone)
    for kind, n in sorted(counts.items()):
        insert_new(c, removals, [{"kind": kind, "topic": "", "partition": REMOVER, "n": 0, "n_forgotten": 0}])
        same_kind = (r.kind == kind) & (r.topic == "") & (r.partition == REMOVER)
        c.execute(removals.update().where(same_kind).values(n_forgotten=r.n_forgotten + n))
    return counts.total()


def sum_removals(c: Connection) -> dict[str, tuple[int, int]]:
    """How many events of each kind were removed, and how many of these have no tombstone any more."""
    r = removals.c
    sums = select(r.kind, func.sum(r.n).label("n"), func.sum(r.n_forgotten).label("n_forgotten"))
    return {
        row.kind: (int(row.n), int(row.n_forgotten))
        for row in c.execute(sums.where(r.topic == "").group_by(r.kind))
    }
