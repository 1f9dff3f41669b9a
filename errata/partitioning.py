"""Which topic and partition an event travels by: Kafka's own rule, so that a pair meets in one partition."""

import itertools
import operator
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

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


def partitions_of(keys: Sequence[str], partitions: int) -> list[int]:
    """`partition_of` each key; for keys of one length, as ids have, in a fifteenth of the time."""
    encoded = [key.encode() for key in keys]
    length = len(encoded[0]) if encoded else 0
    if length == 0 or length % 4 or set(map(len, encoded)) != {length}:
        return [partition_of(key, partitions) for key in keys]
    hashes = _murmur2_of_each(b"".join(encoded), length)
    return [(each & 0x7FFF_FFFF) % partitions for each in hashes]


def _murmur2_of_each(joined: bytes, length: int) -> Sequence[int]:
    """`murmur2` of each `length` bytes of `joined`, a multiple of 4, all of them at once.

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
    result ^= result >> 15 & low
    return struct.unpack(f"<{n_bytes // 8}Q", result.to_bytes(n_bytes, "little"))


class Encoded(Struct, frozen=True, gc=False):
    """An event in the JSON format of CloudEvents, with the topic and the key that it travels by.

    The key is empty as long as nobody has looked whether readers would accept the event.
    """

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
    for topic, ours in by_topic(events).items():
        by_partition: defaultdict[int, list[Encoded]] = defaultdict(list)
        keys = [event.key for event in ours]
        for event, partition in zip(ours, partitions_of(keys, partitions[topic]), strict=True):
            by_partition[partition].append(event)
        for partition, together in by_partition.items():
            records += [
                Record(topic, partition, some) for some in _cut(together, record_events, record_bytes)
            ]
    return records


def by_topic(events: Iterable[Encoded]) -> dict[str, list[Encoded]]:
    """Events by their topic, each topic in their order; quickest if each comes in one piece."""
    found: dict[str, list[Encoded]] = {}
    for topic, ours in itertools.groupby(events, operator.attrgetter("topic")):
        found.setdefault(topic, []).extend(ours)
    return found


def _cut(events: list[Encoded], limit: int, limit_bytes: int) -> Iterator[list[Encoded]]:
    """Pieces of at most `limit` events and `limit_bytes`, a comma after each, or of one event."""
    for start in range(0, len(events), limit):
        piece = events[start : start + limit]
        if sum([len(event.raw) for event in piece]) + len(piece) <= limit_bytes or len(piece) == 1:
            yield piece
        else:
            yield from _cut(piece, (len(piece) + 1) // 2, limit_bytes)
