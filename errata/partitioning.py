"""Which topic and partition an event travels by: Kafka's own rule, so that a pair meets in one partition."""

import itertools
import operator
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from errata.events import Data, FeedbackData, PredictionData, VocData
from errata.topics import FEEDBACK, PREDICTIONS, VOC
from errata.wire import join_batch

#: The topic of each kind of event.
TOPIC_OF: Final[dict[type[Data], str]] = {PredictionData: PREDICTIONS, FeedbackData: FEEDBACK, VocData: VOC}
_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFF_FFFF
_POSITIVE = 0x7FFF_FFFF
#: So many hashes at once fit the cache of a processor.
_HASHED_KEYS: Final = 2000


def partition_of(key: str, partitions: int) -> int:
    """The partition, of `partitions`, that Kafka's default partitioner gives to `key`."""
    return (murmur2(key.encode()) & _POSITIVE) % partitions


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


def partitions_of(keys: Sequence[str], partitions: int) -> list[int]:
    """`partition_of` each key; for keys of one length, as ids have, in a fifteenth of the time."""
    length = len(keys[0]) if keys else 0
    if length == 0 or length % 4 or set(map(len, keys)) != {length} or not "".join(keys).isascii():
        return [partition_of(key, partitions) for key in keys]
    found: list[int] = []
    for start in range(0, len(keys), _HASHED_KEYS):
        joined = "".join(keys[start : start + _HASHED_KEYS]).encode()
        found += [each % partitions for each in _positive_murmur2_of_each(joined, length)]
    return found


def _positive_murmur2_of_each(joined: bytes, length: int) -> Sequence[int]:
    """The lower 31 bits of `murmur2` of each `length` bytes of `joined`, a multiple of 4, all of them at once.

    One large integer holds a number of 64 bits for each key, so that one operation of Python works on all
    of them, and none of the products of 32 bits runs into its neighbour.
    """
    n_bytes = len(joined) // length * 8
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * (n_bytes // 8), "little")
    low = ones * _MASK
    result = ones * (_SEED ^ length)
    for start in range(0, length, 4):
        spread = bytearray(n_bytes)
        for place in range(4):
            spread[place::8] = joined[start + place :: length]
        word = int.from_bytes(spread, "little") * _MULTIPLIER & low
        word = (word ^ word >> 24 & low) * _MULTIPLIER & low
        result = (result * _MULTIPLIER & low) ^ word
    result = (result ^ result >> 13 & low) * _MULTIPLIER & low
    result = (result ^ result >> 15 & low) & ones * _POSITIVE
    return struct.unpack(f"<{n_bytes // 8}Q", result.to_bytes(n_bytes, "little"))


class Encoded(Struct, frozen=True, gc=False):
    """An event in the JSON format of CloudEvents, with the topic and the key that it travels by.

    The key is empty as long as nobody has looked whether readers would accept the event.
    """

    topic: str
    key: str
    raw: bytes


class Record(NamedTuple):
    """The events that share one batch record, all of one partition, and its value."""

    topic: str
    partition: int
    events: list[Encoded]
    value: bytes


def topic_of(data: Data) -> str:
    """The topic of an event, by its data."""
    return TOPIC_OF[type(data)]


def gather(
    events: Sequence[Encoded], partitions: Mapping[str, int], *, record_events: int, record_bytes: int
) -> list[Record]:
    """Put events into few records within the limits; those of one partition keep their order.

    `partitions` is the number of partitions of each topic.
    """
    records: list[Record] = []
    for topic, ours in by_topic(events).items():
        by_partition: list[list[Encoded]] = [[] for _ in range(partitions[topic])]
        add = [together.append for together in by_partition]
        keys = [event.key for event in ours]
        for event, partition in zip(ours, partitions_of(keys, partitions[topic]), strict=True):
            add[partition](event)
        for partition, together in enumerate(by_partition):
            for start in range(0, len(together), record_events):
                records += _join(topic, partition, together[start : start + record_events], record_bytes)
    return records


def join(topic: str, partition: int, events: list[Encoded]) -> Record:
    """A record of these events."""
    return Record(topic, partition, events, join_batch([event.raw for event in events]))


def by_topic(events: Sequence[Encoded]) -> dict[str, list[Encoded]]:
    """Events by their topic, each topic in their order; quickest if all are of one, or each in one piece."""
    topics = [event.topic for event in events]
    if topics and topics.count(topics[0]) == len(topics):
        return {topics[0]: list(events)}
    found: dict[str, list[Encoded]] = {}
    for topic, ours in itertools.groupby(events, operator.attrgetter("topic")):
        found.setdefault(topic, []).extend(ours)
    return found


def _join(topic: str, partition: int, events: list[Encoded], limit_bytes: int) -> Iterator[Record]:
    """Records of at most `limit_bytes`, or of one event."""
    # Asking each event for its length would take longer than joining them: it is not in the processor's cache yet.
    # That they all are like the first is a guess, which saves joining what is to be cut anyway.
    n_each = max(1, min(len(events), limit_bytes // len(events[0].raw)))
    for start in range(0, len(events), n_each):
        record = join(topic, partition, events[start : start + n_each])
        middle = len(record.events) // 2
        if len(record.value) <= limit_bytes or not middle:
            yield record
        else:
            yield from _join(topic, partition, record.events[:middle], limit_bytes)
            yield from _join(topic, partition, record.events[middle:], limit_bytes)
