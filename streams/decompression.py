"""What compressed records of Kafka may grow to, of which aiokafka keeps no limit: a bomb becomes one dead letter."""

import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import aiokafka
import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import UnsupportedCodecError
from aiokafka.record import default_records, legacy_records
from aiokafka.record.memory_records import MemoryRecords

from errata.errors import Stop
from errata.wire import RECORD_BYTES

try:
    from aiokafka.record import _crecords

    _READERS: tuple[Any, ...] = (
        default_records,
        legacy_records,
        _crecords.default_records,
        _crecords.legacy_records,
    )
except ImportError:
    # aiokafka was installed without its compiled part.
    _READERS = (default_records, legacy_records)

logger = logging.getLogger(__name__)

#: How the blocks of Java's snappy (xerial) begin.
_SNAPPY_JAVA: Final = b"\x82SNAPPY\0"

#: What cramjam says where the content is larger than the room for it.
_NO_ROOM: Final = "failed to write whole buffer"

_Decode = Callable[[bytes, int], bytes]


class _Unreadable(Exception):
    """A batch that cannot be decompressed; `value` is what a person may look at instead."""

    def __init__(self, detail: str, value: bytes) -> None:
        super().__init__(detail)
        self.value = value


@dataclass(frozen=True, slots=True)
class _StandIn:
    """A record in place of all those of a batch. It has the last offset, so that reading goes on after the batch."""

    offset: int
    value: bytes
    timestamp: int = 0
    timestamp_type: int = 0
    key: None = None
    checksum: None = None
    headers: tuple[()] = ()


class _Batch:
    """A compressed batch of records, as aiokafka reads it, or its stand-in."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            # The records are decompressed here, all at once.
            return iter(self._batch)
        except (_Unreadable, UnsupportedCodecError) as error:
            offset = self._batch.next_offset - 1
            logger.error("the records up to offset %d become one dead letter: %s", offset, error)  # noqa: TRY400
            return iter([_StandIn(offset, getattr(error, "value", b""))])


class _Batches:
    """The batches that one answer of the broker holds for a partition, in the form that aiokafka's fetcher expects."""

    def __init__(self, data: bytes) -> None:
        self._batches = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        return int(self._batches.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        batch = self._batches.next_batch()
        return batch if batch is None or batch.compression_type == 0 else _Batch(batch)


def limit_decompression(limit_bytes: int) -> None:
    """Let no batch that this process reads by aiokafka grow beyond `limit_bytes`. Raises Stop if that can't be."""
    decoders: dict[str, _Decode] = {
        "gzip_decode": _gunzip,
        "lz4_decode": partial(_decompress, cramjam.lz4),
        "zstd_decode": partial(_decompress, cramjam.zstd),
        "snappy_decode": _unsnap,
    }
    # The format of before Kafka 0.11 has no zstd.
    places = [(fetcher, "MemoryRecords")] + [
        (reader, name)
        for reader in _READERS
        for name in decoders
        if name != "zstd_decode" or not reader.__name__.endswith("legacy_records")
    ]
    for module, name in places:
        if not hasattr(module, name):
            raise Stop(
                f"aiokafka {aiokafka.__version__} has no {module.__name__}.{name} that could be limited"
            )
    for module, name in places[1:]:
        setattr(module, name, partial(_limited, decoders[name], limit_bytes))
    fetcher.MemoryRecords = _Batches


def _limited(decode: _Decode, limit_bytes: int, payload: Any) -> bytes:
    return decode(bytes(payload), limit_bytes)


def _gunzip(payload: bytes, limit_bytes: int) -> bytes:
    """The content of one or more gzip members. Raises _Unreadable."""
    content, rest = bytearray(), payload
    while rest:
        member = zlib.decompressobj(wbits=31)
        try:
            content += member.decompress(rest, limit_bytes + 1 - len(content))
        except zlib.error as error:
            raise _Unreadable(f"they are not gzip: {error}", rest) from None
        if len(content) > limit_bytes:
            raise _too_large(limit_bytes, bytes(content))
        if not member.eof:
            raise _Unreadable("their gzip ends too soon", rest)
        rest = member.unused_data
    return bytes(content)


def _decompress(codec: Any, payload: bytes, limit_bytes: int) -> bytes:
    """The content of lz4 or zstd. Raises _Unreadable.

    Neither says reliably how large it is, so it goes into room that is doubled until it is enough.
    """
    size = min(limit_bytes + 1, max(65_536, 8 * len(payload)))
    while True:
        room = bytearray(size)
        try:
            n = codec.decompress_into(payload, room)
        except cramjam.DecompressionError as error:
            if _NO_ROOM not in str(error):
                raise _Unreadable(f"they are not {codec.__name__}: {error}", payload) from None
            if size > limit_bytes:
                raise _too_large(limit_bytes, bytes(room)) from None
            size = min(limit_bytes + 1, 2 * size)
            continue
        if n > limit_bytes:
            raise _too_large(limit_bytes, bytes(room))
        return bytes(memoryview(room)[:n])


def _unsnap(payload: bytes, limit_bytes: int) -> bytes:
    """The content of snappy, raw or in the blocks that Java writes. Raises _Unreadable."""
    try:
        if sum(map(cramjam.snappy.decompress_raw_len, _blocks(payload))) > limit_bytes:
            raise _too_large(limit_bytes, payload)
        return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in _blocks(payload))
    except (cramjam.DecompressionError, struct.error) as error:
        raise _Unreadable(f"they are not snappy: {error}", payload) from None


def _blocks(payload: bytes) -> Iterator[bytes]:
    if not payload.startswith(_SNAPPY_JAVA):
        yield payload
        return
    # The magic word is followed by two versions of four bytes.
    place = len(_SNAPPY_JAVA) + 8
    while place < len(payload):
        (size,) = struct.unpack_from(">i", payload, place)
        if size < 0:
            raise struct.error("a block has a negative size")
        yield payload[place + 4 : place + 4 + size]
        place += 4 + size


def _too_large(limit_bytes: int, content: bytes) -> _Unreadable:
    # So much of it that whoever reads it finds it too large, and sees how it begins.
    return _Unreadable(
        f"they grow beyond {limit_bytes} bytes", content[: RECORD_BYTES + 1].ljust(RECORD_BYTES + 1, b"\0")
    )
