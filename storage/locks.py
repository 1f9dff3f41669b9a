"""Locks that are no rows, held until the transaction ends. SQLite needs none, having one writer at a time.

Those of storage/lifelines.py are held by sessions; here is only the kind of their keys, so that no two are alike.

Every transaction takes its locks in the same order, so that two can't wait for each other: the position of
the partition, its shard, the slice values, new events by id, predictions by id.
"""

from typing import Final

from sqlalchemy import Connection, text

#: First halves of the advisory locks' keys, to be told from those of other programs.
_SHARDS: Final = 0x65727201
_SLICE_VALUES: Final = 0x65727202
_RUN_OPENING: Final = 0x65727203
_DATA_DRIFT: Final = 0x65727204
LIFELINES: Final = 0x65727205


def lock_shard(c: Connection, shard: int) -> None:
    """Wait until no other transaction works on the events and windows of `shard`."""
    _lock(c, _SHARDS, shard)


def lock_slice_values(c: Connection) -> None:
    """Wait until no other transaction registers values of slices."""
    _lock(c, _SLICE_VALUES, 0)


def lock_run_opening(c: Connection) -> None:
    """Wait until no other transaction decides whether a run is opened."""
    _lock(c, _RUN_OPENING, 0)


def lock_data_drift(c: Connection) -> None:
    """Wait until no other transaction takes predictions into what is watched of them."""
    _lock(c, _DATA_DRIFT, 0)


def _lock(c: Connection, kind: int, number: int) -> None:
    if c.dialect.name == "postgresql":
        c.execute(text("SELECT pg_advisory_xact_lock(:kind, :number)"), {"kind": kind, "number": number})
