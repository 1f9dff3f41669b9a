"""The outbox: what was decided in a transaction and is to be told in Kafka, sent after it was committed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from storage.database import Database
from storage.insertion import insert_new, is_one_of
from storage.json_text import to_text
from storage.tables import outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """A message that the broker has not acknowledged. `data` is JSON, `type` a CloudEvents type."""

    id: str
    topic: str
    key: str
    type: str
    data: str
    stored_us: int


def put(c: Connection, topic: str, key: str, type: str, data: Any, now_us: int, id: str) -> None:  # noqa: A002
    """Leave a message to be sent. A second message with the same `id` is the same message, and is ignored."""
    row = {"id": id, "topic": topic, "key": key, "type": type, "data": to_text(data)}
    insert_new(c, outbox, [{**row, "stored_us": now_us, "sent_us": None}])


def read_unsent(c: Connection, limit: int) -> list[Unsent]:
    """The oldest messages that wait, at most `limit`."""
    columns = [outbox.c[name] for name in Unsent.__slots__]
    waiting = select(*columns).where(outbox.c.sent_us.is_(None)).order_by(outbox.c.stored_us, outbox.c.id)
    return [Unsent(**row) for row in c.execute(waiting.limit(limit)).mappings()]


def mark_sent(db: Database, ids: Sequence[str], now_us: int) -> None:
    """Note that the broker has acknowledged the messages `ids`."""
    with db.write() as c:
        c.execute(outbox.update().where(is_one_of(c, outbox.c.id, sorted(ids))).values(sent_us=now_us))
