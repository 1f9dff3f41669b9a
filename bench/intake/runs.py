"""Fetched runs without a broker: the same records in the portions in which a worker fetches them."""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Final

from errata.partitioning import Record
from errata.wire import batch_headers, join_batch
from streams.driver import FetchedRecord, FetchedRun

#: Events in one fetched run, about: so many gzip'd ones are in the MiB that is fetched at once.
_RUN_EVENTS: Final = 14_000


def make_runs(records: Iterable[Record], *, run_events: int = _RUN_EVENTS) -> Iterator[FetchedRun]:
    """Put the records of each partition together, in order, until a run has `run_events`."""
    filling: dict[tuple[str, int], list[Record]] = {}
    first_offsets: dict[tuple[str, int], int] = {}
    for record in records:
        place = (record.topic, record.partition)
        filling.setdefault(place, []).append(record)
        if sum(len(each.events) for each in filling[place]) >= run_events:
            yield _as_run(filling.pop(place), first_offsets)
    for rest in filling.values():
        yield _as_run(rest, first_offsets)


def _as_run(records: list[Record], first_offsets: dict[tuple[str, int], int]) -> FetchedRun:
    topic, partition = records[0].topic, records[0].partition
    first_offset = first_offsets.get((topic, partition), 0)
    headers = tuple(batch_headers())
    fetched = tuple(
        FetchedRecord(offset, 0, None, join_batch(event.raw for event in record.events), headers)
        for offset, record in zip(count(first_offset), records, strict=False)
    )
    first_offsets[topic, partition] = first_offset + len(fetched)
    return FetchedRun(
        topic=topic,
        partition=partition,
        first_offset=first_offset,
        next_offset=first_offset + len(fetched),
        records=fetched,
        topic_id="bench",
    )
