"""What operators see of a worker in trouble: a sender that floods it with nonsense, a broker that falls silent."""

import json
import os
import urllib.error
import urllib.request
import uuid

import pytest
from kafka import KafkaProducer

from bench.chaos.proxy import Proxy
from errata.command.cli import run
from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.command.processes import Children, errata_command, wait_until
from errata.settings import Broker
from errata.topics import PREDICTIONS, ensure_topics
from storage.ledger import read_ledger_summary
from storage.outbox import read_unsent
from storage.pauses import list_paused
from tests.servers import free_port, running_webhook

SETTINGS = """
[broker]
partitions = 2
rebalance_timeout_seconds = 5.0

[worker]
drain_seconds = 2.0
metrics_port = {port}
batch_records = 20
flood_dead_letters = 50
timer_seconds = 0.2
reads_stalled_seconds = 5.0

[models.card-reader]
task = {{ kind = "text" }}
"""
HEADERS = [("content-type", b"application/cloudevents+json")]


def a_good_one() -> bytes:
    event = {
        "specversion": "1.0",
        "type": "errata.prediction.v1",
        "id": str(uuid.uuid4()),
        "source": "/shop",
        "time": "2026-01-23T06:30:00Z",
        "data": {"model": "card-reader", "version": "1", "output": "4111 1111"},
    }
    return json.dumps(event).encode()


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def upstream_port():
    return free_port()


@pytest.fixture
def proxy(upstream_port):
    made = Proxy(upstream_port)
    yield made
    made.close()


@pytest.fixture
def bootstrap(proxy, upstream_port, tmp_path):
    """A broker that is reached through the proxy alone."""
    process = start_local_broker(upstream_port, tmp_path / "broker.log", proxy.port)
    wait_for_broker(address := f"127.0.0.1:{proxy.port}", timeout_seconds=20)
    yield address
    stop_local_broker(process)


@pytest.fixture
def dialect():
    """One database is enough here: what is stored is tested in tests/storage on both."""
    return "sqlite"


@pytest.fixture
def webhook():
    """Where the worker sends its alerts."""
    with running_webhook() as running:
        yield running


@pytest.fixture
def environ(bootstrap, database_url, db, tmp_path, port, webhook):
    file = tmp_path / "errata.toml"
    file.write_text(SETTINGS.format(port=port), encoding="utf-8")
    return {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")} | {
        "ERRATA_SETTINGS": str(file),
        "ERRATA_BROKER__BOOTSTRAP": bootstrap,
        "ERRATA_DATABASE__URL": database_url,
        "ERRATA_ALERTS__CHANNELS__ONCALL__URL": f"json://127.0.0.1:{webhook.port}",
    }


@pytest.fixture
def children(tmp_path, environ):
    made = Children(tmp_path / "log", environ)
    yield made
    made.stop_all()


def get(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"


def test_a_flooded_partition_waits_for_a_person_and_a_broker_that_is_silent_shows(
    bootstrap, environ, children, db, port, proxy, webhook, monkeypatch, capsys
):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    ensure_topics(Broker(bootstrap=bootstrap, partitions=2))

    def send(partition: int, values: list[bytes]) -> None:
        for value in values:
            producer.send(PREDICTIONS, value, headers=HEADERS, partition=partition)
        producer.flush()

    def counts() -> dict[int, tuple[int, int]]:
        """New and dead events of each partition."""
        with db.read() as c:
            return {each.partition: (each.n_new, each.n_dead) for each in read_ledger_summary(c)}

    def paused() -> list[tuple[str, int]]:
        with db.read() as c:
            return [(each.topic, each.partition) for each in list_paused(c)]

    with KafkaProducer(bootstrap_servers=bootstrap) as producer:
        send(0, [b'{"specversion": tru}'] * 500)
        send(0, [a_good_one()])
        children.start("worker", errata_command("worker"))
        wait_until(lambda: paused() == [(PREDICTIONS, 0)], 60, "the pause", children)
        stopped_at = counts()[0]
        assert 50 <= stopped_at[1] < 200
        send(1, [a_good_one() for _ in range(100)])
        wait_until(lambda: counts().get(1) == (100, 0), 60, "the neighbour", children)
        wait_until(
            lambda: "errata_paused_partitions 1.0" in get(port, "/metrics"), 20, "the metric", children
        )
        assert (
            get(port, "/healthz")
            .splitlines()[1]
            .startswith(f"{stopped_at[1]} of the last {stopped_at[1]} events")
        )
        assert counts()[0] == stopped_at
        wait_until(lambda: len(webhook.received) == 1, 20, "the alert", children)
        assert webhook.received[0][1]["title"] == f"Critical: {PREDICTIONS}/0 is not read"

        assert run(["dead-letters", "resume"]) == 0
        assert capsys.readouterr().out == f"{PREDICTIONS}/0 goes on\n"
        wait_until(lambda: counts()[0] == (1, 500), 30, "the rest as dead letters", children)
    wait_until(lambda: len(webhook.received) == 2, 20, "the end of the alert", children)
    assert webhook.received[1][1]["title"] == f"Resolved: {PREDICTIONS}/0 is not read"
    assert paused() == []
    assert run(["verify"]) == 0
    assert run(["dead-letters", "resume"]) == 0
    assert capsys.readouterr().out.endswith("no partition is paused\n")

    def unsent() -> list[str]:
        with db.read() as c:
            return [message.type for message in read_unsent(c, limit=10)]

    wait_until(lambda: unsent() == [], 20, "the alarm to be sent", children)
    wait_until(lambda: get(port, "/healthz") == "ok\n", 20, "health", children)
    proxy.swallow()
    stalled = "503 reads stall: the broker has not answered to a fetch for"
    wait_until(lambda: get(port, "/healthz").startswith(stalled), 40, "the stall", children)
    proxy.pass_on()
    wait_until(lambda: get(port, "/healthz") == "ok\n", 40, "the end of the stall", children)
