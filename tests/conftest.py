"""Fixtures of all tests: real servers. They never skip: a server that does not start fails the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database, migrate, open_database
from tests.servers import fresh_postgres_database, running_broker, running_postgres


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one broker for the whole session: use topic names of your own, others use it too."""
    with running_broker(tmp_path_factory.mktemp("broker")) as bootstrap:
        yield bootstrap


@pytest.fixture
def fresh_broker(tmp_path: Path) -> Iterator[str]:
    """The address of a broker of this test alone, with no topics; it starts in a tenth of a second."""
    with running_broker(tmp_path) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of one PostgreSQL server for the whole session: make databases by `fresh_postgres_database`."""
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of this test alone, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'errata.db'}"
    return fresh_postgres_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """The same database with all tables, open."""
    migrate(database_url)
    database = open_database(database_url)
    yield database
    database.close()
