"""What an agent does: store each run of records, however long that takes, then finish it for Kafka.

While one run waits for the database, others are decoded or stored: those of one partition number one after
another, which share a shard there (storage/locks.py), and different ones at the same time.
"""

import asyncio
import logging
import os
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol, TypeVar

from errata.errors import Behind, Unavailable
from streams.driver import FetchedRun, Positions, RunMessage, StoredPosition, choose_positions
from streams.ledger import Partition
from streams.metrics import Metrics
from streams.progress import Progress

logger = logging.getLogger(__name__)

#: The exit status of a worker that must not go on: its supervisor starts another, which reads everything
#: again.
EXIT_BROKEN = 70

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
#: How often a transaction under way is looked at while the worker is asked to let go.
_LOOK_SECONDS = 0.2
#: Runs that an agent takes in hand: more would only wait, outside of the driver's count of messages.
_RUNS_AT_ONCE = 16

T = TypeVar("T")

#: Returns whether the partition of the run is to be paused from here on.
StoreRun = Callable[[FetchedRun], bool]
PausedPartitions = Callable[[], Collection[Partition]]
StoredPositions = Callable[[Sequence[Partition]], Mapping[Partition, StoredPosition]]
ReadTopicIds = Callable[[tuple[str, ...]], Mapping[str, str]]


class Outcome(Enum):
    """What became of a run that was to be stored."""

    STORED = auto()
    #: It is stored, and the next ones of its partition are not to be read.
    PAUSED = auto()
    GIVEN_UP = auto()
    #: The database is behind the run, as after a restore.
    BEHIND = auto()


class RunConsumer(Protocol):
    """What an agent needs of streams.driver.Consumer."""

    flow_active: bool

    def run_stored(self, message: RunMessage) -> bool:
        """Make a stored run committable."""

    def run_given_up(self, message: RunMessage) -> None:
        """Let go of a run that was not stored."""

    def run_behind(self, message: RunMessage) -> None:
        """Let go of a run that the database is behind of, and read again from where the database is."""

    def start_anew(self) -> None:
        """Read again from where the database is, but for what is paused there."""


async def store_runs(events: AsyncIterator[Any], consumer: RunConsumer, storing: "Storing") -> None:
    """Store the run of each event, those of a partition in turn. Never raises, because Faust would just go on."""
    room = asyncio.Semaphore(_RUNS_AT_ONCE)
    async with asyncio.TaskGroup() as runs:
        async for event in events:
            await room.acquire()
            storing_one = runs.create_task(_store_in_turn(event.message, consumer, storing))
            storing_one.add_done_callback(lambda _: room.release())


async def _store_in_turn(message: RunMessage, consumer: RunConsumer, storing: "Storing") -> None:
    async with storing.turn_of(message.run):
        if not (message.entry.alive and consumer.flow_active):
            # It is read again: from another place, by another worker, or once its partition goes on. Where partitions
            # are let go, only what is being stored is waited for: the group forms after the slowest of its members.
            consumer.run_given_up(message)
            return
        match await storing.store(message.run, is_draining=lambda: not consumer.flow_active):
            case Outcome.STORED:
                consumer.run_stored(message)
            case Outcome.PAUSED:
                logger.error(
                    "dead letters flood %s/%d: it is not read until errata dead-letters resume",
                    message.run.topic,
                    message.run.partition,
                    extra=_where(message.run),
                )
                consumer.run_stored(message)
                consumer.start_anew()
            case Outcome.GIVEN_UP:
                consumer.run_given_up(message)
            case Outcome.BEHIND:
                consumer.run_behind(message)


class Storing:
    """The threads that touch the database for the stream, and what is done about its errors.

    Unavailable: tried again for ever, with growing pauses. Behind: everything is read again from where the
    database is. Anything else: the process ends by `end_process`, since going on could lose data, and what was
    not stored is read again by the next process.
    """

    def __init__(
        self,
        store_run: StoreRun,
        stored_positions: StoredPositions,
        paused_partitions: PausedPartitions,
        read_topic_ids: ReadTopicIds,
        *,
        n_threads: int,
        drain_seconds: float,
        metrics: Metrics,
        progress: Progress,
        end_process: Callable[[int], Any] = os._exit,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._store_run = store_run
        self._stored_positions = stored_positions
        self._paused_partitions = paused_partitions
        self._read_topic_ids = read_topic_ids
        #: One for all runs: each would otherwise have the whole time for itself, one after another.
        self._patience = _Patience(drain_seconds, monotonic)
        self._metrics = metrics
        self._progress = progress
        self._end_process = end_process
        self._monotonic = monotonic
        self._rng = rng or random.Random()
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="storing")
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unavailable_since: float | None = None
        self._n_storing = 0
        self._idle_since = monotonic()

    def turn_of(self, run: FetchedRun) -> asyncio.Lock:
        """To be held while a run is stored; whoever waits for it gets it in the order in which they came."""
        return self._turns[run.partition]

    def idle_seconds(self) -> float:
        """For how long there has been no run to store."""
        return 0.0 if self._n_storing else self._monotonic() - self._idle_since

    async def store(self, run: FetchedRun, is_draining: Callable[[], bool]) -> Outcome:
        """Store a run, however long it takes.

        It is given up `drain_seconds` after `is_draining` became true, or because the process should have
        ended. The transaction under way may still commit then; it is fenced by the position in the database.
        """
        self._n_storing += 1
        try:
            return await self._store(run, is_draining)
        finally:
            self._n_storing -= 1
            self._idle_since = self._monotonic()

    async def _store(self, run: FetchedRun, is_draining: Callable[[], bool]) -> Outcome:
        self._patience.is_over(is_draining())
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            attempt = self._in_thread(partial(self._store_timed, run))
            while not attempt.done():
                await asyncio.wait({attempt}, timeout=_LOOK_SECONDS)
                if not attempt.done() and self._patience.is_over(is_draining()):
                    attempt.add_done_callback(_hear_error)
                    return self._give_up(run)
            error = attempt.exception()
            if error is None:
                self._note_available()
                is_to_pause, seconds = attempt.result()
                self._metrics.count_stored(run, seconds)
                return Outcome.PAUSED if is_to_pause else Outcome.STORED
            if isinstance(error, Behind):
                logger.warning("reading again from where the database is: %s", error, extra=_where(run))
                return Outcome.BEHIND
            if not isinstance(error, Unavailable):
                self._end(error, f"storing {_name(run)}")
                return Outcome.GIVEN_UP
            self._note_unavailable(error)
            if self._patience.is_over(is_draining()):
                return self._give_up(run)
            await asyncio.sleep(pause_seconds * self._rng.uniform(0.5, 1.0))
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    async def read_positions(self, partitions: Collection[Partition]) -> Positions:
        """Where to read on. Raises Unavailable while the database or the broker does not tell."""
        try:
            positions = await self._in_thread(partial(self._choose_positions, sorted(partitions)))
        except Unavailable as error:
            self._note_unavailable(error)
            raise
        except Exception as error:
            self._end(error, "reading the stored positions")
            raise
        self._note_available()
        return positions

    async def read_paused(self) -> frozenset[Partition]:
        """The partitions that are not to be read. Raises Unavailable."""
        return await self._in_thread(lambda: frozenset(self._paused_partitions()))

    def close(self) -> None:
        """Let the threads end after what they do now."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _store_timed(self, run: FetchedRun) -> tuple[bool, float]:
        started = self._monotonic()
        is_to_pause = self._store_run(run)
        return is_to_pause, self._monotonic() - started

    def _choose_positions(self, partitions: Sequence[Partition]) -> Positions:
        topic_ids = self._read_topic_ids(tuple(sorted({topic for topic, _ in partitions})))
        positions = choose_positions(partitions, self._stored_positions(partitions), topic_ids)
        return replace(positions, paused=frozenset(self._paused_partitions()))

    def _in_thread(self, act: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, act)

    def _give_up(self, run: FetchedRun) -> Outcome:
        logger.warning(
            "gave up storing %s to let go of its partition; it will be read again",
            _name(run),
            extra=_where(run),
        )
        self._metrics.count_given_up()
        return Outcome.GIVEN_UP

    def _note_unavailable(self, error: Unavailable) -> None:
        """Say once per episode what the worker waits for. An answer, even this one, is a sign of life."""
        self._progress.beat()
        if self._unavailable_since is None:
            self._unavailable_since = self._monotonic()
            logger.warning("waiting, nothing is lost: %s", error)
        self._metrics.set_unavailable_seconds(max(1e-3, self._monotonic() - self._unavailable_since))

    def _note_available(self) -> None:
        if self._unavailable_since is not None:
            logger.warning("going on after %.1f s of waiting", self._monotonic() - self._unavailable_since)
            self._unavailable_since = None
            self._metrics.set_unavailable_seconds(0.0)

    def _end(self, error: BaseException, doing: str) -> None:
        logger.critical("the worker ends, %s failed: %s", doing, error, exc_info=error)
        logging.shutdown()
        self._end_process(EXIT_BROKEN)


class _Patience:
    """Tells when draining has gone on for too long."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._draining_since: float | None = None

    def is_over(self, is_draining: bool) -> bool:
        """Whether draining has gone on for too long, given whether it goes on now."""
        if not is_draining:
            self._draining_since = None
            return False
        if self._draining_since is None:
            self._draining_since = self._monotonic()
        return self._monotonic() - self._draining_since >= self._seconds


def _hear_error(attempt: "asyncio.Future[Any]") -> None:
    """Take the outcome that nobody waits for, so that asyncio does not complain of it."""
    if not attempt.cancelled():
        attempt.exception()


def _where(run: FetchedRun) -> dict[str, object]:
    return {"topic": run.topic, "partition": run.partition, "offset": run.first_offset}


def _name(run: FetchedRun) -> str:
    return f"{run.topic}/{run.partition} offsets {run.first_offset} to {run.next_offset - 1}"
