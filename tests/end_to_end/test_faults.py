"""What people do to running processes: they start them too early, and end them at once."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from errata.command.local_broker import start_local_broker
from errata.command.processes import Children, errata_command, wait_until
from storage.ledger import read_ledger_summary
from tests.servers import free_port

SETTINGS = """
[broker]
rebalance_timeout_seconds = 5.0

[worker]
metrics_port = 0

[models.card-reader]
task = { kind = "text" }
"""


@pytest.fixture
def environ(db, database_url, tmp_path):
    """Settings by which every process listens on a port of its own, and the broker is not there yet."""
    settings = tmp_path / "errata.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    return {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")} | {
        "ERRATA_SETTINGS": str(settings),
        "ERRATA_BROKER__BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "ERRATA_DATABASE__URL": database_url,
        "ERRATA_ARTIFACTS__DIRECTORY": str(tmp_path / "artifacts"),
        "ERRATA_INTAKE__PORT": str(free_port()),
        "ERRATA_DASHBOARD__PORT": str(free_port()),
    }


@pytest.fixture
def children(tmp_path, environ):
    made = Children(tmp_path / "log", environ)
    yield made
    made.stop_all()


@pytest.fixture
def dialect():
    """One database is enough here."""
    return "sqlite"


def start_broker(environ, children, tmp_path):
    log = tmp_path / "broker.log"
    port = int(environ["ERRATA_BROKER__BOOTSTRAP"].rpartition(":")[2])
    return children.adopt("broker", start_local_broker(port, log), log, patience_seconds=0)


def test_a_worker_says_what_it_waits_for_and_starts_when_it_comes(environ, children, tmp_path, db):
    worker = children.start("worker", errata_command("worker"))
    bootstrap = environ["ERRATA_BROKER__BOOTSTRAP"]
    waiting = f"waiting for the broker: no Kafka broker accepts connections at {bootstrap}"
    wait_until(lambda: waiting in worker.log.read_text(), 30, "the worker's word", children)
    assert "Traceback" not in worker.log.read_text()
    start_broker(environ, children, tmp_path)
    wait_until(lambda: "Starting..." in worker.log.read_text(), 30, "the worker", children)
    sent = tmp_path / "events.jsonl"
    sent.write_text(
        '{"specversion":"1.0","type":"errata.voc.v1","id":"0193a5b0-0000-7000-8000-000000000000",'
        '"source":"/app","time":"2026-01-23T06:30:00Z","data":{"text":"느려요"}}\n'
    )
    replayed = subprocess.run(
        errata_command("replay", str(sent)), env=environ, capture_output=True, text=True
    )
    assert (replayed.returncode, replayed.stdout) == (0, "1 events sent, 0 refused\n"), replayed.stderr

    def n_stored() -> int:
        with db.read() as c:
            return sum(each.n_new for each in read_ledger_summary(c))

    wait_until(lambda: n_stored() == 1, 60, "the event", children)
    assert children.stop_one("worker") == 0


def processes_with(environ) -> set[int]:
    """The processes that run with these settings, whoever their parent is by now."""
    marker = f"ERRATA_DATABASE__URL={environ['ERRATA_DATABASE__URL']}".encode()
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if marker in (directory / "environ").read_bytes().split(b"\0"):
                found.add(int(directory.name))
    return found


def answers(port: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as answer:
        return bool(answer.status == 200)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["ctrl-c", "closed terminal"])
def test_up_stops_every_process_that_it_started_and_nothing_else(environ, children, tmp_path, number):
    start_broker(environ, children, tmp_path)
    foreign = children.start("foreign", [sys.executable, "-c", "import time; time.sleep(600)"])
    before = processes_with(environ)
    up = subprocess.Popen(
        errata_command("up"),
        cwd=tmp_path,
        env=environ,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        wait_until(lambda: answers(environ["ERRATA_DASHBOARD__PORT"]), 90, "the dashboard", children)
        started = processes_with(environ) - before
        assert len(started) >= 5
        asked = time.monotonic()
        up.send_signal(number)
        _, said = up.communicate(timeout=60)
        assert time.monotonic() - asked < 30
    finally:
        for left in processes_with(environ) - before:
            os.kill(left, signal.SIGKILL)
    assert up.returncode == 0
    assert "Traceback" not in said
    assert said.endswith("errata: stopping\n")
    assert all(not Path(f"/proc/{pid}").exists() for pid in started)
    assert foreign.process.poll() is None
