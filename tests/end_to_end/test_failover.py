"""A worker that is killed is replaced long before its session ends; one that is removed though it lives joins again."""

import os
import signal
import subprocess
from collections.abc import Callable

import pytest
from kafka import KafkaProducer

from errata.command.processes import Children, errata_command, wait_until
from errata.settings import Broker
from errata.topics import VOC, ensure_topics, remove_members
from storage.ledger import read_ledger_summary
from storage.tables import intake_ledger, lifelines
from tests.servers import running_broker

PARTITIONS = 2
GROUP = "errata-intake"


@pytest.fixture
def bootstrap(tmp_path):
    with running_broker(tmp_path) as bootstrap:
        yield bootstrap


@pytest.fixture
def session_seconds():
    """A group of this broker takes half a session to form."""
    return 20


@pytest.fixture
def environ(bootstrap, database_url, db, session_seconds, tmp_path):
    (settings := tmp_path / "errata.toml").write_text(
        f"""
[broker]
bootstrap = "{bootstrap}"
partitions = {PARTITIONS}
session_timeout_seconds = {session_seconds}
rebalance_timeout_seconds = 5.0

[database]
url = "{database_url}"

[worker]
group = "{GROUP}"
metrics_port = 0
drain_seconds = 2.0
"""
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")}
    return clean | {"ERRATA_SETTINGS": str(settings)}


@pytest.fixture
def children(tmp_path, environ):
    made = Children(tmp_path / "log", environ)
    yield made
    made.stop_all()


@pytest.fixture
def send(bootstrap):
    """Sends one comment to each partition."""
    ensure_topics(Broker(bootstrap=bootstrap, partitions=PARTITIONS))
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    n_sent = 0

    def send_to_each() -> None:
        nonlocal n_sent
        for partition in range(PARTITIONS):
            n_sent += 1
            value = (
                '{"specversion":"1.0","type":"errata.voc.v1","source":"/app","time":"2026-01-23T06:30:00Z",'
                f'"id":"0193a5b0-0000-7000-8000-{n_sent:012d}","data":{{"text":"slow"}}}}'
            )
            headers = [("content-type", b"application/cloudevents+json")]
            producer.send(VOC, value=value.encode(), headers=headers, partition=partition)
        producer.flush()

    yield send_to_each
    producer.close()


def owners(db) -> dict[int, str]:
    """Which worker was the last to store something of each partition."""
    with db.read() as c:
        rows = c.execute(intake_ledger.select().order_by(intake_ledger.c.first_offset))
        return {row.partition: row.worker for row in rows if row.topic == VOC}


def n_stored(db) -> int:
    with db.read() as c:
        return sum(each.n_new for each in read_ledger_summary(c))


def members(db) -> dict[str, str]:
    with db.read() as c:
        return {row.holder: row.member_id for row in c.execute(lifelines.select())}


def wait_while_sending(
    send: Callable[[], None],
    condition: Callable[[], bool],
    seconds: float,
    what: str,
    children: Children | None = None,
) -> None:
    def sent_and_met() -> bool:
        send()
        return condition()

    wait_until(sent_and_met, seconds, what, children)


def test_partitions_of_a_killed_worker_are_read_by_another_long_before_its_session_ends(
    environ, children, send, db, session_seconds
):
    first = children.start("first", errata_command("worker"))
    second = children.start("second", errata_command("worker"))
    wait_while_sending(send, lambda: len(set(owners(db).values())) == 2, 90, "both workers", children)
    victim, survivor = sorted((first, second), key=lambda each: each.process.pid)
    assert set(members(db)) == set(owners(db).values())
    victim.process.send_signal(signal.SIGKILL)
    victim.process.wait()
    name = f"-{survivor.process.pid}"
    # Without the watch it takes the session and half a session more, in which the group is formed.
    wait_while_sending(
        send,
        lambda: all(each.endswith(name) for each in owners(db).values()),
        1.25 * session_seconds,
        "the survivor to read all partitions",
    )
    assert "is dead: its partitions are freed" in survivor.log.read_text()
    assert [each.endswith(name) for each in members(db)] == [True]


@pytest.mark.parametrize(("dialect", "session_seconds"), [("sqlite", 6)])
def test_a_worker_that_is_removed_though_it_lives_joins_again_and_nothing_counts_twice(
    bootstrap, environ, children, send, db
):
    worker = children.start("worker", errata_command("worker"))
    wait_while_sending(send, lambda: n_stored(db) > 0, 90, "the worker", children)
    (before,) = members(db).values()
    broker = Broker(bootstrap=bootstrap)
    assert remove_members(broker, GROUP, [before], "for a test") == {before}
    assert not remove_members(broker, GROUP, [before], "for a test")
    wait_while_sending(send, lambda: list(members(db).values()) != [before], 60, "its return", children)
    n_before = n_stored(db)
    send()
    wait_until(lambda: n_stored(db) > n_before, 60, "events after its return", children)
    assert children.stop_one("worker") == 0
    assert members(db) == {}
    verified = subprocess.run(errata_command("verify"), env=environ, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "Traceback" not in worker.log.read_text()
