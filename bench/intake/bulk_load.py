"""The bare bulk load: the rows that the intake has made, into the same tables, by the fastest bare way.

PostgreSQL takes them by COPY, in one transaction, as text and as binary, of which the better one counts: from
Python's tuples, and from bytes that are ready for the wire, which nobody has who starts from events. SQLite takes
tuples by `executemany`, in one transaction and in several, of which the better one counts too. Keys, indexes and
constraints are there, as they are for the intake. The rows come in the order in which the intake stored them.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final

import psycopg
from sqlalchemy import Table

from bench.intake.servers import as_libpq
from storage.database import SQLITE_PRAGMAS
from storage.tables import feedback, outcomes, predictions, windows

TABLES: Final[tuple[Table, ...]] = (predictions, feedback, outcomes, windows)

#: Bytes that one write is given.
_WRITE_BYTES: Final = 1024 * 1024

#: Rows of each table, in the order of TABLES.
Rows = Sequence[list[tuple[Any, ...]]]

#: How COPY can be told rows.
FORMS: Final = ("text", "binary")

#: Rows in one of SQLite's transactions: all of a table, or a large part of them.
SQLITE_PORTIONS: Final = (10_000_000, 100_000)

#: What the intake fills.
_FILLED: Final = (
    *(table.name for table in TABLES),
    "voc",
    "slice_values",
    "dead_letters",
    "intake_positions",
    "intake_ledger",
)
_INTAKE_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename = ANY(%s)"
_COLUMNS: Final = """
SELECT column_name, udt_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position
"""


class PostgresLoad:
    """Loads rows into emptied tables of a PostgreSQL database; the rows are read out of it first."""

    def __init__(self, url: str) -> None:
        self._url = as_libpq(url)
        with psycopg.connect(self._url) as connection:
            self._columns = {table.name: _columns_of(connection, table.name) for table in TABLES}
            self._rows: Rows = [
                connection.execute(self._query(table.name).encode()).fetchall() for table in TABLES
            ]
            self._bytes = {
                form: [_copy_out(connection, self._query(table.name), form) for table in TABLES]
                for form in FORMS
            }

    def measure_rows(self, form: str) -> float:
        """The seconds that a load from tuples takes."""
        return self._measure(form, self._write_rows)

    def measure_bytes(self, form: str) -> float:
        """The seconds that a load from ready bytes takes."""
        return self._measure(form, self._write_bytes)

    def _measure(self, form: str, write: Callable[[psycopg.Connection, str], None]) -> float:
        with psycopg.connect(self._url, autocommit=True) as connection:
            empty(connection)
            started = time.perf_counter()
            with connection.transaction():
                write(connection, form)
            return time.perf_counter() - started

    def _write_rows(self, connection: psycopg.Connection, form: str) -> None:
        for table, rows in zip(TABLES, self._rows, strict=True):
            columns = self._columns[table.name]
            statement = f"COPY {self._copy_clause(table.name)} FROM STDIN (FORMAT {form})"
            with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                if form == "binary":
                    copy.set_types(list(columns.values()))
                for row in rows:
                    copy.write_row(row)

    def _write_bytes(self, connection: psycopg.Connection, form: str) -> None:
        for table, chunks in zip(TABLES, self._bytes[form], strict=True):
            statement = f"COPY {self._copy_clause(table.name)} FROM STDIN (FORMAT {form})"
            with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                for chunk in chunks:
                    copy.write(chunk)

    def _names(self, table: str) -> str:
        return ", ".join(f'"{name}"' for name in self._columns[table])

    def _query(self, table: str) -> str:
        return f"SELECT {self._names(table)} FROM {table}"  # noqa: S608

    def _copy_clause(self, table: str) -> str:
        return f"{table} ({self._names(table)})"


class SqliteLoad:
    """Loads rows into fresh SQLite files; the rows are read out of a finished one first."""

    def __init__(self, url: str) -> None:
        with closing(sqlite3.connect(_path_of(url))) as connection:
            self._columns = {
                table.name: [row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")]
                for table in TABLES
            }
            self._rows: Rows = [
                connection.execute(f"SELECT {self._names(table.name)} FROM {table.name}").fetchall()  # noqa: S608
                for table in TABLES
            ]

    def measure(self, url: str, rows_at_once: int) -> float:
        """The seconds that a load into the migrated file at `url` takes, with so many rows in a transaction."""
        with closing(sqlite3.connect(_path_of(url), isolation_level=None)) as connection:
            for pragma in SQLITE_PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            started = time.perf_counter()
            for table, rows in zip(TABLES, self._rows, strict=True):
                values = ", ".join("?" * len(self._columns[table.name]))
                statement = f"INSERT INTO {table.name} ({self._names(table.name)}) VALUES ({values})"  # noqa: S608
                for start in range(0, len(rows), rows_at_once):
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(statement, rows[start : start + rows_at_once])
                    connection.execute("COMMIT")
            return time.perf_counter() - started

    def _names(self, table: str) -> str:
        return ", ".join(f'"{name}"' for name in self._columns[table])


def empty(connection: psycopg.Connection) -> None:
    """Remove what the intake has stored, and let the disk catch up, so that every load begins alike."""
    names = [row[0] for row in connection.execute(_INTAKE_TABLES, [list(_FILLED)])]
    connection.execute(f"TRUNCATE {', '.join(names)}".encode())
    connection.execute("CHECKPOINT")


def _columns_of(connection: psycopg.Connection, table: str) -> dict[str, str]:
    """The columns of a table that can be written, with their types."""
    return dict(connection.execute(_COLUMNS, [table]).fetchall())


def _copy_out(connection: psycopg.Connection, query: str, form: str) -> list[bytes]:
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT {form})".encode()) as copy,
    ):
        ready = b"".join(copy)
    return [ready[start : start + _WRITE_BYTES] for start in range(0, len(ready), _WRITE_BYTES)]


def _path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")
