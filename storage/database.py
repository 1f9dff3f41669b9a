"""The database: how it is opened, what a transaction is on SQLite and PostgreSQL, what its errors mean."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from errata.errors import ErrataError, Malformed, SettingsError, Stop, Unavailable

#: What other rooms pass along while a transaction is open.
Transaction: TypeAlias = Connection

_BUSY_SECONDS: Final = 10

#: Alembic keeps the migration that runs in globals of its own.
_one_migration_at_a_time = threading.Lock()

#: A connection that does not answer, waits or idles for longer than this is given up, so that a frozen worker
#: that holds row locks cannot stop the others.
_POSTGRES: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "application_name": "errata",
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    # A plan that is made once and kept would be that of the tables as they were: one made while they were empty
    # reads them from end to end for ever.
    "prepare_threshold": None,
    "options": "-c statement_timeout=60s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s",
}

#: One writes, one waits for the server, and one has what comes next; more would share the same Python.
_POSTGRES_WRITERS: Final = 3
#: SQLite has one writer; meanwhile another thread makes the next run ready.
_SQLITE_WRITERS: Final = 2

#: What each connection to SQLite begins with, in this order.
SQLITE_PRAGMAS: Final = (
    # Of a new file: with 4 KiB, the default, storing takes a quarter more time once there are a million rows.
    "page_size=16384",
    # 32 MiB: room for the pages that a transaction of some ten thousand events changes.
    "cache_size=-32768",
    "journal_mode=WAL",
    # After 64 MiB the log is written back: what several transactions changed, once.
    "wal_autocheckpoint=4000",
    # FULL, so that a power cut cannot take back what Kafka was told is stored.
    "synchronous=FULL",
    "foreign_keys=ON",
)

#: SQLSTATE classes: numeric and text values that do not fit, and constraints.
_DATA_CLASSES: Final = ("22", "23")
#: SQLSTATE classes that no retry mends: wrong SQL or a missing table, wrong password, wrong database, damage.
_STOP_CLASSES: Final = ("0A", "28", "3D", "3F", "42", "XX")

_SQLITE_DATA: Final = ("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE")
_SQLITE_WAIT: Final = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_CANTOPEN",
    "SQLITE_PROTOCOL",
    "SQLITE_NOMEM",
    "SQLITE_INTERRUPT",
)


class Database:
    """An open database. Connections are pooled; the object may be shared by threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sqlite_turn = threading.Lock()

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None of PostgreSQL, which is a server."""
        name = self._engine.url.database
        return Path(name) if self.dialect == "sqlite" and name else None

    @property
    def n_writers(self) -> int:
        """In how many threads writing is worth while."""
        return _SQLITE_WRITERS if self.dialect == "sqlite" else _POSTGRES_WRITERS

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot: all that is read inside is of the same moment; nothing can be written.

        Raises Unavailable when the database does not answer.
        """
        with translated_errors(), self._engine.connect() as connection:
            c = connection.execution_options(errata_write=False)
            if self.dialect == "postgresql":
                c = c.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with c.begin():
                yield c

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back when an error leaves it.

        On SQLite it is the only one that writes (BEGIN IMMEDIATE); on PostgreSQL it is READ COMMITTED. Raises
        Unavailable (nothing is stored, try again) and Malformed (`database_refused`: a value does not fit).
        """
        with translated_errors(), self._turn(), self._engine.connect() as connection:
            c = connection.execution_options(errata_write=True)
            with c.begin():
                yield c

    def open_session(self) -> Connection:
        """A connection outside of the pool, each of whose statements is a transaction; who asked for it closes it.

        Raises Unavailable.
        """
        with translated_errors():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            return connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The turn of one of several threads to write to SQLite, which itself would have them look again and again."""
        if self.dialect != "sqlite":
            yield
            return
        if not self._sqlite_turn.acquire(timeout=_BUSY_SECONDS):
            raise Unavailable(f"the database is busy: another thread has written for {_BUSY_SECONDS} s")
        try:
            yield
        finally:
            self._sqlite_turn.release()

    def close(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Open `sqlite:///PATH` (its directory is made) or `postgresql+psycopg://USER@HOST/NAME`.

    No connection is made yet. Raises SettingsError when the URL is neither.
    """
    return Database(_create_engine(url))


def migrate(url: str, revision: str = "head") -> None:
    """Bring the tables of the database at `url` to `revision`; `base` removes them all, `head` is the newest.

    Several processes may call it at once: one migrates, the others wait for it. Raises Unavailable.
    """
    engine = _create_engine(url)
    try:
        with _one_migration_at_a_time, translated_errors(), engine.connect() as c:
            config = migration_config()
            config.attributes["connection"] = c.execution_options(errata_write=True)
            known = _current_revision(c)
            c.rollback()
            step = command.downgrade if _is_before(config, revision, known) else command.upgrade
            step(config, revision)
    finally:
        engine.dispose()


def read_clock_us(url: str) -> int | None:
    """What the clock of the database's machine says, in microseconds since 1970; None for SQLite, which has none.

    Raises Unavailable.
    """
    if url.startswith("sqlite"):
        return None
    engine = _create_engine(url)
    try:
        with translated_errors(), engine.connect() as c:
            told = c.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"))
    finally:
        engine.dispose()
    return int(told) if told is not None else None


def current_revision(url: str) -> str | None:
    """The revision of the tables in the database at `url`, or None where there are none."""
    engine = _create_engine(url)
    try:
        with translated_errors(), engine.connect() as c:
            return _current_revision(c)
    finally:
        engine.dispose()


def read_server(url: str) -> str:
    """The name and version of the database at `url`. Raises Unavailable."""
    engine = _create_engine(url)
    try:
        with translated_errors(), engine.connect() as c:
            name = "SQLite" if c.dialect.name == "sqlite" else "PostgreSQL"
            return f"{name} {'.'.join(str(part) for part in c.dialect.server_version_info or ())}"
    finally:
        engine.dispose()


def newest_revision() -> str:
    """The revision that `migrate` leads to."""
    return str(ScriptDirectory.from_config(migration_config()).get_current_head())


def migration_config() -> Config:
    """Alembic's configuration for the package `migrations`, wherever it is installed."""
    import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(rev)s_%%(slug)s")
    return config


def lift_timeouts(c: Connection) -> None:
    """Let the statements of this transaction take as long as they take, where they hold up nobody."""
    if c.dialect.name == "postgresql":
        c.execute(text("SET LOCAL statement_timeout = 0"))
        c.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def prefer_indexes(c: Connection) -> None:
    """Have the statements of this transaction look rows up by an index, in new tables too.

    Until PostgreSQL has first counted a table, which takes it a minute, it reads all of it to find a few thousand rows
    by their ids: at full speed that is up to a million rows for each run of records.
    """
    if c.dialect.name == "postgresql":
        c.execute(text("SET LOCAL enable_seqscan = off"))


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the errors of SQLAlchemy and the drivers into those of errata/errors.py."""
    try:
        yield
    except (
        StatementError,
        PoolTimeout,
        psycopg.Error,
        sqlite3.Error,
        UnicodeEncodeError,
        OverflowError,
    ) as error:
        raise translate(error) from error


@contextmanager
def savepoint(c: Connection) -> Iterator[None]:
    """A part of a transaction that is taken back when an error leaves it; the error is translated.

    SQLAlchemy's own goes back to a savepoint and leaves it open: after thousands of them PostgreSQL has no memory
    left for the locks of one within the other.
    """
    with translated_errors():
        c.exec_driver_sql("SAVEPOINT part")
        try:
            yield
        except BaseException:
            # With the connection the whole transaction is gone.
            if not c.invalidated:
                c.exec_driver_sql("ROLLBACK TO SAVEPOINT part")
                c.exec_driver_sql("RELEASE SAVEPOINT part")
            raise
        c.exec_driver_sql("RELEASE SAVEPOINT part")


def translate(error: Exception) -> ErrataError:
    """The error of errata/errors.py that says what to do about `error`; an unknown one is worth a retry."""
    if isinstance(error, (UnicodeEncodeError, OverflowError)):
        return Malformed("database_refused", f"a value does not fit into the database: {error}")
    if isinstance(error, DBAPIError):
        return _translate_origin(error.orig, connection_lost=error.connection_invalidated)
    if isinstance(error, (psycopg.Error, sqlite3.Error)):
        return _translate_origin(error, connection_lost=False)
    if isinstance(error, StatementError):
        return Malformed("database_refused", f"a value does not fit into the database: {error.orig or error}")
    return Unavailable(f"the database does not answer now: {error}")


def _translate_origin(origin: BaseException | None, *, connection_lost: bool) -> ErrataError:
    """The error for one of a driver's own."""
    detail = str(origin).strip().partition("\n")[0]
    if isinstance(origin, psycopg.Error):
        kind = _judge_postgres(origin, connection_lost=connection_lost)
    elif isinstance(origin, sqlite3.Error):
        kind = _judge_sqlite(origin)
    else:
        kind = Unavailable
    if kind is Malformed:
        return Malformed("database_refused", f"the database refused a value: {detail}")
    if kind is Stop:
        return Stop(
            f"the database does not fit this version ({detail}): run `errata migrate` and look at its log"
        )
    return Unavailable(f"the database does not answer now: {detail}")


def _judge_postgres(error: psycopg.Error, *, connection_lost: bool) -> type[ErrataError]:
    state = error.sqlstate
    if connection_lost:
        return Unavailable
    if state is None:
        # The driver itself refused a value, such as a text with a NUL, before anything was sent.
        return Malformed if isinstance(error, psycopg.DataError) else Unavailable
    if state.startswith(_DATA_CLASSES):
        return Malformed
    return Stop if state.startswith(_STOP_CLASSES) else Unavailable


def _judge_sqlite(error: sqlite3.Error) -> type[ErrataError]:
    name = getattr(error, "sqlite_errorname", None)
    if name is None:
        # Python's module refused to bind a value, before SQLite saw it.
        return Malformed if isinstance(error, (sqlite3.InterfaceError, sqlite3.DataError)) else Stop
    if name.startswith(_SQLITE_DATA):
        return Malformed
    if "no such savepoint" in str(error):
        # A full disk ends the whole transaction, and going back to its savepoint finds none.
        return Unavailable
    return Unavailable if name.startswith(_SQLITE_WAIT) else Stop


def _create_engine(url: str) -> Engine:
    if url.startswith("sqlite:///"):
        path = make_url(url).database
        if path is None or path in ("", ":memory:"):
            raise SettingsError("database.url must name a file: sqlite:///PATH")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if url.startswith("postgresql+psycopg://"):
        return create_engine(url, connect_args=_POSTGRES, pool_pre_ping=True)
    raise SettingsError("database.url must start with sqlite:/// or postgresql+psycopg://")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(c: Connection) -> None:
    """Begin with the write lock, which Python's sqlite3 would not: two writers wait instead of failing."""
    if c.get_execution_options().get("errata_write", False):
        c.exec_driver_sql("PRAGMA query_only=OFF")
        c.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        c.exec_driver_sql("PRAGMA query_only=ON")
        c.exec_driver_sql("BEGIN")


def _current_revision(c: Connection) -> str | None:
    return MigrationContext.configure(c).get_current_revision()


def _is_before(config: Config, revision: str, known: str | None) -> bool:
    """Whether `revision` lies before the `known` one on the single line of migrations."""
    if known is None:
        return False
    if revision == "base":
        return True
    script = ScriptDirectory.from_config(config)
    line = [step.revision for step in script.walk_revisions()]
    target = script.get_revision(revision).revision
    return line.index(target) > line.index(known)
