"""Events sent again: from a file, or from the dead letters after what was wrong with them has been mended."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from errata.errors import Unavailable
from errata.events import PredictionData, key_of
from errata.partitioning import topic_of
from errata.settings import Broker, Settings
from errata.topics import ensure_topics, kafka_options
from errata.wire import BATCH_TYPE, STRUCTURED_TYPE, Decoded, decode_record

if TYPE_CHECKING:
    from storage.database import Database
    from storage.records import DeadLetter

#: A record that was refused whole may have 5 MiB (errata/wire.py).
_REQUEST_BYTES = 8 * 1024 * 1024
_ACKNOWLEDGED_SECONDS = 60
#: Records that may wait for the broker's word at once.
_PENDING = 1000


@dataclass(frozen=True, slots=True)
class Replay:
    """How many dead letters were sent again, and how many stay because they would only fail again."""

    sent: int
    kept: int


def replay_file(settings: Settings, file: Path) -> tuple[int, list[tuple[int, str]]]:
    """Send each line of `file`, a CloudEvent in JSON; return how many were sent, and the refused lines with reasons."""
    refused: list[tuple[int, str]] = []
    sent = 0
    with file.open("rb") as lines:
        ensure_topics(settings.broker)
        with sending(settings.broker) as outlet:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                decoded = decode_record([("content-type", STRUCTURED_TYPE.encode())], line.strip())
                refused.extend((number, f"{bad.reason}: {bad.detail}") for bad in decoded.refused)
                for _position, event in decoded.events:
                    outlet.send(topic_of(event.data), key_of(event), line.strip(), STRUCTURED_TYPE)
                    sent += 1
    return sent, refused


def replay_dead_letters(
    settings: Settings, database: "Database", *, reason: str | None, limit: int, now_us: int
) -> Replay:
    """Send the oldest dead letters that can be used by now, at most `limit`, and mark them.

    What is still broken, of an unknown model, of the future or too old is not sent: it would only come back as
    another dead letter. Each goes to the topic it came from.
    """
    from storage.dead_letters import mark_replayed, read_waiting

    ready: list[tuple[DeadLetter, Decoded]] = []
    kept = 0
    with database.read() as connection:
        for letter in read_waiting(connection, reason=reason):
            if len(ready) == limit:
                break
            decoded = decode_record([("content-type", _content_type(letter.raw).encode())], letter.raw)
            if _can_be_used(decoded, settings, now_us):
                ready.append((letter, decoded))
            else:
                kept += 1
    if ready:
        ensure_topics(settings.broker)
        with sending(settings.broker) as outlet:
            for letter, decoded in ready:
                outlet.send(letter.topic, key_of(decoded.events[0][1]), letter.raw, _content_type(letter.raw))
        # Marked only after the broker has them: a crash in between sends them twice, which the intake absorbs.
        mark_replayed(database, [letter for letter, _ in ready], now_us)
    return Replay(len(ready), kept)


def _can_be_used(decoded: Decoded, settings: Settings, now_us: int) -> bool:
    from storage.retention import known_since

    return any(
        known_since(settings.retention, now_us) <= event.time_us <= now_us
        and not (isinstance(event.data, PredictionData) and event.data.model not in settings.models)
        for _position, event in decoded.events
    )


def _content_type(raw: bytes) -> str:
    """How a dead letter is to be read: a record that was refused whole is a batch."""
    return BATCH_TYPE if raw.lstrip().startswith(b"[") else STRUCTURED_TYPE


class Outlet:
    """Sends events, and knows which of them the broker has not acknowledged yet."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer
        self._pending: list[Any] = []

    def send(self, topic: str, key: str, value: bytes, content_type: str) -> None:
        """Hand one record to the producer."""
        headers = [("content-type", content_type.encode())]
        self._pending.append(self._producer.send(topic, key=key.encode(), value=value, headers=headers))
        if len(self._pending) >= _PENDING:
            self.wait()

    def wait(self) -> None:
        """Return after the broker has acknowledged everything."""
        for result in self._pending:
            result.get(timeout=_ACKNOWLEDGED_SECONDS)
        self._pending.clear()


@contextmanager
def sending(broker: Broker) -> Iterator[Outlet]:
    """An outlet for one block, at whose end the broker has acknowledged everything; else Unavailable."""
    try:
        with closing(
            KafkaProducer(
                **kafka_options(broker),
                acks="all",
                bootstrap_timeout_ms=10_000,
                max_block_ms=10_000,
                max_request_size=_REQUEST_BYTES,
            )
        ) as producer:
            outlet = Outlet(producer)
            yield outlet
            outlet.wait()
    except KafkaError as error:
        raise Unavailable(f"the broker at {broker.bootstrap} did not take all events: {error}") from error
