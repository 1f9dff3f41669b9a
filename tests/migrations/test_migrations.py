"""The migrations lead to the tables of storage/tables.py, there and back, on both databases."""

import threading

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from storage.database import current_revision, migrate
from storage.tables import metadata

HEAD = "0009"


def test_up_down_and_up_again(database_url: str) -> None:
    assert current_revision(database_url) is None
    migrate(database_url)
    assert current_revision(database_url) == HEAD
    assert tables_of(database_url) == set(metadata.tables) | {"alembic_version"}
    migrate(database_url, "base")
    assert current_revision(database_url) is None
    assert tables_of(database_url) == {"alembic_version"}
    migrate(database_url)
    assert current_revision(database_url) == HEAD


def test_the_migrated_tables_are_the_tables_in_the_code(database_url: str) -> None:
    migrate(database_url)
    engine = create_engine(database_url)
    with engine.connect() as c:
        context = MigrationContext.configure(c, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    migrate(database_url)
    migrate(database_url)
    assert current_revision(database_url) == HEAD


def test_two_processes_that_start_together_migrate_once(database_url: str) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            migrate(database_url)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert current_revision(database_url) == HEAD


def tables_of(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
