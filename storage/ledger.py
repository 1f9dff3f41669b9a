"""The ledger as people read it: what each partition gave, and what became of it."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from storage.tables import intake_ledger, intake_positions

_SUMS: Final = ("n_records", "n", "n_new", "n_duplicate", "n_dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionIntake:
    """What was taken from one partition: `n = n_new + n_duplicate + n_dead` events in `n_records`."""

    topic: str
    partition: int
    next_offset: int
    n_records: int
    n: int
    n_new: int
    n_duplicate: int
    n_dead: int
    stored_us: int


def read_ledger_summary(c: Connection) -> list[PartitionIntake]:
    """One row per partition that ever gave something, by topic and partition."""
    ledger, position = intake_ledger.c, intake_positions.c
    sums = [func.sum(ledger[name]).label(name) for name in _SUMS]
    query = (
        select(
            ledger.topic,
            ledger.partition,
            func.coalesce(func.max(position.next_offset), func.max(ledger.next_offset)).label("next_offset"),
            func.max(ledger.stored_us).label("stored_us"),
            *sums,
        )
        .join_from(
            intake_ledger,
            intake_positions,
            (position.topic == ledger.topic) & (position.partition == ledger.partition),
            isouter=True,
        )
        .group_by(ledger.topic, ledger.partition)
        .order_by(ledger.topic, ledger.partition)
    )
    return [
        PartitionIntake(
            topic=row.topic,
            partition=row.partition,
            next_offset=row.next_offset,
            stored_us=row.stored_us,
            # PostgreSQL sums integers to decimals.
            **{name: int(getattr(row, name)) for name in _SUMS},
        )
        for row in c.execute(query)
    ]
