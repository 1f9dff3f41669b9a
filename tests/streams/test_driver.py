import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError, TopicAuthorizationFailedError
from faust.types import TP
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from errata.errors import Stop, Unavailable
from errata.settings import Settings, Worker
from errata.topics import FEEDBACK
from streams import driver
from streams.driver import FetchedRun, Positions, RunMessage, choose_positions
from streams.ledger import Partition
from tests.streams import fake_kafka
from tests.streams.fake_kafka import Broker

PARTITIONS: list[Partition] = [(FEEDBACK, 0), (FEEDBACK, 1)]


class Database:
    """Positions and stored offsets, committed together as streams requires it of its store."""

    def __init__(self) -> None:
        self.next_offsets: dict[Partition, int] = {}
        self.stored: dict[Partition, list[int]] = {each: [] for each in PARTITIONS}
        self.is_available = True
        self.paused: set[Partition] = set()

    def store(self, run: FetchedRun) -> None:
        partition = (run.topic, run.partition)
        position = self.next_offsets.get(partition, 0)
        assert position >= run.first_offset, (
            f"a hole: stored up to {position}, the run starts at {run.first_offset}"
        )
        self.stored[partition] += [each.offset for each in run.records if each.offset >= position]
        self.next_offsets[partition] = max(position, run.next_offset)


class Storing:
    """In place of streams.agents.Storing: tells positions, from the thread of the test."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_positions(self, partitions: Collection[Partition]) -> Positions:
        if not self._database.is_available:
            raise Unavailable("the database is away")
        stored = {each: (offset, "id") for each, offset in self._database.next_offsets.items()}
        return replace(
            choose_positions(partitions, stored, {FEEDBACK: "id"}), paused=await self.read_paused()
        )

    async def read_paused(self) -> frozenset[Partition]:
        return frozenset(self._database.paused)


class Process(fake_kafka.Process):
    """A worker process over the plain database."""

    def __init__(self, broker: Broker, database: Database, settings: Settings | None = None) -> None:
        super().__init__(broker, Storing(database), settings)


@pytest.fixture
def loop():
    """Faust's objects belong to a loop that exists before they do."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def broker():
    return Broker(PARTITIONS)


@pytest.fixture
def database():
    return Database()


@pytest.fixture
def process(loop, broker, database):
    process = Process(broker, database)
    loop.run_until_complete(process.assign(PARTITIONS))
    return process


def test_the_installed_libraries_have_the_private_names_we_use():
    driver.check_private_names()


def test_a_missing_private_name_is_named(monkeypatch):
    monkeypatch.delattr(driver.faust_consumer.Consumer, "_new_offset")
    with pytest.raises(Stop, match=r"faust\.transport\.consumer\.Consumer\._new_offset"):
        driver.check_private_names()


def test_a_private_name_with_other_parameters_is_named(monkeypatch):
    monkeypatch.setattr(driver.faust_consumer.Consumer, "getmany", lambda self, timeout, limit: None)
    with pytest.raises(Stop, match=r"Consumer\.getmany\(timeout\)"):
        driver.check_private_names()


def test_a_field_that_a_constructor_no_longer_sets_is_named(monkeypatch):
    monkeypatch.setattr(driver.GroupCoordinator, "__init__", lambda self: None)
    with pytest.raises(Stop, match=r"GroupCoordinator\.member_id"):
        driver.check_private_names()


def test_each_private_method_is_checked_that_we_override():
    """A method that Faust renames would otherwise be dead code here, silently."""
    checked = {name for _, name, _ in driver._PRIVATE_NAMES}
    for ours in (driver.Consumer, driver.ConsumerThread):
        for name, function in vars(ours).items():
            overrides = any(name in vars(parent) for parent in ours.__mro__[1:])
            if inspect.isfunction(function) and overrides and name != "__init__":
                assert name in checked


class Connection:
    """In place of aiokafka's consumer: starts once the errors that it is given are used up."""

    def __init__(self, errors: list[Exception]) -> None:
        self._errors = errors
        self.is_open = False

    async def start(self) -> None:
        self.is_open = True
        if self._errors:
            raise self._errors.pop(0)

    async def stop(self) -> None:
        self.is_open = False


def start_thread(
    process: Process, loop: asyncio.AbstractEventLoop, errors: list[Exception]
) -> list[Connection]:
    """Start a real thread's consumer, in the loop of the test; return every connection that it made."""
    connections: list[Connection] = []

    def connect(**_: Any) -> Connection:
        connections.append(Connection(errors))
        return connections[-1]

    thread = process.consumer._new_consumer_thread()
    thread.thread_loop.close()
    thread._create_consumer = connect
    thread.sleep = fake_kafka.do_nothing
    loop.run_until_complete(thread.on_start())
    return connections


def test_a_worker_that_begins_while_the_broker_resets_its_connections_waits(process, loop):
    connections = start_thread(process, loop, [KafkaConnectionError("reset"), RequestTimedOutError()])
    assert [each.is_open for each in connections] == [False, False, True]


def test_a_worker_whose_broker_refuses_it_for_good_does_not_wait(process, loop):
    with pytest.raises(TopicAuthorizationFailedError):
        start_thread(process, loop, [TopicAuthorizationFailedError("errata.predictions")])


def test_a_run_holds_the_records_as_they_came(process, broker, loop):
    broker.append(PARTITIONS[1], gap=3, n=2)
    (message,) = loop.run_until_complete(process.fetch())
    run = message.run
    assert (run.topic, run.partition, run.first_offset, run.next_offset, run.topic_id) == (
        FEEDBACK,
        1,
        0,
        5,
        "id",
    )
    assert [(each.offset, each.key, each.value, each.timestamp_ms) for each in run.records] == [
        (3, b"k", b"0123456789", 1_700_000_000_000),
        (4, b"k", b"0123456789", 1_700_000_000_000),
    ]


def test_a_paused_partition_is_ours_but_not_read_while_its_neighbour_is(process, broker, database, loop):
    for partition in PARTITIONS:
        broker.append(partition, gap=0, n=4)
    database.paused = {PARTITIONS[0]}
    process.consumer.start_anew()
    (message,) = loop.run_until_complete(process.fetch())
    assert message.run.partition == 1
    assert process.consumer.assignment() == {TP(*each) for each in PARTITIONS}
    assert loop.run_until_complete(process.fetch()) == []


def test_a_partition_that_may_go_on_is_read_from_where_the_database_is(process, broker, database, loop):
    broker.append(PARTITIONS[0], gap=0, n=4)
    database.paused = {PARTITIONS[0]}
    process.consumer.start_anew()
    assert loop.run_until_complete(process.fetch()) == []
    database.paused = set()
    assert loop.run_until_complete(process.fetch()) == []
    process.consumer._paused_read -= 60
    assert [each.run.first_offset for each in loop.run_until_complete(process.fetch())] == [0]


def test_the_lag_is_told_and_a_broker_that_answers_nothing_new_gives_no_sign_of_life(
    process, broker, loop, monkeypatch
):
    lags, answers = [], []
    monkeypatch.setattr(process.consumer.transport, "on_lags", lags.append)
    monkeypatch.setattr(process.consumer.transport, "on_answer", lambda: answers.append(1))
    broker.append(PARTITIONS[0], gap=0, n=6)
    loop.run_until_complete(process.fetch())
    assert lags == [{PARTITIONS[0]: 6, PARTITIONS[1]: 0}]
    process.thread.positions = dict.fromkeys(PARTITIONS, 6)
    n_answers = len(answers)
    for _ in range(3):
        process.consumer._marks_read = 0.0
        assert loop.run_until_complete(process.fetch()) == []
    assert len(answers) == n_answers


def test_runs_of_a_partition_form_a_chain_across_gaps(process, broker, loop):
    for gap in (0, 5, 2):
        broker.append(PARTITIONS[0], gap, n=4)
    runs = [loop.run_until_complete(process.fetch())[0].run for _ in range(3)]
    assert [(each.first_offset, each.next_offset) for each in runs] == [(0, 4), (4, 13), (13, 19)]


def test_reading_starts_where_the_database_says_whatever_kafka_says(loop, broker, database):
    broker.append(PARTITIONS[0], gap=0, n=8)
    broker.committed[PARTITIONS[0]] = 8
    database.next_offsets[PARTITIONS[0]] = 5
    process = Process(broker, database)
    loop.run_until_complete(process.assign(PARTITIONS))
    (message,) = loop.run_until_complete(process.fetch())
    assert (message.run.first_offset, message.run.next_offset) == (5, 8)


def test_a_database_restored_from_backup_is_filled_up_again(process, broker, database, loop):
    broker.append(PARTITIONS[0], gap=0, n=4)
    (message,) = loop.run_until_complete(process.fetch())
    database.store(message.run)
    process.consumer.run_stored(message)
    loop.run_until_complete(process.consumer.commit())
    assert broker.committed == {PARTITIONS[0]: 4}
    restored = Database()
    process = Process(broker, restored)
    loop.run_until_complete(process.assign(PARTITIONS))
    (message,) = loop.run_until_complete(process.fetch())
    assert (message.run.first_offset, message.run.next_offset) == (0, 4)


def test_a_database_restored_while_the_worker_runs_is_filled_up_again(process, broker, database, loop):
    broker.append(PARTITIONS[0], gap=0, n=12)
    for _ in range(2):
        (message,) = loop.run_until_complete(process.fetch())
        database.store(message.run)
        process.consumer.run_stored(message)
    database.next_offsets[PARTITIONS[0]] = 4
    (message,) = loop.run_until_complete(process.fetch())
    assert message.run.first_offset == 8
    process.consumer.run_behind(message)
    (message,) = loop.run_until_complete(process.fetch())
    assert (message.run.first_offset, message.run.next_offset) == (4, 8)


def test_a_database_restored_while_nothing_comes_is_filled_up_again(process, broker, database, loop):
    broker.append(PARTITIONS[0], gap=0, n=4)
    (message,) = loop.run_until_complete(process.fetch())
    database.store(message.run)
    process.consumer.run_stored(message)
    database.next_offsets[PARTITIONS[0]] = 2
    assert loop.run_until_complete(process.fetch()) == []
    process.consumer._quiet_since -= 60
    (message,) = loop.run_until_complete(process.fetch())
    assert (message.run.first_offset, message.run.next_offset) == (2, 4)


def test_a_run_from_before_a_new_start_asks_for_no_other_one(process, broker, loop):
    broker.append(PARTITIONS[0], gap=0, n=8)
    early = [loop.run_until_complete(process.fetch())[0] for _ in range(2)]
    process.consumer.run_behind(early[0])
    (message,) = loop.run_until_complete(process.fetch())
    process.consumer.run_behind(early[1])
    (following,) = loop.run_until_complete(process.fetch())
    assert (message.run.first_offset, following.run.first_offset) == (0, 4)


def test_only_the_first_run_of_a_partition_begins_it(process, broker, database, loop):
    broker.append(PARTITIONS[0], gap=5, n=8)
    runs = [loop.run_until_complete(process.fetch())[0].run for _ in range(2)]
    assert [run.begins for run in runs] == [True, False]
    database.next_offsets[PARTITIONS[0]] = 9
    loop.run_until_complete(process.assign(PARTITIONS))
    assert not loop.run_until_complete(process.fetch())[0].run.begins


def test_partitions_that_are_added_are_read_from_their_beginning(process, broker, database, loop):
    """The broker's news of them makes Faust's group take on another assignment, and no more."""
    loop.run_until_complete(process.assign(PARTITIONS[:1]))
    broker.append(PARTITIONS[0], gap=0, n=4)
    database.store(loop.run_until_complete(process.fetch())[0].run)
    broker.append(PARTITIONS[1], gap=0, n=4)
    loop.run_until_complete(process.assign(PARTITIONS))
    (message,) = loop.run_until_complete(process.fetch())
    run = message.run
    assert (run.partition, run.first_offset, run.next_offset, run.begins) == (1, 0, 4, True)


def test_only_run_stored_makes_an_offset_committable(process, broker, loop):
    broker.append(PARTITIONS[0], gap=0, n=4)
    (message,) = loop.run_until_complete(process.fetch())
    message.incref()
    assert not message.ack(process.consumer)
    process.consumer.run_given_up(message)
    loop.run_until_complete(process.consumer.commit())
    assert broker.committed == {}
    assert process.consumer.run_stored(message)
    loop.run_until_complete(process.consumer.commit())
    assert broker.committed == {PARTITIONS[0]: 4}


def test_a_run_that_is_given_up_is_read_again_though_its_partition_stays(process, broker, loop):
    broker.append(PARTITIONS[0], gap=0, n=4)
    (message,) = loop.run_until_complete(process.fetch())
    process.consumer.run_given_up(message)
    (again,) = loop.run_until_complete(process.fetch())
    assert (again.run.first_offset, again.run.next_offset) == (0, 4)


def test_a_commit_that_kafka_refuses_is_made_again(process, broker, loop):
    broker.append(PARTITIONS[0], gap=0, n=4)
    process.consumer.run_stored(loop.run_until_complete(process.fetch())[0])
    process.thread.commits_fail = True
    loop.run_until_complete(process.consumer.commit())
    process.thread.commits_fail = False
    loop.run_until_complete(process.consumer.commit())
    assert broker.committed == {PARTITIONS[0]: 4}


def test_fetching_waits_while_too_many_bytes_are_in_flight(loop, broker, database):
    settings = Settings(worker=Worker(bytes_in_flight=44))  # One run: four records of a key and ten bytes.
    process = Process(broker, database, settings)
    loop.run_until_complete(process.assign(PARTITIONS))
    broker.append(PARTITIONS[0], gap=0, n=8)
    (first,) = loop.run_until_complete(process.fetch())
    assert loop.run_until_complete(process.fetch()) == []
    process.consumer.run_stored(first)
    (second,) = loop.run_until_complete(process.fetch())
    assert second.run.first_offset == 4


def test_waiting_for_room_ends_as_soon_as_there_is_room(loop, broker, database):
    process = Process(broker, database, Settings(worker=Worker(bytes_in_flight=44)))
    loop.run_until_complete(process.assign(PARTITIONS))
    broker.append(PARTITIONS[0], gap=0, n=8)

    async def fetch_while_finishing() -> list[RunMessage]:
        (first,) = await process.fetch()
        asyncio.get_running_loop().call_later(0.01, process.consumer.run_stored, first)
        return [message async for _, message in process.consumer.getmany(timeout=60)]

    (second,) = loop.run_until_complete(fetch_while_finishing())
    assert second.run.first_offset == 4


def test_partitions_take_turns_in_being_first(process, broker, loop):
    for partition in PARTITIONS:
        broker.append(partition, gap=0, n=8)
    firsts = [loop.run_until_complete(process.fetch())[0].partition for _ in range(2)]
    assert sorted(firsts) == [0, 1]


def test_what_was_drained_while_the_flow_stopped_is_read_again(process, broker, database, loop):
    """Fetched, but not handed out, because a rebalance had begun in between."""
    broker.append(PARTITIONS[0], gap=0, n=4)

    async def stop_flow_during_fetch() -> list[RunMessage]:
        fetching = asyncio.ensure_future(process.fetch())
        while not process.thread.positions.get(PARTITIONS[0]):
            await asyncio.sleep(0)
        process.consumer.stop_flow()
        return await fetching

    assert loop.run_until_complete(stop_flow_during_fetch()) == []
    process.consumer.resume_flow()
    (message,) = loop.run_until_complete(process.fetch())
    assert (message.run.first_offset, message.run.next_offset) == (0, 4)


def test_what_was_drained_while_a_new_start_was_asked_for_is_read_again(process, broker, database, loop):
    """Faust can ask for it with the flow going on, when one rebalance follows another."""
    broker.append(PARTITIONS[0], gap=0, n=8)

    async def ask_during_fetch() -> list[RunMessage]:
        fetching = asyncio.ensure_future(process.fetch())
        while not process.thread.positions.get(PARTITIONS[0]):
            await asyncio.sleep(0)
        database.next_offsets[PARTITIONS[0]] = 2
        await process.consumer.perform_seek()
        return await fetching

    assert loop.run_until_complete(ask_during_fetch()) == []
    assert loop.run_until_complete(process.fetch())[0].run.first_offset == 2


def test_kafka_follows_the_database_back(process, broker, database, loop):
    broker.append(PARTITIONS[0], gap=0, n=8)
    for _ in range(2):
        process.consumer.run_stored(loop.run_until_complete(process.fetch())[0])
    loop.run_until_complete(process.consumer.commit())
    assert broker.committed == {PARTITIONS[0]: 8}
    loop.run_until_complete(
        process.assign(PARTITIONS)
    )  # The database says nothing of this partition any more.
    process.consumer.run_stored(loop.run_until_complete(process.fetch())[0])
    loop.run_until_complete(process.consumer.commit())
    assert broker.committed == {PARTITIONS[0]: 4}


def test_faust_hands_on_what_is_read_for_the_second_time(process, broker, loop):
    """Its fetch loop drops messages whose offset is below the last one it saw."""
    broker.append(PARTITIONS[0], gap=0, n=8)

    async def drain_two() -> list[int]:
        seen: list[int] = []
        fetcher = SimpleNamespace(_stopped=asyncio.Event())

        async def take(message: RunMessage) -> None:
            seen.append(message.run.first_offset)
            if len(seen) == 2:
                fetcher._stopped.set()

        process.consumer.callback = take
        await asyncio.wait_for(process.consumer._drain_messages(fetcher), 10)
        return seen

    assert loop.run_until_complete(drain_two()) == [0, 4]
    loop.run_until_complete(process.consumer.perform_seek())
    assert loop.run_until_complete(drain_two()) == [0, 4]


def test_what_a_cancelled_fetch_took_out_is_read_again(process, broker, loop):
    """Its thread goes on and takes records out that reach nobody."""
    broker.append(PARTITIONS[0], gap=0, n=8)
    loop.run_until_complete(process.thread.getmany({TP(*PARTITIONS[0])}, 0))
    assert loop.run_until_complete(process.fetch())[0].run.first_offset == 0


def test_records_taken_by_nobody_between_two_fetches_are_read_again(process, broker, loop):
    broker.append(PARTITIONS[0], gap=0, n=12)
    (first,) = loop.run_until_complete(process.fetch())
    loop.run_until_complete(process.thread.getmany({TP(*PARTITIONS[0])}, 0))
    assert loop.run_until_complete(process.fetch()) == []
    process.consumer.run_stored(first)
    assert loop.run_until_complete(process.fetch())[0].run.first_offset == 0


def test_offsets_that_go_back_stop_the_worker(process, broker, loop):
    """The log was truncated, or the topic created again with a broker that gives topics no ids."""
    broker.append(PARTITIONS[0], gap=0, n=4)
    loop.run_until_complete(process.fetch())
    process.thread.positions[PARTITIONS[0]] = 0
    with pytest.raises(Stop, match=r"offsets of errata\.feedback/0 went back from 4 to 0"):
        loop.run_until_complete(process.fetch())


def test_a_topic_that_was_created_again_is_refused():
    with pytest.raises(Stop, match=r"errata\.feedback was deleted and created again"):
        choose_positions(PARTITIONS, {PARTITIONS[0]: (7, "old")}, {FEEDBACK: "new"})


@pytest.mark.parametrize(("stored_id", "broker_id"), [("", "new"), ("old", ""), ("same", "same")])
def test_a_topic_is_accepted_when_its_id_agrees_or_nobody_knows_it(stored_id, broker_id):
    positions = choose_positions(PARTITIONS, {PARTITIONS[0]: (7, stored_id)}, {FEEDBACK: broker_id})
    assert positions.next_offsets == {PARTITIONS[0]: 7, PARTITIONS[1]: None}
    assert positions.topic_ids == {FEEDBACK: broker_id}


def test_records_that_kafka_deleted_before_they_were_stored_are_reported(loop, caplog):
    """The chain goes on from the stored position all the same, or else every store would see a hole for ever."""
    sought: dict[tuple[str, int], int] = {}
    paused, resumed = [], []

    class Client:
        async def beginning_offsets(self, partitions):
            return dict.fromkeys(partitions, 100)

        def seek(self, partition, offset):
            sought[partition] = offset

        def pause(self, partition):
            paused.append(partition)

        def resume(self, partition):
            resumed.append(partition)

    thread = SimpleNamespace(_ensure_consumer=Client, log=logging.getLogger("driver"), drains=3)
    positions = {PARTITIONS[0]: 40, PARTITIONS[1]: None}
    assert loop.run_until_complete(driver.ConsumerThread._move_to(thread, positions, {PARTITIONS[1]})) == (
        {PARTITIONS[0]: 40, PARTITIONS[1]: 100},
        3,
    )
    assert sought == {PARTITIONS[0]: 100, PARTITIONS[1]: 100}
    assert (paused, resumed) == ([PARTITIONS[1]], [PARTITIONS[0]])
    assert "records 40 to 99 of errata.feedback/0 were deleted by Kafka's retention" in caplog.text


class ConsumerHistory(RuleBasedStateMachine):
    """The real consumer through everything that happens to it; the log has gaps, the database may be away."""

    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.broker, self.database = Broker(PARTITIONS), Database()
        self.handed_out: list[RunMessage] = []
        self.stored: list[RunMessage] = []
        self.start_process(PARTITIONS)

    def start_process(self, partitions):
        self.process = Process(self.broker, self.database)
        self.handed_out, self.stored = [], []
        self.loop.run_until_complete(self.process.assign(partitions))

    @rule(partition=st.sampled_from(PARTITIONS), gap=st.integers(0, 3), n=st.integers(1, 6))
    def produce(self, partition, gap, n):
        self.broker.append(partition, gap, n)

    @rule()
    def fetch(self):
        self.handed_out += self.loop.run_until_complete(self.process.fetch())

    @rule(take=st.integers(0, 1))
    def leave_a_fetch_early(self, take):
        async def fetch_some() -> list[RunMessage]:
            messages: list[RunMessage] = []
            fetching: AsyncIterator[Any] = self.process.consumer.getmany(timeout=0.01)
            while len(messages) < take:
                try:
                    messages.append((await anext(fetching))[1])
                except StopAsyncIteration:
                    break
            else:
                if take:
                    await fetching.aclose()
            return messages

        self.handed_out += self.loop.run_until_complete(fetch_some())

    @rule()
    def cancel_a_fetch_whose_thread_goes_on(self):
        self.loop.run_until_complete(self.process.thread.getmany(self.process.thread.assignment(), 0))

    @precondition(lambda self: self.handed_out)
    @rule(data=st.data())
    def store(self, data):
        """An agent takes the next run of its partition; runs from before a rebalance may still be among them."""
        self.store_next(data.draw(st.sampled_from(sorted({each.partition for each in self.handed_out}))))

    def store_next(self, partition):
        message = next(each for each in self.handed_out if each.partition == partition)
        self.handed_out.remove(message)
        self.database.store(message.run)
        self.stored.append(message)

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def finish_any(self, data):
        message = data.draw(st.sampled_from(self.stored))
        self.stored.remove(message)
        self.process.consumer.run_stored(message)

    @rule(partitions=st.sets(st.sampled_from(PARTITIONS)), in_progress=st.integers(0, 2))
    def rebalance(self, partitions, in_progress):
        """Queues are cleared; what agents have in hand (the oldest runs) is stored and finished late."""
        self.handed_out = self.handed_out[:in_progress]
        self.loop.run_until_complete(self.process.assign(partitions))

    @rule()
    def kill(self):
        self.start_process(PARTITIONS)

    @rule()
    def lose_or_find_the_database(self):
        self.database.is_available = not self.database.is_available

    @rule(fail=st.booleans())
    def commit(self, fail):
        self.process.thread.commits_fail = fail
        self.loop.run_until_complete(self.process.consumer.commit())

    @invariant()
    def everything_below_a_committed_offset_is_stored(self):
        for partition, committed in self.broker.committed.items():
            below = [each for each in self.broker.offsets[partition] if each < committed]
            assert set(below) <= set(self.database.stored[partition])

    @invariant()
    def nothing_is_stored_twice_or_out_of_order(self):
        for stored in self.database.stored.values():
            assert stored == sorted(set(stored))

    def teardown(self):
        """Progress: left alone, everything is stored and committed."""
        if not hasattr(self, "process"):
            return
        self.database.is_available = True
        self.process.thread.commits_fail = False
        self.loop.run_until_complete(self.process.assign(PARTITIONS))
        self.handed_out = []
        for _ in range(100):
            self.fetch()
            while self.handed_out:
                self.store_next(self.handed_out[0].partition)
            while self.stored:
                self.process.consumer.run_stored(self.stored.pop())
        assert self.database.stored == self.broker.offsets
        self.loop.run_until_complete(self.process.consumer.commit())
        for partition, offsets in self.broker.offsets.items():
            if partition in self.broker.committed:
                assert self.broker.committed[partition] == offsets[-1] + 1
        self.loop.close()
        asyncio.set_event_loop(None)


ConsumerHistory.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestConsumerHistory = ConsumerHistory.TestCase
