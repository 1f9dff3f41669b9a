"""Events sent again: from a file, or from the dead letters after what was wrong with them has been mended."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from kafka import KafkaProducer
from kafka.errors import KafkaError

from errata.errors import Unavailable
from errata.events import key_of
from errata.partitioning import topic_of
from errata.settings import Broker, Settings
from errata.topics import ensure_topics, kafka_options
from errata.wire import STRUCTURED_TYPE, decode_record

if TYPE_CHECKING:
    from storage.database import Database

HEADERS = [("content-type", STRUCTURED_TYPE.encode())]


def replay_file(settings: Settings, file: Path) -> tuple[int, list[tuple[int, str]]]:
    """Send each line of `file`, a CloudEvent in JSON; return how many were sent, and the refused lines with reasons."""
    refused: list[tuple[int, str]] = []
    sent = 0
    ensure_topics(settings.broker)
    with closing(open_producer(settings.broker)) as producer, file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            decoded = decode_record(HEADERS, line.strip())
            refused.extend((number, f"{bad.reason}: {bad.detail}") for bad in decoded.refused)
            for _position, event in decoded.events:
                send(producer, topic_of(event.data), key_of(event), line.strip())
                sent += 1
        flush(producer)
    return sent, refused


def replay_dead_letters(
    settings: Settings, database: "Database", *, reason: str | None, limit: int, now_us: int
) -> int:
    """Send dead letters that were not replayed yet to the topic they came from, mark them, and return how many."""
    from storage.dead_letters import list_dead_letters, mark_replayed

    with database.read() as connection:
        letters = list_dead_letters(connection, reason=reason, limit=limit)
    waiting = [letter for letter in letters if letter.replayed_us is None]
    with closing(open_producer(settings.broker)) as producer:
        for letter in waiting:
            events = decode_record(HEADERS, letter.raw).events
            send(producer, letter.topic, key_of(events[0][1]) if events else None, letter.raw)
        flush(producer)
    # Marked only after the broker has them: a crash in between sends them twice, which the intake absorbs.
    mark_replayed(database, waiting, now_us)
    return len(waiting)


def open_producer(broker: Broker) -> KafkaProducer:
    """A producer that waits for all replicas; Unavailable when no broker answers."""
    try:
        return KafkaProducer(**kafka_options(broker), acks="all", bootstrap_timeout_ms=10_000)
    except KafkaError as error:
        raise Unavailable(f"no broker answers at {broker.bootstrap}: {error}") from error


def send(producer: KafkaProducer, topic: str, key: str | None, value: bytes) -> None:
    """Send one structured event."""
    producer.send(topic, key=None if key is None else key.encode(), value=value, headers=HEADERS)


def flush(producer: KafkaProducer) -> None:
    """Wait until the broker has everything; Unavailable when it does not take it."""
    try:
        producer.flush(timeout=60)
    except KafkaError as error:
        raise Unavailable(f"the broker did not take all events: {error}") from error
