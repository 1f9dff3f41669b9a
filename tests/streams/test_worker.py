"""The worker as a process, against a real broker. Joining a group takes about 4 s there, so there are few of these."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from bench.chaos.proxy import Proxy
from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.settings import Broker, Settings, Worker
from errata.topics import EVENT_TOPICS, FEEDBACK, PREDICTIONS, ensure_topics
from tests.servers import free_port, running_broker

PROGRAM = Path(__file__).with_name("storing_worker.py")
ROOT = Path(__file__).parents[2]


class Running:
    """A worker process, and what it has stored so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def start(store: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts workers in an empty directory; those that still run at the end are killed."""
    workers: list[Running] = []
    (directory := tmp_path / "cwd").mkdir()

    def start_worker(settings: Settings, **environ: str) -> Running:
        log = tmp_path / f"worker-{len(workers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(store), msgspec.json.encode(settings).decode()],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        workers.append(Running(process, log))
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


def settings_for(bootstrap: str, **worker: object) -> Settings:
    return Settings(
        broker=Broker(
            bootstrap=bootstrap, partitions=2, session_timeout_seconds=6.0, rebalance_timeout_seconds=6.0
        ),
        worker=Worker(**{"metrics_port": 0, "batch_records": 50, **worker}),
    )


@contextmanager
def producing(bootstrap: str) -> Iterator[Callable[[int], None]]:
    """Yields a function that sends so many more records, evenly to the topics, and waits until they are accepted."""
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    sent = [0]

    def send(n: int) -> None:
        for number in range(sent[0], sent[0] + n):
            topic = EVENT_TOPICS[number % len(EVENT_TOPICS)]
            producer.send(topic, key=str(number).encode(), value=str(number).encode(), headers=[("n", b"1")])
        producer.flush()
        sent[0] += n

    try:
        yield send
    finally:
        producer.close()


def stored_numbers(store: Path) -> list[int]:
    """Every stored record, by the number it was sent with; a repeated number was stored twice."""
    if not store.exists():
        return []
    with sqlite3.connect(store, timeout=20) as connection:
        try:
            rows = connection.execute("SELECT value FROM record").fetchall()
        except sqlite3.OperationalError:  # No table yet.
            rows = []
    connection.close()
    return sorted(int(value) for (value,) in rows)


def wait_until(condition: Callable[[], bool], *workers: Running, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (
            "waited in vain; the last worker said:\n" + workers[-1].log()[-4000:]
        )
        time.sleep(0.05)


def committed(bootstrap: str, group: str) -> int:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        return sum(each.offset for each in admin.list_group_offsets(group)[group].values())
    finally:
        admin.close()


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def listening_ports(pid: int) -> set[int]:
    """The TCP ports on which a process waits for connections."""
    sockets = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # Closed meanwhile.
            sockets.add(str(each.readlink()))
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    listening = "0A"
    return {
        int(line[1].rpartition(":")[2], 16)
        for line in lines
        if line[3] == listening and f"socket:[{line[9]}]" in sockets
    }


def test_everything_is_stored_once_and_told_to_kafka_and_sigterm_ends_quickly(
    fresh_broker, start, store, tmp_path
):
    port = free_port()
    settings = settings_for(fresh_broker, metrics_port=port)
    ensure_topics(settings.broker)
    with producing(fresh_broker) as send:
        send(1500)
        worker = start(settings)
        wait_until(lambda: len(stored_numbers(store)) >= 1500, worker)
        send(1500)
        wait_until(lambda: len(stored_numbers(store)) >= 3000, worker)
    assert stored_numbers(store) == list(range(3000))
    wait_until(lambda: committed(fresh_broker, settings.worker.group) == 3000, worker)
    assert f'errata_records_consumed_total{{topic="{PREDICTIONS}"}} 1000.0' in get(port, "/metrics")
    assert get(port, "/healthz") == "ok\n"
    assert listening_ports(worker.process.pid) == {port}, "Faust's own web server is to be off"
    assert store.with_suffix(".tick").exists(), "the timer did not run"
    asked = time.monotonic()
    assert worker.end() == 0
    assert time.monotonic() - asked < 8
    assert list((tmp_path / "cwd").iterdir()) == []


def test_nothing_is_lost_or_doubled_when_workers_join_and_are_killed(fresh_broker, start, store):
    """One compiled, one pure Python: Faust has both ways to acknowledge."""
    settings = settings_for(fresh_broker)
    ensure_topics(settings.broker)
    store.with_suffix(".slow").touch()
    with producing(fresh_broker) as send:
        send(3000)
        first = start(settings)
        wait_until(lambda: len(stored_numbers(store)) > 300, first)
        second = start(settings, NO_CYTHON="1")
        wait_until(lambda: "Successfully synced group" in second.log(), second)
        send(3000)
        first.end(signal.SIGKILL)
        store.with_suffix(".slow").unlink()
        wait_until(lambda: len(stored_numbers(store)) >= 6000, second)
        second.end(signal.SIGKILL)
        send(300)
        third = start(settings)
        wait_until(lambda: len(stored_numbers(store)) >= 6300, third)
    assert stored_numbers(store) == list(range(6300))


def test_a_worker_without_its_database_waits_and_still_ends_when_asked(fresh_broker, start, store):
    settings = settings_for(fresh_broker, drain_seconds=0.5)
    ensure_topics(settings.broker)
    store.with_suffix(".unavailable").touch()
    with producing(fresh_broker) as send:
        send(300)
        worker = start(settings)
        wait_until(lambda: "waiting, nothing is lost: the store is away" in worker.log(), worker)
        asked = time.monotonic()
        assert worker.end() == 0
        assert time.monotonic() - asked < 12
        assert stored_numbers(store) == []
        assert "gave up storing errata." in worker.log()
        store.with_suffix(".unavailable").unlink()
        worker = start(settings)
        wait_until(lambda: len(stored_numbers(store)) >= 300, worker)
    assert stored_numbers(store) == list(range(300))


def test_a_store_that_was_restored_while_the_worker_runs_is_filled_up_again(fresh_broker, start, store):
    settings = settings_for(fresh_broker)
    ensure_topics(settings.broker)
    with producing(fresh_broker) as send:
        send(300)
        worker = start(settings)
        wait_until(lambda: len(stored_numbers(store)) >= 300, worker)
        with sqlite3.connect(store, timeout=20) as connection:
            connection.execute("UPDATE position SET next_offset = 1 WHERE topic = ?", (FEEDBACK,))
            connection.execute("DELETE FROM record WHERE topic = ? AND offset >= 1", (FEEDBACK,))
        connection.close()
        send(300)
        wait_until(lambda: len(stored_numbers(store)) >= 600, worker)
        assert stored_numbers(store) == list(range(600))
        assert worker.process.poll() is None
    assert "reading again from where the database is: a hole in ('errata.feedback'" in worker.log()


def test_a_worker_whose_broker_is_gone_ends_within_seconds_when_asked(tmp_path, start, store):
    with running_broker(tmp_path) as bootstrap:
        settings = settings_for(bootstrap)
        ensure_topics(settings.broker)
        with producing(bootstrap) as send:
            send(300)
        worker = start(settings)
        wait_until(lambda: len(stored_numbers(store)) >= 300, worker)
    asked = time.monotonic()
    assert worker.end() == 0
    assert time.monotonic() - asked < 8


def test_a_worker_that_begins_while_its_connections_are_reset_waits_until_they_hold(tmp_path, start, store):
    port = free_port()
    proxy = Proxy(port)
    process = start_local_broker(port, tmp_path / "broker.log", proxy.port)
    bootstrap = f"127.0.0.1:{proxy.port}"
    try:
        wait_for_broker(bootstrap, timeout_seconds=20)
        settings = settings_for(bootstrap)
        ensure_topics(settings.broker)
        with producing(bootstrap) as send:
            send(300)
        worker = start(settings)
        until = time.monotonic() + 6
        while time.monotonic() < until:
            proxy.reset()
            time.sleep(0.005)
        assert worker.process.poll() is None, worker.log()[-4000:]
        wait_until(lambda: len(stored_numbers(store)) >= 300, worker)
        assert worker.end() == 0
    finally:
        stop_local_broker(process)
        proxy.close()


def test_a_worker_says_that_it_waits_for_the_broker_and_ends_when_asked(start):
    worker = start(settings_for(f"127.0.0.1:{free_port()}"))
    wait_until(lambda: "waiting for the broker" in worker.log(), worker)
    assert worker.end(signal.SIGINT) == 0
