"""Which topic and partition an event travels by: Kafka's own rule, so that a pair meets in one partition."""

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from errata.events import Data, FeedbackData, PredictionData, VocData
from errata.topics import FEEDBACK, PREDICTIONS, VOC

#: The topic of each kind of event.
TOPIC_OF: Final[dict[type[Data], str]] = {PredictionData: PREDICTIONS, FeedbackData: FEEDBACK, VocData: VOC}
_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFF_FFFF


def partition_of(key: str, partitions: int) -> int:
    """The partition, of `partitions`, that Kafka's default partitioner gives to `key`."""
    return (murmur2(key.encode()) & 0x7FFF_FFFF) % partitions


def murmur2(data: bytes) -> int:
    """MurmurHash2 of `data` with Kafka's seed, as an unsigned 32-bit number.

    It equals kafka.partitioner.murmur2 and takes half its time, which is what a batch of events waits for.
    """
    length = len(data)
    whole = length & ~3
    result = _SEED ^ length
    for word in struct.unpack_from(f"<{whole >> 2}I", data):
        word = word * _MULTIPLIER & _MASK  # noqa: PLW2901 - the algorithm mixes each word in place
        result = (result * _MULTIPLIER & _MASK) ^ ((word ^ word >> 24) * _MULTIPLIER & _MASK)
    if length > whole:
        tail = int.from_bytes(data[whole:], "little")
        result = (result ^ tail) * _MULTIPLIER & _MASK
    result = (result ^ result >> 13) * _MULTIPLIER & _MASK
    return result ^ result >> 15


class Encoded(NamedTuple):
    """An event in the JSON format of CloudEvents, with the topic and the key that it travels by."""

    topic: str
    key: str
    raw: bytes


class Record(NamedTuple):
    """The events that share one batch record, all of one partition."""

    topic: str
    partition: int
    events: list[Encoded]


def topic_of(data: Data) -> str:
    """The topic of an event, by its data."""
    return TOPIC_OF[type(data)]


def gather(
    events: Iterable[Encoded], partitions: Mapping[str, int], *, record_events: int, record_bytes: int
) -> list[Record]:
    """Put events into as few records as the limits allow; those of one partition keep their order.

    `partitions` is the number of partitions of each topic.
    """
    records: list[Record] = []
    filling: dict[tuple[str, int], tuple[Record, int]] = {}
    for event in events:
        place = (event.topic, partition_of(event.key, partitions[event.topic]))
        record, n_bytes = filling.get(place, (None, 0))
        n_bytes += len(event.raw) + 1
        if record is None or len(record.events) >= record_events or n_bytes > record_bytes:
            record, n_bytes = Record(*place, []), len(event.raw) + 1
            records.append(record)
        record.events.append(event)
        filling[place] = (record, n_bytes)
    return records
