"""What compressed records of Kafka may grow to, of which aiokafka keeps no limit: a bomb becomes one dead letter."""

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiokafka
from aiokafka.consumer import fetcher
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


class _Unreadable(Exception):
    """A batch that cannot be taken out of gzip; `value` is what a person may look at instead."""

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
            # The records are taken out of gzip here, all at once.
            return iter(self._batch)
        except _Unreadable as error:
            offset = self._batch.next_offset - 1
            logger.error("the records up to offset %d become one dead letter: %s", offset, error)  # noqa: TRY400
            return iter([_StandIn(offset, error.value)])


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
    places = [(fetcher, "MemoryRecords"), *((reader, "gzip_decode") for reader in _READERS)]
    for module, name in places:
        if not hasattr(module, name):
            raise Stop(
                f"aiokafka {aiokafka.__version__} has no {module.__name__}.{name} that could be limited"
            )
    fetcher.MemoryRecords = _Batches
    for reader in _READERS:
        reader.gzip_decode = lambda payload: _gunzip(payload, limit_bytes)


def _gunzip(payload: Any, limit_bytes: int) -> bytes:
    """The content of one or more gzip members. Raises _Unreadable."""
    content, rest = bytearray(), bytes(payload)
    while rest:
        member = zlib.decompressobj(wbits=31)
        try:
            content += member.decompress(rest, limit_bytes + 1 - len(content))
        except zlib.error as error:
            raise _Unreadable(f"they are not gzip: {error}", rest) from None
        if len(content) > limit_bytes:
            # So much of it that whoever reads it finds it too large, and sees how it begins.
            raise _Unreadable(f"they grow beyond {limit_bytes} bytes", bytes(content[: RECORD_BYTES + 1]))
        if not member.eof:
            raise _Unreadable("their gzip ends too soon", rest)
        rest = member.unused_data
    return bytes(content)
