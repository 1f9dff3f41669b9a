"""Secrets are planted wherever a setting takes one; nothing that the command prints or logs holds one."""

import os
import re
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from errata.command.cli import run
from errata.command.processes import errata_command
from storage.database import migrate
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
#: Parts of the secrets that stay the same however the rest is escaped.
CANARY = "canary7Q"
BROKER_PASSWORD = f'{CANARY}"broker\\secret'
DATABASE_PASSWORD = f"{CANARY}%40database%2Fsecret"
CHANNEL_TOKEN = f"{CANARY}Token0123"
KEY = f"errata_{'ab' * 6}_{'c0ffee' * 10}c0ff"

VERBS = [
    ("doctor",),
    ("doctor", "--json"),
    ("report",),
    ("report", "--json"),
    ("verify", "--json"),
    ("runs", "--json"),
    ("voc", "list"),
    ("batch", "list", "--json"),
    ("release", "list", "--json"),
    ("dead-letters", "list", "--json"),
    ("dead-letters", "replay"),
    ("examples", "count", "card-reader"),
    ("retrain", "card-reader"),
    ("migrate",),
    ("alerts", "list", "--json"),
    ("alerts", "resolve", "drift"),
    ("alerts", "test", "--channel", "none"),
    ("keys", "list", "--json"),
    ("keys", "create", "--source", "shop"),
    ("keys", "revoke", KEY),
    ("keys", KEY),
]


@contextmanager
def rude_server() -> Iterator[int]:
    """A port at which every connection is answered with what nobody understands, and closed."""

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"no\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose every secret is a canary, and whose servers do not answer."""
    return {
        "ERRATA_BROKER__BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "ERRATA_BROKER__SECURITY_PROTOCOL": "SASL_SSL",
        "ERRATA_BROKER__USERNAME": "errata",
        "ERRATA_BROKER__PASSWORD": BROKER_PASSWORD,
        "ERRATA_DATABASE__URL": f"postgresql+psycopg://errata:{DATABASE_PASSWORD}@127.0.0.1:{free_port()}/errata",
        "ERRATA_ALERTS__CHANNELS__CHAT__URL": f"slack://{CHANNEL_TOKEN}",
        "ERRATA_ALERTS__CHANNELS__HOOK__URL": f"json://errata:{CHANNEL_TOKEN}@127.0.0.1:{free_port()}/{CHANNEL_TOKEN}",
        "ERRATA_ARTIFACTS__DIRECTORY": str(tmp_path / "artifacts"),
        "ERRATA_MODELS__CARD_READER__TASK__KIND": "text",
        "ERRATA_WORKER__METRICS_PORT": "0",
        "ERRATA_INTAKE__METRICS_PORT": "0",
    }


@pytest.fixture
def errata(
    planted: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Run one command line here; returns its exit code and all that it printed."""
    for name in [name for name in os.environ if name.startswith("ERRATA_")]:
        monkeypatch.delenv(name)
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        code = run(arguments)
        printed = capfd.readouterr()
        return code, printed.out + printed.err

    return call


def assert_no_secret(text: str) -> None:
    assert text.strip(), "nothing was said at all"
    for secret in (CANARY, "c0ffee"):
        assert secret not in text


@pytest.mark.parametrize("arguments", VERBS, ids=lambda arguments: " ".join(arguments).replace(KEY, "KEY"))
def test_no_verb_that_fails_tells_a_secret(errata, arguments):
    code, printed = errata(*arguments)
    assert code in (2, 3)
    assert_no_secret(printed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ERRATA_BROKER__SECURITY_PROTOCOL", "SSL"),
        ("ERRATA_BROKER__SECURITY_PROTOCOL", "SASL"),
        ("ERRATA_DATABASE__URL", f"postgresql+psycopg://errata:{DATABASE_PASSWORD}@db/errata"),
        ("ERRATA_DATABASE__URL", f"postgresql+psycopg://errata:{DATABASE_PASSWORD}@127.0.0.1:x/errata"),
        (
            "ERRATA_DATABASE__URL",
            f"postgresql+psycopg://errata@127.0.0.1:1/errata?password={CANARY}&sslmode=x",
        ),
        ("ERRATA_DATABASE__URL", f"mysql://errata:{DATABASE_PASSWORD}@127.0.0.1/errata"),
        ("ERRATA_DATABASE__PASSWORD", CANARY),
        ("ERRATA_BROKER", CANARY),
        ("ERRATA_ALERTS__CHANNELS__CHAT", f"slack://{CHANNEL_TOKEN}"),
        ("ERRATA_ALERTS__CHANNELS__CHAT__URLS", f"slack://{CHANNEL_TOKEN}"),
    ],
)
def test_no_setting_that_is_refused_tells_a_secret(errata, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    code, printed = errata("report")
    assert code != 0
    assert_no_secret(printed)


def test_a_channel_that_does_not_take_a_test_tells_no_secret(errata):
    code, printed = errata("alerts", "test")
    assert code == 1
    assert re.search(r"chat  not taken: .*\nhook  not taken: ", printed)
    assert_no_secret(printed)


def test_an_error_that_nobody_thought_of_tells_no_secret(errata, monkeypatch):
    def fail(url: str) -> None:
        raise RuntimeError(f"{url} {BROKER_PASSWORD!r} {KEY}")

    monkeypatch.setattr("storage.database.open_database", fail)
    code, printed = errata("report")
    assert (code, "RuntimeError" in printed) == (1, True)
    assert_no_secret(printed)


def test_a_key_is_printed_by_create_and_by_nothing_else(errata, monkeypatch, tmp_path):
    monkeypatch.setenv("ERRATA_DATABASE__URL", f"sqlite:///{tmp_path / 'errata.db'}")
    migrate(f"sqlite:///{tmp_path / 'errata.db'}")
    _, created = errata("keys", "create", "--source", "shop")
    made = re.search(r"errata_([0-9a-f]{12})_([0-9a-f]{64})", created)
    assert made is not None
    for arguments in [("keys", "list"), ("keys", "list", "--json"), ("keys", "revoke", made[1])]:
        code, printed = errata(*arguments)
        assert (code, made[1] in printed, made[2] in printed) == (0, True, False)
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("errata.db*"))
    assert made[1].encode() in stored
    assert made[2].encode() not in stored


def test_no_process_logs_a_secret_while_its_servers_are_out_of_order(planted, tmp_path):
    with ExitStack() as running:
        environ = {
            **os.environ,
            **planted,
            "PYTHONPATH": str(ROOT),
            "ERRATA_BROKER__BOOTSTRAP": f"127.0.0.1:{running.enter_context(rude_server())}",
            "ERRATA_INTAKE__PORT": str(free_port()),
            "ERRATA_INTAKE__REQUIRE_KEYS": "true",
            "ERRATA_DASHBOARD__PORT": str(free_port()),
        }
        logs = [tmp_path / f"{name}.log" for name in ("worker", "trainer", "intake", "dashboard")]
        for log in logs:
            process = subprocess.Popen(
                errata_command(log.stem),
                env=environ,
                cwd=tmp_path,
                stdout=running.enter_context(log.open("wb")),
                stderr=subprocess.STDOUT,
            )
            running.callback(process.wait)
            running.callback(process.kill)
            assert CANARY not in " ".join(process.args)
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not all(log.stat().st_size for log in logs):
            time.sleep(0.05)
        # Some more, so that they also tell how they try again.
        time.sleep(1.0)
    for log in logs:
        assert_no_secret(log.read_text())
