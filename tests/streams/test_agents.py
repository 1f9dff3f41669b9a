import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from errata.errors import Behind, Stop, Unavailable
from errata.topics import FEEDBACK, PREDICTIONS
from streams.agents import EXIT_BROKEN, Storing, store_runs
from streams.driver import FetchedRecord, FetchedRun, Positions
from streams.metrics import Metrics
from streams.progress import Progress

RUN = FetchedRun(
    FEEDBACK, 1, 40, 42, (FetchedRecord(40, 0, None, b"a", ()), FetchedRecord(41, 0, None, b"b", ())), "id"
)


class Consumer:
    """In place of streams.driver.Consumer: notes what became of each message."""

    def __init__(self) -> None:
        self.flow_active = True
        self.done: list[FetchedRun] = []
        self.given_up: list[FetchedRun] = []
        self.behind: list[FetchedRun] = []
        self.starts = 0

    def drain(self):
        self.flow_active = False

    def run_stored(self, message):
        self.done.append(message.run)
        return True

    def run_given_up(self, message):
        self.given_up.append(message.run)

    def run_behind(self, message):
        self.behind.append(message.run)

    def start_anew(self):
        self.starts += 1


class Exits(list[int]):
    """In place of os._exit: notes the status."""

    def __call__(self, status: int) -> None:
        self.append(status)


@pytest.fixture
def consumer():
    return Consumer()


@pytest.fixture
def exits():
    return Exits()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def make_storing(metrics, exits):
    made: list[Storing] = []

    def make(
        store_run, *, stored_positions=lambda _: {}, topic_ids=lambda _: {}, drain_seconds=0.0, n_threads=1
    ):
        storing = Storing(
            store_run,
            stored_positions,
            lambda: [(FEEDBACK, 7)],
            topic_ids,
            n_threads=n_threads,
            drain_seconds=drain_seconds,
            metrics=metrics,
            progress=Progress(),
            end_process=exits,
            rng=random.Random(0),
        )
        made.append(storing)
        return storing

    yield make
    for storing in made:
        storing.close()


def events(*runs: FetchedRun, alive: bool = True) -> AsyncIterator[SimpleNamespace]:
    async def each() -> AsyncIterator[SimpleNamespace]:
        for run in runs:
            yield SimpleNamespace(message=SimpleNamespace(run=run, entry=SimpleNamespace(alive=alive)))

    return each()


def failing(times: int, error: Exception, then=lambda _: None, at_first=lambda: None):
    """A store_run that raises `error` so many times, and then works; what comes before is `at_first`."""
    left = [times]

    def store_run(run):
        if left[0]:
            if left[0] == times:
                at_first()
            left[0] -= 1
            raise error
        then(run)

    return store_run


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_a_run_is_finished_after_it_is_stored(make_storing, consumer, metrics):
    stored = []
    storing = make_storing(lambda run: stored.append((run, list(consumer.done))))
    asyncio.run(store_runs(events(RUN, RUN), consumer, storing))
    assert stored == [(RUN, []), (RUN, [RUN])]
    assert consumer.done == [RUN, RUN]
    assert value(metrics.registry, "errata_records_consumed_total", topic=FEEDBACK) == 4
    assert value(metrics.registry, "errata_storing_seconds_count") == 2


def test_runs_of_different_partitions_are_stored_at_the_same_time(make_storing, consumer):
    both = threading.Barrier(2, timeout=10)
    storing = make_storing(lambda _: both.wait() < 0, n_threads=2)
    other = replace(RUN, partition=2)
    asyncio.run(store_runs(events(RUN, other), consumer, storing))
    assert {run.partition for run in consumer.done} == {1, 2}


def test_runs_of_one_partition_number_take_turns_in_the_order_in_which_they_came(make_storing, consumer):
    """Of both topics, which share a shard in the database."""
    at_work, orders = set(), []

    def store_run(run):
        assert not at_work
        at_work.add(run.topic)
        time.sleep(0.002)
        at_work.remove(run.topic)
        orders.append(run.first_offset)

    storing = make_storing(store_run, n_threads=3)
    runs = [
        replace(RUN, topic=topic, first_offset=offset)
        for offset, topic in enumerate([FEEDBACK, PREDICTIONS] * 20)
    ]
    asyncio.run(store_runs(events(*runs), consumer, storing))
    assert orders == list(range(40))
    assert consumer.done == runs


def test_what_waits_behind_a_run_that_the_database_is_behind_of_is_not_stored(make_storing, consumer):
    stored = []

    def store_run(run):
        stored.append(run)
        if len(stored) == 1:
            raise Behind("stored up to 30 only")

    entry = SimpleNamespace(alive=True)

    async def each():
        for run in (RUN, replace(RUN, first_offset=42)):
            yield SimpleNamespace(message=SimpleNamespace(run=run, entry=entry))

    class Forgetful(Consumer):
        def run_behind(self, message):
            super().run_behind(message)
            entry.alive = False

    consumer = Forgetful()
    asyncio.run(store_runs(each(), consumer, make_storing(store_run, n_threads=3)))
    assert stored == [RUN]
    assert [run.first_offset for run in consumer.given_up] == [42]


def test_an_agent_that_is_stopped_lets_go_of_what_it_stores(make_storing, consumer):
    begun, answered = threading.Event(), threading.Event()

    def store_run(_):
        begun.set()
        answered.wait(20)

    async def stop_while_storing():
        agent = asyncio.create_task(store_runs(events(RUN, RUN), consumer, make_storing(store_run)))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        agent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await agent
        answered.set()

    asyncio.run(stop_while_storing())
    assert consumer.done == []


def test_everything_that_touches_the_database_runs_in_the_threads_for_it(make_storing, consumer):
    threads = set()

    def note_thread(_):
        threads.add(threading.current_thread())
        return {}

    storing = make_storing(note_thread, stored_positions=note_thread, topic_ids=note_thread)

    async def read_and_store():
        await storing.read_positions([(FEEDBACK, 1)])
        await store_runs(events(RUN, RUN), consumer, storing)

    asyncio.run(read_and_store())
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_an_unavailable_database_is_tried_again_and_mentioned_once(make_storing, consumer, caplog, exits):
    storing = make_storing(failing(3, Unavailable("the database does not answer")))
    with caplog.at_level(logging.WARNING):
        asyncio.run(store_runs(events(RUN), consumer, storing))
    assert consumer.done == [RUN]
    assert exits == []
    assert [each.getMessage() for each in caplog.records if "does not answer" in each.getMessage()] == [
        "waiting, nothing is lost: the database does not answer"
    ]
    assert "going on after" in caplog.text


def test_the_time_of_waiting_is_told_until_it_is_over(make_storing, consumer, metrics):
    name, seen = "errata_database_unavailable_seconds", []
    storing = make_storing(
        failing(2, Unavailable("away"), then=lambda _: seen.append(value(metrics.registry, name)))
    )
    asyncio.run(store_runs(events(RUN), consumer, storing))
    assert seen[0] > 0
    assert value(metrics.registry, name) == 0


@pytest.mark.parametrize("error", [Stop("the schema is older than this program"), ZeroDivisionError("a bug")])
def test_any_other_error_ends_the_process_and_finishes_nothing(make_storing, consumer, exits, caplog, error):
    storing = make_storing(failing(1, error))
    asyncio.run(store_runs(events(RUN), consumer, storing))
    assert exits == [EXIT_BROKEN]
    assert consumer.done == []
    assert str(error) in caplog.text
    assert "Traceback" in caplog.text
    assert "errata.feedback/1 offsets 40 to 41" in caplog.text


def test_when_draining_an_unavailable_database_is_given_up(make_storing, consumer, exits, metrics):
    def store_run(_):
        consumer.flow_active = False
        raise Unavailable("away")

    asyncio.run(store_runs(events(RUN), consumer, make_storing(store_run)))
    assert consumer.done == []
    assert consumer.given_up == [RUN]
    assert exits == []
    assert value(metrics.registry, "errata_fetched_runs_given_up_total") == 1


def test_when_draining_a_transaction_that_hangs_is_given_up(make_storing, consumer):
    answered = threading.Event()

    def store_run(_):
        consumer.flow_active = False
        answered.wait(20)

    async def store_and_then_answer():
        await store_runs(events(RUN), consumer, make_storing(store_run))
        answered.set()

    asyncio.run(store_and_then_answer())
    assert consumer.done == []
    assert consumer.given_up == [RUN]


def test_when_draining_a_transaction_in_time_is_finished(make_storing, consumer):
    def store_run(_):
        consumer.flow_active = False

    asyncio.run(store_runs(events(RUN), consumer, make_storing(store_run, drain_seconds=5.0)))
    assert consumer.done == [RUN]


def test_when_draining_the_database_may_come_back_in_time(make_storing, consumer):
    storing = make_storing(failing(2, Unavailable("away"), at_first=consumer.drain), drain_seconds=30.0)
    asyncio.run(store_runs(events(RUN), consumer, storing))
    assert consumer.done == [RUN]


def test_a_database_that_is_behind_is_told_to_the_consumer_and_the_worker_goes_on(
    make_storing, consumer, exits, caplog
):
    storing = make_storing(failing(1, Behind("stored up to 30 only")))
    asyncio.run(store_runs(events(RUN, RUN), consumer, storing))
    assert consumer.behind == [RUN]
    assert consumer.done == [RUN]
    assert exits == []
    assert "reading again from where the database is: stored up to 30 only" in caplog.text


def test_a_partition_that_is_to_be_paused_is_told_to_the_consumer_after_its_run_was_stored(
    make_storing, consumer
):
    asyncio.run(store_runs(events(RUN), consumer, make_storing(lambda _: True)))
    assert (consumer.done, consumer.starts) == ([RUN], 1)


def test_a_run_that_will_be_read_again_is_not_stored(make_storing, consumer):
    stored = []
    asyncio.run(store_runs(events(RUN, alive=False), consumer, make_storing(stored.append)))
    assert (stored, consumer.done, consumer.given_up) == ([], [], [RUN])


def test_what_is_paused_is_asked_for_again(make_storing):
    paused = asyncio.run(make_storing(lambda _: None).read_paused())
    assert paused == {(FEEDBACK, 7)}


def test_when_draining_only_what_is_being_stored_is_waited_for(make_storing, consumer):
    """Or else a group would form only after all runs that a member has in hand are stored, one after another."""
    attempts = []

    def store_run(run):
        attempts.append(run)
        consumer.drain()

    storing = make_storing(store_run, drain_seconds=30.0)
    asyncio.run(store_runs(events(*[RUN] * 10), consumer, storing))
    assert (attempts, consumer.done, consumer.given_up) == ([RUN], [RUN], [RUN] * 9)


def test_the_time_for_draining_begins_anew_when_the_flow_has_gone_on(make_storing, consumer):
    storing = make_storing(failing(2, Unavailable("away"), at_first=consumer.drain), drain_seconds=30.0)
    storing._patience._draining_since = storing._monotonic() - 60
    asyncio.run(store_runs(events(RUN), consumer, storing))
    assert consumer.done == [RUN]


def test_positions_are_the_stored_ones_with_the_topics_of_the_broker(make_storing):
    storing = make_storing(
        lambda _: None,
        stored_positions=lambda partitions: dict.fromkeys(partitions[:1], (40, "id")),
        topic_ids=lambda topics: dict.fromkeys(topics, "id"),
    )
    positions = asyncio.run(storing.read_positions({(FEEDBACK, 2), (FEEDBACK, 1)}))
    assert positions == Positions(
        {(FEEDBACK, 1): 40, (FEEDBACK, 2): None}, {FEEDBACK: "id"}, frozenset({(FEEDBACK, 7)})
    )


def test_positions_of_a_topic_created_again_end_the_process(make_storing, exits):
    storing = make_storing(
        lambda _: None,
        stored_positions=lambda partitions: {partitions[0]: (40, "old")},
        topic_ids=lambda _: {FEEDBACK: "new"},
    )
    with pytest.raises(Stop, match="created again"):
        asyncio.run(storing.read_positions([(FEEDBACK, 1)]))
    assert exits == [EXIT_BROKEN]


def test_positions_that_cannot_be_read_now_are_asked_for_again_by_the_caller(make_storing, exits):
    def away(_):
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        asyncio.run(make_storing(lambda _: None, stored_positions=away).read_positions([(FEEDBACK, 1)]))
    assert exits == []
