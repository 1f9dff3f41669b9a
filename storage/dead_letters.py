"""Dead letters: what could not be used, and why. Nothing is lost: it can be sent again from here."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, func, select

from storage.database import Database
from storage.errors import NotFound
from storage.insertion import insert_new, list_keys
from storage.records import DeadLetter
from storage.tables import dead_letters

_d = dead_letters.c
_KEYS = (_d.topic, _d.partition, _d.offset, _d.position)


def put_dead_letter(c: Connection, letter: DeadLetter) -> None:
    """Store a dead letter; the first one of a place stays."""
    insert_new(c, dead_letters, [asdict(letter)])


def list_dead_letters(c: Connection, *, reason: str | None = None, limit: int = 100) -> list[DeadLetter]:
    """The latest dead letters, of one reason or of all."""
    wanted = select(dead_letters).order_by(_d.stored_us.desc(), *_KEYS).limit(limit)
    if reason is not None:
        wanted = wanted.where(_d.reason == reason)
    return [DeadLetter(**row) for row in c.execute(wanted).mappings()]


def read_waiting(c: Connection, *, reason: str | None = None) -> Iterator[DeadLetter]:
    """The dead letters that were not sent again yet, the oldest first, read as they are asked for."""
    wanted = select(dead_letters).where(_d.replayed_us.is_(None)).order_by(_d.stored_us, *_KEYS)
    if reason is not None:
        wanted = wanted.where(_d.reason == reason)
    for row in c.execute(wanted, execution_options={"yield_per": 200}).mappings():
        yield DeadLetter(**row)


def get_dead_letter(c: Connection, topic: str, partition: int, offset: int, position: int = 0) -> DeadLetter:
    """The dead letter of a place. Raises NotFound."""
    same = [
        column == value for column, value in zip(_KEYS, (topic, partition, offset, position), strict=True)
    ]
    row = c.execute(select(dead_letters).where(*same)).mappings().one_or_none()
    if row is None:
        raise NotFound("dead letter", f"{topic} {partition} {offset} {position}")
    return DeadLetter(**row)


def count_by_reason(c: Connection) -> dict[str, int]:
    """How many dead letters each reason has, replayed ones included; the most frequent reason first."""
    n = func.count().label("n")
    return {
        row.reason: row.n for row in c.execute(select(_d.reason, n).group_by(_d.reason).order_by(n.desc()))
    }


def mark_replayed(db: Database, letters: Sequence[DeadLetter], now_us: int) -> None:
    """Note that `letters` were sent again."""
    if not letters:
        return
    with db.write() as c:
        listed = list_keys(
            c, list(_KEYS), [(each.topic, each.partition, each.offset, each.position) for each in letters]
        )
        chosen = select(1).where(*(column == listed.c[column.name] for column in _KEYS))
        c.execute(dead_letters.update().where(chosen.exists()).values(replayed_us=now_us))
