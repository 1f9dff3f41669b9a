"""The input in the broker: batch records as our client sends them, and topics with one event to a message."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from kafka import KafkaAdminClient, KafkaProducer

from bench.intake.events import PARTITIONS, Wanted, encode, make_batches, make_events
from errata.partitioning import partition_of
from errata.settings import Broker
from errata.topics import FEEDBACK, PREDICTIONS, ensure_topics, kafka_options
from errata.wire import STRUCTURED_TYPE, batch_headers, join_batch

#: What stock Faust reads.
SINGLE: Final = {PREDICTIONS: "bench.single.predictions", FEEDBACK: "bench.single.feedback"}

T = TypeVar("T")

#: Topic, partition, headers, value.
Message = tuple[str, int, list[tuple[str, bytes]], bytes]

#: The producer's buffer holds 32 MiB: so many records are sent before their acknowledgements are waited for.
_AT_ONCE: Final = 60
_AT_ONCE_SINGLE: Final = 2000


def fill(bootstrap: str, wanted: Wanted, n_single: int) -> int:
    """Send the events as batch records, and the first `n_single` of them as messages; return how many were sent."""
    broker = Broker(bootstrap=bootstrap, partitions=PARTITIONS)
    ensure_topics(broker)
    admin = KafkaAdminClient(**kafka_options(broker))
    try:
        for topic in SINGLE.values():
            admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 1}})
    finally:
        admin.close()
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        compression_type="gzip",
        max_request_size=8_000_000,
        request_timeout_ms=30_000,
        delivery_timeout_ms=60_000,
    )
    try:
        _send(producer, islice(_single_messages(wanted), n_single), _AT_ONCE_SINGLE)
        n_sent = 0
        for records in _portions(make_batches(make_events(wanted)), _AT_ONCE):
            n_sent += sum(len(record.events) for record in records)
            messages = [
                (
                    record.topic,
                    record.partition,
                    batch_headers(),
                    join_batch(event.raw for event in record.events),
                )
                for record in records
            ]
            _send(producer, messages, _AT_ONCE)
    finally:
        producer.close(timeout=10)
    return n_sent


def _single_messages(wanted: Wanted) -> Iterator[Message]:
    headers = [("content-type", STRUCTURED_TYPE.encode())]
    for event in encode(make_events(wanted)):
        yield SINGLE[event.topic], partition_of(event.key, PARTITIONS), headers, event.raw


def _send(producer: KafkaProducer, messages: Iterable[Message], at_once: int) -> None:
    for some in _portions(messages, at_once):
        sent = [
            producer.send(topic, value=value, headers=headers, partition=partition)
            for topic, partition, headers, value in some
        ]
        for acknowledgement in sent:
            acknowledgement.get(timeout=60)


def _portions(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
