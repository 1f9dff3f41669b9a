"""Sends what the database decided: rows of the outbox become CloudEvents in Kafka, each at least once."""

import logging
from collections.abc import Callable

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from errata.errors import Unavailable
from errata.settings import Broker
from errata.topics import check_broker, kafka_options
from errata.wire import JSON_TYPE, STRUCTURED_TYPE, format_time
from storage import outbox
from storage.database import Database

log = logging.getLogger(__name__)

SEND_AT_ONCE = 500


class OutboxSender:
    """Owns the producer; it is made when there is something to send, because making it can block."""

    def __init__(self, settings: Broker) -> None:
        self._settings = settings
        self._producer: KafkaProducer | None = None

    def send_unsent(self, database: Database, now_us: Callable[[], int]) -> int:
        """Send the oldest unsent rows, mark them once the broker has acknowledged them, and return how many.

        Raises Unavailable when the broker does not answer; nothing is marked then, so that they go out later.
        """
        with database.read() as connection:
            rows = outbox.read_unsent(connection, limit=SEND_AT_ONCE)
        if not rows:
            return 0
        try:
            producer = self._open()
            pending = [
                producer.send(
                    row.topic,
                    key=row.key.encode(),
                    value=encode_cloud_event(row),
                    headers=[("content-type", STRUCTURED_TYPE.encode())],
                )
                for row in rows
            ]
            for result in pending:
                result.get(timeout=15)
        except KafkaError as error:
            self.close()
            raise Unavailable(
                f"the broker at {self._settings.bootstrap} did not take the outbox: {error}"
            ) from error
        outbox.mark_sent(database, [row.id for row in rows], now_us())
        return len(rows)

    def close(self) -> None:
        """Give the producer up."""
        if self._producer is not None:
            self._producer.close(timeout=2)
            self._producer = None

    def _open(self) -> KafkaProducer:
        if self._producer is None:
            # Asked first, because a producer that finds no broker leaves its sockets open, at every attempt.
            check_broker(self._settings, timeout_seconds=5.0)
            self._producer = KafkaProducer(
                **kafka_options(self._settings), acks="all", max_block_ms=5000, bootstrap_timeout_ms=5000
            )
        return self._producer


def encode_cloud_event(row: outbox.Unsent) -> bytes:
    """A structured CloudEvent whose id is the row's, so that a receiver can tell a repetition."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": row.id,
            "source": "errata",
            "type": row.type,
            "time": format_time(row.stored_us),
            "datacontenttype": JSON_TYPE,
            "data": msgspec.Raw(row.data.encode()),
        }
    )
