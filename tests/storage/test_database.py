"""Transactions and errors mean the same on SQLite and PostgreSQL."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError

from errata.errors import ErrataError, Malformed, SettingsError, Stop, Unavailable
from storage.database import Database, migrate, open_database, prefer_indexes, savepoint, translate
from storage.insertion import is_one_of
from storage.tables import feedback, leases
from tests.records import number_id

LEASE = {"name": "sweep", "holder": "me", "until_us": 1}


def count(db: Database) -> int:
    with db.read() as c:
        return c.scalar(select(func.count()).select_from(leases)) or 0


def test_a_write_is_committed_at_its_end(db: Database) -> None:
    with db.write() as c:
        c.execute(insert(leases).values(LEASE))
    assert count(db) == 1


def test_a_write_that_an_error_leaves_is_undone(db: Database) -> None:
    def fail_late() -> None:
        with db.write() as c:
            c.execute(insert(leases).values(LEASE))
            raise KeyError

    with pytest.raises(KeyError):
        fail_late()
    assert count(db) == 0


def test_a_read_can_not_write(db: Database) -> None:
    with pytest.raises(ErrataError), db.read() as c:
        c.execute(insert(leases).values(LEASE))
    assert count(db) == 0


def test_a_read_is_of_one_moment(db: Database) -> None:
    counted = select(func.count()).select_from(leases)
    with db.read() as c:
        assert c.scalar(counted) == 0
        with db.write() as other:
            other.execute(insert(leases).values(LEASE))
        assert c.scalar(counted) == 0
    assert count(db) == 1


def test_two_writers_take_turns(db: Database) -> None:
    def add_one() -> None:
        for _ in range(10):
            with db.write() as c:
                row = c.execute(select(leases).with_for_update()).one()
                c.execute(leases.update().values(until_us=row.until_us + 1))

    with db.write() as c:
        c.execute(insert(leases).values(LEASE))
    threads = [threading.Thread(target=add_one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as c:
        assert c.execute(select(leases.c.until_us)).scalar() == 21


def test_a_thread_that_waits_too_long_for_its_turn_at_sqlite_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.database._BUSY_SECONDS", 0.05)
    url = f"sqlite:///{tmp_path / 'errata.db'}"
    migrate(url)
    db = open_database(url)

    def write() -> None:
        with db.write() as c:
            c.execute(insert(leases).values(LEASE))

    with ThreadPoolExecutor(1) as threads, db.write():
        waiting = threads.submit(write)
        with pytest.raises(Unavailable, match="another thread"):
            waiting.result()
    write()
    assert count(db) == 1
    db.close()


def test_a_value_that_does_not_fit_is_malformed(db: Database) -> None:
    with pytest.raises(Malformed) as caught, db.write() as c:
        c.execute(insert(leases).values({**LEASE, "until_us": 2**80}))
    assert caught.value.reason == "database_refused"


def test_a_row_that_is_there_already_is_malformed(db: Database) -> None:
    with pytest.raises(Malformed, match="database refused"), db.write() as c:
        c.execute(insert(leases), [LEASE, LEASE])


def test_a_missing_table_asks_for_a_migration(database_url: str) -> None:
    db = open_database(database_url)
    with pytest.raises(Stop, match="errata migrate"):
        count(db)
    db.close()


def test_half_of_a_character_is_malformed(db: Database) -> None:
    with pytest.raises(Malformed), db.write() as c:
        c.execute(insert(leases).values({**LEASE, "holder": "\ud83d"}))


def test_a_server_that_is_not_there_is_unavailable() -> None:
    db = open_database("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable):
        count(db)
    db.close()


def test_a_full_disk_is_unavailable_and_heals(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'full.db'}"
    migrate(url)
    db = open_database(url)
    rows = [{**LEASE, "name": f"{n:060}"} for n in range(1000)]
    with db.write() as c:
        pages = c.scalar(text("PRAGMA page_count"))
        c.execute(text(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(Unavailable, match="full"), db.write() as c:
        c.execute(insert(leases), rows)
    with db.write() as c:
        c.execute(text("PRAGMA max_page_count=1000000"))
        c.execute(insert(leases), rows)
    assert count(db) == 1000
    db.close()


def test_a_disk_that_is_full_within_a_savepoint_is_unavailable_too(tmp_path: Path) -> None:
    """SQLite ends the whole transaction then, and with it the savepoint that is to be gone back to."""
    url = f"sqlite:///{tmp_path / 'full.db'}"
    migrate(url)
    db = open_database(url)
    with db.write() as c:
        c.execute(text(f"PRAGMA max_page_count={c.scalar(text('PRAGMA page_count'))}"))
    rows = [{**LEASE, "name": f"{n:060}"} for n in range(1000)]
    with pytest.raises(Unavailable), db.write() as c, savepoint(c):
        c.execute(insert(leases), rows)
    db.close()


def test_a_broken_connection_is_unavailable_and_replaced(postgres_url: str) -> None:
    db = open_database(postgres_url)
    with pytest.raises(Unavailable), db.write() as c:
        c.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with db.read() as c:
        assert c.scalar(text("SELECT 1")) == 1
    db.close()


def test_a_connection_that_breaks_within_a_savepoint_is_unavailable_too(postgres_url: str) -> None:
    """There is nothing left then that could be gone back to."""
    db = open_database(postgres_url)
    with pytest.raises(Unavailable), db.write() as c, savepoint(c):
        c.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with db.read() as c:
        assert c.scalar(text("SELECT 1")) == 1
    db.close()


def test_sqlite_survives_a_power_cut(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path / 'new' / 'errata.db'}")
    with db.read() as c:
        pragmas = [
            c.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1]
    db.close()


def test_a_new_sqlite_file_has_large_pages_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as old:
        old.execute("PRAGMA page_size=4096")
        old.execute("CREATE TABLE t (x)")
        old.commit()
    for name, page_bytes in (("old", 4096), ("new", 16_384)):
        url = f"sqlite:///{tmp_path / name}.db"
        migrate(url)
        db = open_database(url)
        with db.write() as c:
            c.execute(insert(leases).values(LEASE))
        with db.read() as c:
            assert c.scalar(text("PRAGMA page_size")) == page_bytes
        assert count(db) == 1
        db.close()


def test_postgresql_gives_up_what_hangs(postgres_url: str) -> None:
    db = open_database(postgres_url)
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with db.read() as c:
        assert [c.scalar(text(f"SHOW {name}")) for name in names] == ["1min", "10s", "30s"]
    db.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"database\.url"):
        open_database(url)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("40P01", Unavailable),
        ("40001", Unavailable),
        ("55P03", Unavailable),
        ("57P01", Unavailable),
        ("57014", Unavailable),
        ("53100", Unavailable),
        ("08006", Unavailable),
        ("25P03", Unavailable),
        ("22003", Malformed),
        ("23505", Malformed),
        ("42P01", Stop),
        ("3D000", Stop),
    ],
)
def test_what_to_do_about_a_state_of_postgresql(state: str, expected: type[ErrataError]) -> None:
    origin = psycopg.errors.lookup(state)("told")
    assert type(translate(DBAPIError("SELECT", {}, origin))) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SQLITE_BUSY", Unavailable),
        ("SQLITE_BUSY_SNAPSHOT", Unavailable),
        ("SQLITE_FULL", Unavailable),
        ("SQLITE_IOERR_WRITE", Unavailable),
        ("SQLITE_TOOBIG", Malformed),
        ("SQLITE_CONSTRAINT_PRIMARYKEY", Malformed),
        ("SQLITE_CORRUPT", Stop),
        ("SQLITE_READONLY", Stop),
        ("SQLITE_ERROR", Stop),
    ],
)
def test_what_to_do_about_an_error_of_sqlite(name: str, expected: type[ErrataError]) -> None:
    origin = sqlite3.OperationalError("told")
    origin.sqlite_errorname = name
    assert type(translate(DBAPIError("SELECT", {}, origin))) is expected


def test_rows_of_a_table_that_was_never_counted_are_found_by_their_index(db: Database) -> None:
    with db.write() as c:
        prefer_indexes(c)
        wanted = select(feedback.c.id).where(
            is_one_of(c, feedback.c.prediction_id, list(map(number_id, range(2000))))
        )
        compiled = wanted.compile(c.engine)
        places = compiled.positiontup
        given = compiled.params if places is None else tuple(compiled.params[name] for name in places)
        explain = "EXPLAIN" if c.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        plan = " ".join(str(row) for row in c.exec_driver_sql(f"{explain} {compiled}", given))
    assert "ix_feedback_prediction_id" in plan
