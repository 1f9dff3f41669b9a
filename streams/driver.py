"""Our Faust transport: whole runs of records out, and only what is stored is committed.

Stock Faust hands out single messages and takes "the agent went on" for "the message is done": it commits what
an agent failed on, was cancelled in, or has not come to yet. Here a message is one fetched run of a
partition, and only `Consumer.run_stored`, called after the database's commit, makes its offsets committable
(streams/ledger.py).

Two rules make holes impossible. Runs of a partition form a chain: each starts where the one before it ended,
and the first one where the database says. And whenever anything that was fetched may not have been handed out
(a rebalance, a cancelled fetch), everything is read again from the positions in the database. Kafka's own
committed offsets are only written, for the tools that watch them.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiokafka
import faust
from aiokafka.consumer.fetcher import Fetcher as AIOKafkaFetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as faust_aiokafka
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode.utils.futures import notify

from errata.errors import Stop, Unavailable
from storage.records import FORMING, Membership
from streams.decompression import limit_decompression
from streams.ledger import Entry, Ledger, Partition


@dataclass(frozen=True, slots=True)
class FetchedRecord:
    """One Kafka record as it came."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class FetchedRun:
    """All records of a partition in `[first_offset, next_offset)`, in order.

    `first_offset` is where the run before it ended (or the stored position, for the first), so the first
    record may come later: compaction and transactions leave gaps. A stored position below `first_offset` is a
    hole, never valid. `topic_id` is Kafka's id of the topic, empty where the broker gives none. `begins` says that
    nothing of the partition was stored when this, its first run, was read.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    records: tuple[FetchedRecord, ...]
    topic_id: str
    begins: bool = True


#: Where a partition is stored up to (its next offset), and the id of the topic that this offset belongs to.
StoredPosition = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Positions:
    """Where to read on: the next offset of each partition (None: its beginning), and the topics' ids."""

    next_offsets: Mapping[Partition, int | None]
    topic_ids: Mapping[str, str]
    #: Partitions that are not to be read, whether or not they are ours.
    paused: frozenset[Partition] = frozenset()


def choose_positions(
    partitions: Collection[Partition],
    stored: Mapping[Partition, StoredPosition],
    topic_ids: Mapping[str, str],
) -> Positions:
    """Read on where the database says, from the beginning where it says nothing.

    Raises Stop when a stored position belongs to another topic than the one that now has its name.
    """
    for partition in partitions:
        next_offset, stored_id = stored.get(partition, (0, ""))
        topic_id = topic_ids.get(partition[0], "")
        if stored_id and topic_id and stored_id != topic_id:
            raise Stop(
                f"topic {partition[0]} was deleted and created again: the stored position {next_offset} "
                f"of partition {partition[1]} belongs to topic id {stored_id}, the broker's is {topic_id}. "
                "Restore the topic, or start with another database, or remove the topic's stored positions"
            )
    return Positions(
        next_offsets={
            partition: stored[partition][0] if partition in stored else None for partition in partitions
        },
        topic_ids={topic: topic_ids.get(topic, "") for topic, _ in partitions},
    )


class RunMessage(ConsumerMessage):  # type: ignore[misc]
    """What travels through Faust for one run. Its own acknowledgement is without effect."""

    def __init__(self, run: FetchedRun, entry: Entry, generation_id: int) -> None:
        last = run.records[-1]
        super().__init__(
            run.topic,
            run.partition,
            last.offset,
            last.timestamp_ms / 1000,
            0,
            None,
            None,
            # Faust decodes this; the agent takes the run.
            b"",
            None,
            tp=TP(run.topic, run.partition),
            generation_id=generation_id,
        )
        self.run = run
        self.entry = entry

    def on_final_ack(self, _consumer: Any) -> bool:
        """Do nothing: that every stream went on does not mean that anything is stored."""
        return False


_CONSUMER_OPTIONS = {
    # What aborted transactions wrote is left out, which Faust does only for its own transactions.
    "_isolation_level": "read_committed",
    # One request at a time is under way to a broker. While it waits for news of idle partitions, the busy ones
    # are not fetched: with Faust's 1500 ms, a topic alone in traffic came at a fifth of its speed.
    "_fetch_max_wait_ms": 100,
}


#: After this time without a record everything is looked up again: a database may have been restored meanwhile.
_QUIET_SECONDS = 30.0
#: How often it is looked up whether a paused partition may go on.
_PAUSED_SECONDS = 2.0
#: How long to wait before connecting again.
_CONNECT_SECONDS = 1.0
#: How often it is looked up how far the topics reach.
_MARKS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What the broker last said of a partition: its end, and when; None before it said anything."""

    end: int | None
    told_ms: int | None


class ConsumerThread(faust_aiokafka.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that talks to Kafka."""

    #: Fetches that took records out of the consumer, whether or not anyone received them.
    drains = 0

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        """Set what Faust has no settings for."""
        limit_decompression(transport.bytes_in_flight)
        consumer = super()._create_worker_consumer(transport)
        for name, value in _CONSUMER_OPTIONS.items():
            if not hasattr(consumer, name):
                raise Stop(f"aiokafka {aiokafka.__version__} has no {name} that could be set")
            setattr(consumer, name, value)
        transport.kafka_consumer = consumer
        return consumer

    async def on_start(self) -> None:
        """Connect, however often the broker resets that: it was there a moment ago (streams/worker.py)."""
        while not self.should_stop:
            try:
                await super().on_start()
            except KafkaError as error:
                await self._ensure_consumer().stop()
                if not error.retriable:
                    raise
                self.log.warning("waiting for the broker: %r", error)
                await self.sleep(_CONNECT_SECONDS)
            else:
                return

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Mapping[TP, Sequence[Any]]:
        records: Mapping[TP, Sequence[Any]] = await super()._fetch_records(*args, **kwargs)
        if records:
            self.drains += 1
        return records

    def read_marks(self) -> dict[Partition, Mark]:
        """What is known of the partitions that are ours and not paused. Asks nobody."""
        consumer = self._ensure_consumer()
        try:
            return {
                (tp.topic, tp.partition): Mark(consumer.highwater(tp), consumer.last_poll_timestamp(tp))
                for tp in consumer.assignment() - consumer.paused()
            }
        except (AssertionError, IllegalStateError, KeyError):  # Taken away while we looked.
            return {}

    async def move_to(
        self, positions: Mapping[Partition, int | None], paused: Collection[Partition] = ()
    ) -> tuple[dict[Partition, int], int]:
        """Read next from `positions`; return where each partition's chain starts, and `drains` at that time.

        Partitions in `paused` stay ours, but are not read.
        """
        moved: tuple[dict[Partition, int], int] = await self.call_thread(self._move_to, positions, paused)
        return moved

    async def _move_to(
        self, positions: Mapping[Partition, int | None], paused: Collection[Partition]
    ) -> tuple[dict[Partition, int], int]:
        consumer = self._ensure_consumer()
        beginnings = await consumer.beginning_offsets([aiokafka.TopicPartition(*each) for each in positions])
        chain = {}
        for partition, position in positions.items():
            beginning = beginnings[aiokafka.TopicPartition(*partition)]
            if position is not None and position < beginning:
                self.log.error(
                    "records %d to %d of %s/%d were deleted by Kafka's retention before they were stored",
                    *(position, beginning - 1, *partition),
                )
            chain[partition] = beginning if position is None else position
        for partition, position in chain.items():
            tp = aiokafka.TopicPartition(*partition)
            consumer.seek(tp, max(position, beginnings[tp]))
            if partition in paused:
                consumer.pause(tp)
            else:
                consumer.resume(tp)
        return chain, self.drains

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Write offsets to Kafka. A failure does no harm: the database has them, and Kafka is told again."""
        try:
            await self._ensure_consumer().commit(
                {aiokafka.TopicPartition(*tp): (offset, "") for tp, offset in offsets.items()}
            )
        except KafkaError as error:
            self.log.warning("Kafka did not take the committed offsets, it will be told again: %r", error)
            return False
        return True


class Consumer(faust_aiokafka.Consumer):  # type: ignore[misc]
    """Hands out one message per fetched run of a partition, and commits what `run_stored` was called for."""

    transport: "Transport"
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger()
        self._topic_ids: Mapping[str, str] = {}
        #: Where the next run of each partition starts.
        self._next_offsets: dict[Partition, int] = {}
        #: Partitions of which nothing was stored at the start, and nothing was handed out since.
        self._untouched: set[Partition] = set()
        self._drains = 0
        #: How often a new start was asked for; what is fetched is good only if it has not changed meanwhile.
        self._starts_asked = 0
        #: The value of `_starts_asked` that the fetch position answers to; None while records are under way.
        self._started: int | None = None
        self._turn = 0
        #: What is not read, as the database said when it was last asked, and when that was.
        self._paused: frozenset[Partition] = frozenset()
        self._paused_read = 0.0
        self._marks_read = 0.0
        self._told_ms = 0
        #: When a run was handed out or the positions were looked up for the last time.
        self._quiet_since = time.monotonic()
        self._has_room = asyncio.Event()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # Reading.

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, RunMessage]]:
        """Yield what one fetch brings, a message per partition.

        When it is left early, for whatever reason, the rest is read again from the stored positions.
        """
        if not await self._is_ready_to_fetch(timeout):
            return
        asked, self._started = self._started, None
        generation_id = self.app.consumer_generation_id
        fetched, active = await self._wait_next_records(timeout)
        if fetched:
            self._drains += 1
        self._note_marks(has_records=bool(fetched))
        for tp in self._in_turn(fetched or {}):
            paused = active is not None and tp not in active and tp not in self._buffered_partitions
            if paused or not self._may_hand_out(asked, generation_id):
                return
            yield tp, self._hand_out(tp, fetched[tp], generation_id)
        if self._may_hand_out(asked, generation_id):
            self._started = asked

    async def _is_ready_to_fetch(self, timeout: float) -> bool:
        """Wait until fetching is allowed, there is room, and the fetch position is what the database says."""
        if not self.ledger.unfinished:
            self.transport.on_progress()
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        if self.should_stop or not await self._has_room_for_more(timeout):
            return False
        if not self.ledger.unfinished and time.monotonic() - self._quiet_since > _QUIET_SECONDS:
            self._starts_asked += 1
        await self._look_whether_paused_may_go_on()
        asked = self._starts_asked
        if self._started != asked and await self._start_from_stored_positions():
            self._started = asked
        return self._started == self._starts_asked

    def _may_hand_out(self, asked: int | None, generation_id: int) -> bool:
        return bool(
            self.flow_active
            and not self.should_stop
            and self._starts_asked == asked
            and self.app.consumer_generation_id == generation_id
            # A fetch that was cancelled goes on in its thread, and what it takes out reaches nobody.
            and self._thread.drains == self._drains
        )

    def _in_turn(self, fetched: Mapping[TP, Sequence[Any]]) -> list[TP]:
        """The partitions, each time starting at another one, so that none is always last."""
        partitions = sorted(fetched)
        self._turn += 1
        start = self._turn % len(partitions) if partitions else 0
        return partitions[start:] + partitions[:start]

    def _hand_out(self, tp: TP, records: Sequence[Any], generation_id: int) -> RunMessage:
        partition = (tp.topic, tp.partition)
        first_offset = self._next_offsets[partition]
        if records[0].offset < first_offset:
            raise Stop(
                f"offsets of {tp.topic}/{tp.partition} went back from {first_offset} to {records[0].offset}: "
                "the topic lost records or was created again. Check the broker before starting the worker"
            )
        run = FetchedRun(
            topic=tp.topic,
            partition=tp.partition,
            first_offset=first_offset,
            next_offset=records[-1].offset + 1,
            records=tuple(
                FetchedRecord(r.offset, r.timestamp or 0, r.key, r.value, tuple(r.headers)) for r in records
            ),
            topic_id=self._topic_ids.get(tp.topic, ""),
            begins=partition in self._untouched,
        )
        self._untouched.discard(partition)
        entry = self.ledger.hand_out(partition, first_offset, run.next_offset, _size_bytes(run))
        self._next_offsets[partition] = run.next_offset
        self._quiet_since = time.monotonic()
        self.transport.on_bytes_in_flight(self.ledger.unfinished_bytes)
        # Faust's fetch loop would drop what it takes for a repetition, and note gaps that we don't use.
        self._read_offset[tp] = None
        return RunMessage(run, entry, generation_id)

    async def _has_room_for_more(self, timeout: float) -> bool:
        """Whether fewer bytes than the limit are in flight; waits up to `timeout` seconds for that."""
        if self.ledger.unfinished_bytes < self.transport.bytes_in_flight:
            return True
        self._has_room.clear()
        self.transport.on_answer()  # It is us who do not ask.
        try:
            await asyncio.wait_for(self._has_room.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def _start_from_stored_positions(self) -> bool:
        """Move every assigned partition to its stored position. False if it has to be tried again."""
        assigned = {(tp.topic, tp.partition) for tp in self.assignment()}
        if not assigned:
            return True
        try:
            positions = await self.transport.read_positions(assigned)
            chain, drains = await self._thread.move_to(positions.next_offsets, positions.paused)
        except IllegalStateError:  # Taken away meanwhile: the next assignment asks for a new start.
            await self.sleep(0.1)
            return False
        except (Unavailable, KafkaError) as error:
            self.log.warning("waiting to learn where to read on: %s", error)
            self.transport.on_progress()
            await self.sleep(1.0)
            return False
        self.ledger.forget()
        self._next_offsets = chain
        self._untouched = {each for each, offset in positions.next_offsets.items() if offset is None}
        self._topic_ids = positions.topic_ids
        self._paused, self._paused_read = positions.paused, time.monotonic()
        self._drains = drains
        self._quiet_since = time.monotonic()
        return True

    async def _look_whether_paused_may_go_on(self) -> None:
        """Ask for a new start when what is paused is no longer what it was."""
        if not self._paused or time.monotonic() - self._paused_read < _PAUSED_SECONDS:
            return
        self._paused_read = time.monotonic()
        try:
            paused = await self.transport.read_paused()
        except Unavailable:  # It is asked again, and storing says what is the matter.
            return
        if paused != self._paused:
            self.start_anew()

    def _note_marks(self, *, has_records: bool) -> None:
        """Tell how far we are behind, and whether the broker answers at all."""
        if has_records:
            self.transport.on_answer()
        if time.monotonic() - self._marks_read < _MARKS_SECONDS:
            return
        self._marks_read = time.monotonic()
        marks = self._thread.read_marks()
        told_ms = max((mark.told_ms or 0 for mark in marks.values()), default=None)
        if told_ms is None or told_ms != self._told_ms:  # None: there is nothing that we would read.
            self.transport.on_answer()
            self._told_ms = told_ms or 0
        self.transport.on_lags(
            {
                partition: max(0, mark.end - self._next_offsets[partition])
                for partition, mark in marks.items()
                if mark.end is not None and partition in self._next_offsets
            }
        )

    def start_anew(self) -> None:
        """Read everything again from where the database is, but for what is paused there."""
        self._starts_asked += 1
        self.ledger.forget()

    async def perform_seek(self) -> None:
        """Ask for a new start: before it fetches again, getmany moves to the stored positions.

        Called by Faust after every assignment, with a time limit that a database in trouble would exceed.
        """
        self.start_anew()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let Faust wait for what agents are storing, commit that, and forget the rest."""
        try:
            await super().on_partitions_revoked(revoked)
        finally:
            self._starts_asked += 1
            self.ledger.forget()

    # Finishing and committing.

    def run_stored(self, message: RunMessage) -> bool:
        """Make a run committable, after it was stored. False if its partition was taken away meanwhile."""
        alive = self.ledger.finish(message.entry)
        message.acked = True
        self._release(message)
        self.transport.on_progress()
        return alive

    def run_given_up(self, message: RunMessage) -> None:
        """Let go of a run that was not stored: it stays uncommitted, and is read again by whoever has its partition."""
        if message.entry.alive:
            self._starts_asked += 1
        self._release(message)

    def run_behind(self, message: RunMessage) -> None:
        """Let go of a run that the database is behind of, and read everything again from where the database is."""
        if message.entry.alive:
            self.start_anew()
        self._release(message)

    def _release(self, message: RunMessage) -> None:
        self._unacked_messages.discard(message)
        self.transport.on_bytes_in_flight(self.ledger.unfinished_bytes)
        self._has_room.set()
        notify(self._waiting_for_ack)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> list[TP]:
        return [
            TP(*partition)
            for partition in self.ledger.partitions()
            if topics is None or partition in topics or partition[0] in topics
        ]

    def _new_offset(self, tp: TP) -> int | None:
        return self.ledger.committable((tp.topic, tp.partition))

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        ours = self.assignment()
        committable = {tp: offset for tp, offset in offsets.items() if tp in ours}
        if not committable or not await self._commit(committable):
            return False
        self._committed_offset.update(committable)
        return True

    async def _add_gap(self, *_: Any) -> None:
        """Do nothing: a run covers the gaps before and between its records."""

    def verify_event_path(self, *_: Any) -> None:
        """Do nothing: Faust's detector takes idle partitions for faults; ours is streams/progress.py."""


class Transport(faust_aiokafka.Transport):  # type: ignore[misc]
    """Kafka by aiokafka with our consumer, and what that asks of the rest of the worker."""

    Consumer = Consumer

    def __init__(
        self,
        app: faust.App,
        *,
        read_positions: Callable[[Collection[Partition]], Awaitable[Positions]],
        read_paused: Callable[[], Awaitable[frozenset[Partition]]],
        bytes_in_flight: int,
        on_progress: Callable[[], None],
        on_bytes_in_flight: Callable[[int], None],
        on_answer: Callable[[], None],
        on_lags: Callable[[Mapping[Partition, int]], None],
    ) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self.read_positions = read_positions
        self.read_paused = read_paused
        self.bytes_in_flight = bytes_in_flight
        self.on_progress = on_progress
        self.on_bytes_in_flight = on_bytes_in_flight
        self.on_answer = on_answer
        self.on_lags = on_lags
        #: The one that was made last.
        self.kafka_consumer: aiokafka.AIOKafkaConsumer | None = None

    def membership(self) -> Membership:
        """Who we are in the consumer group, as its broker names us. May be asked by any thread."""
        coordinator = getattr(self.kafka_consumer, "_coordinator", None)
        if coordinator is None:
            return Membership("", FORMING)
        is_forming = coordinator._rejoin_needed_fut.done() or coordinator._performed_join_prepare
        return Membership(coordinator.member_id, FORMING if is_forming else coordinator.generation)


def _size_bytes(run: FetchedRun) -> int:
    return sum(
        len(record.key or b"") + len(record.value or b"") + sum(len(value) for _, value in record.headers)
        for record in run.records
    )


#: What we override, call or read that Faust and aiokafka don't promise to keep, with the parameters we count
#: on.
_PRIVATE_NAMES: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (faust_consumer.Consumer, "getmany", ("timeout",)),
    (faust_consumer.Consumer, "_wait_next_records", ("timeout",)),
    (faust_consumer.Consumer, "_drain_messages", ("fetcher",)),
    (faust_consumer.Consumer, "_add_gap", ("tp", "offset_from", "offset_to")),
    (faust_consumer.Consumer, "_filter_tps_with_pending_acks", ("topics",)),
    (faust_consumer.Consumer, "_filter_committable_offsets", ("tps",)),
    (faust_consumer.Consumer, "_new_offset", ("tp",)),
    (faust_consumer.Consumer, "_commit_offsets", ("offsets", "start_new_transaction")),
    (faust_consumer.Consumer, "_commit", ("offsets",)),
    (faust_consumer.Consumer, "perform_seek", ()),
    (faust_consumer.Consumer, "on_partitions_revoked", ("revoked",)),
    (faust_consumer.Consumer, "verify_event_path", ("now", "tp")),
    (ConsumerMessage, "on_final_ack", ("consumer",)),
    (faust_aiokafka.Consumer, "_new_consumer_thread", ()),
    (
        faust_aiokafka.AIOKafkaConsumerThread,
        "_fetch_records",
        ("consumer", "active_partitions", "timeout", "max_records"),
    ),
    (faust_aiokafka.AIOKafkaConsumerThread, "on_start", ()),
    (faust_aiokafka.AIOKafkaConsumerThread, "_create_worker_consumer", ("transport",)),
    (faust_aiokafka.AIOKafkaConsumerThread, "_ensure_consumer", ()),
    (faust_aiokafka.AIOKafkaConsumerThread, "_commit", ("offsets",)),
    (faust_aiokafka.AIOKafkaConsumerThread, "call_thread", ("fun", "args", "kwargs")),
    (aiokafka.AIOKafkaConsumer, "seek", ("partition", "offset")),
    (aiokafka.AIOKafkaConsumer, "beginning_offsets", ("partitions",)),
    (aiokafka.AIOKafkaConsumer, "pause", ("partitions",)),
    (aiokafka.AIOKafkaConsumer, "resume", ("partitions",)),
    (aiokafka.AIOKafkaConsumer, "paused", ()),
    (aiokafka.AIOKafkaConsumer, "highwater", ("partition",)),
    (aiokafka.AIOKafkaConsumer, "last_poll_timestamp", ("partition",)),
    (AIOKafkaFetcher, "fetched_records", ("partitions", "timeout", "max_records")),
)
_PRIVATE_ATTRIBUTES = (
    "_unacked_messages",
    "_buffered_partitions",
    "_read_offset",
    "_committed_offset",
    "_waiting_for_ack",
    "can_resume_flow",
    "flow_active",
)
#: What instances have by their constructors.
_PRIVATE_FIELDS: tuple[tuple[Any, str], ...] = (
    (aiokafka.AIOKafkaConsumer, "_coordinator"),
    (GroupCoordinator, "member_id"),
    (GroupCoordinator, "generation"),
    (GroupCoordinator, "_rejoin_needed_fut"),
    (GroupCoordinator, "_performed_join_prepare"),
)


def check_private_names() -> None:
    """Raise Stop naming what the installed Faust and aiokafka lack of what this driver relies on."""
    missing = []
    for owner, name, parameters in _PRIVATE_NAMES:
        function = getattr(owner, name, None)
        if function is None:
            missing.append(f"{owner.__module__}.{owner.__name__}.{name}")
        elif tuple(inspect.signature(function).parameters)[1:] != parameters:
            missing.append(f"{owner.__module__}.{owner.__name__}.{name}({', '.join(parameters)})")
    annotated = {
        name for owner in faust_consumer.Consumer.__mro__ for name in vars(owner).get("__annotations__", {})
    }
    missing += [
        f"faust.transport.consumer.Consumer.{name}" for name in _PRIVATE_ATTRIBUTES if name not in annotated
    ]
    missing += [
        f"{owner.__module__}.{owner.__name__}.{name}"
        for owner, name in _PRIVATE_FIELDS
        if name not in owner.__init__.__code__.co_names
    ]
    if missing:
        raise Stop(
            f"Faust {faust.__version__} and aiokafka {aiokafka.__version__} lack what streams/driver.py "
            f"relies on: {', '.join(missing)}. Install the versions that pyproject.toml names"
        )
