"""In place of Kafka and of what talks to it: a log that grows, and the real consumer of a worker over it."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from faust.types import TP

from errata.settings import Settings
from streams.app import create_app
from streams.driver import Consumer, Mark, RunMessage
from streams.ledger import Partition
from streams.metrics import Metrics
from streams.progress import Progress


@dataclass
class Record:
    topic: str
    partition: int
    offset: int
    timestamp: int = 1_700_000_000_000
    key: bytes | None = b"k"
    value: bytes | None = b"0123456789"
    headers: tuple[tuple[str, bytes], ...] = ()


class Broker:
    """The log: offsets that exist, with gaps; and the offsets committed."""

    def __init__(self, partitions: Collection[Partition]) -> None:
        self.offsets: dict[Partition, list[int]] = {each: [] for each in partitions}
        self.committed: dict[Partition, int] = {}

    def read(self, partition: Partition, offset: int) -> Record:
        """The record at an offset that exists."""
        return Record(*partition, offset)

    def append(self, partition: Partition, gap: int, n: int) -> None:
        log = self.offsets[partition]
        start = (log[-1] + 1 if log else 0) + gap
        log.extend(range(start, start + n))


class Thread:
    """In place of driver.ConsumerThread: reads the log as aiokafka does."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.assigned: set[Partition] = set()
        self.positions: dict[Partition, int] = {}
        self.paused: set[Partition] = set()
        self.drains = 0
        self.records_per_fetch = 4
        self.commits_fail = False

    def assignment(self) -> set[TP]:
        return {TP(*each) for each in self.assigned}

    async def getmany(self, active: Collection[TP], timeout: float) -> dict[TP, list[Record]]:
        await asyncio.sleep(0)
        fetched: dict[TP, list[Record]] = {}
        for partition in sorted(self.assigned):
            log = self._broker.offsets[partition]
            offsets = [each for each in log if each >= self.positions[partition]][: self.records_per_fetch]
            if offsets and TP(*partition) in active and partition not in self.paused:
                fetched[TP(*partition)] = [self._broker.read(partition, each) for each in offsets]
                self.positions[partition] = offsets[-1] + 1
        self.drains += bool(fetched)
        await asyncio.sleep(0)
        return fetched

    def read_marks(self) -> dict[Partition, Mark]:
        return {
            each: Mark((self._broker.offsets[each] or [-1])[-1] + 1, 1)
            for each in self.assigned - self.paused
        }

    async def move_to(
        self, positions: dict[Partition, int | None], paused: Collection[Partition] = ()
    ) -> tuple[dict[Partition, int], int]:
        await asyncio.sleep(0)
        self.paused = set(paused)
        self.positions = {partition: position or 0 for partition, position in positions.items()}
        return dict(self.positions), self.drains

    async def commit(self, offsets: dict[TP, int]) -> bool:
        if self.commits_fail:
            return False
        self._broker.committed.update({(tp.topic, tp.partition): offset for tp, offset in offsets.items()})
        return True


class Process:
    """A worker process as far as its consumer goes: the real consumer over a fake thread."""

    def __init__(self, broker: Broker, storing: Any, settings: Settings | None = None) -> None:
        self.app = create_app(settings or Settings(), storing, Metrics(), Progress(), Progress())
        self.app.consumer_generation_id = 1
        self.consumer: Consumer = self.app.transport.create_consumer(
            callback=do_nothing, on_partitions_revoked=do_nothing, on_partitions_assigned=do_nothing
        )
        self.thread = Thread(broker)
        self.consumer._thread.thread_loop.close()
        self.consumer._thread = self.thread
        self.consumer.sleep = do_nothing
        self.consumer._on_partitions_revoked = do_nothing

    async def assign(self, partitions: Collection[Partition]) -> None:
        """What Faust does in a rebalance, in its order."""
        self.consumer.stop_flow()
        await self.consumer.on_partitions_revoked(self.consumer.assignment())
        self.app.consumer_generation_id += 1
        self.thread.assigned = set(partitions)
        self.thread.positions = dict.fromkeys(partitions, 0)
        self.consumer._set_active_tps(self.thread.assignment())
        await self.consumer.perform_seek()
        self.consumer.resume_flow()

    async def fetch(self) -> list[RunMessage]:
        return [message async for _, message in self.consumer.getmany(timeout=0.01)]


async def do_nothing(*_: Any, **__: Any) -> None:
    """In place of what has to be awaited, and has no effect here."""
    return
