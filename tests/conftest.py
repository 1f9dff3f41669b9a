"""Fixtures of all tests: real servers. They never skip: a server that does not start fails the test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database, migrate, open_database
from storage.tables import metadata
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
def dialect(request: pytest.FixtureRequest) -> str:
    """Each test with a database runs once on SQLite and once on PostgreSQL."""
    return str(request.param)


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of this test alone."""
    if dialect == "sqlite":
        return f"sqlite:///{tmp_path / 'errata.db'}"
    return fresh_postgres_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
def db(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An open database with all tables and no rows; at `database_url` where the test asks for that too."""
    if "database_url" in request.fixturenames:
        url = request.getfixturevalue("database_url")
        migrate(url)
    elif dialect == "sqlite":
        url = f"sqlite:///{tmp_path / 'errata.db'}"
        shutil.copy(request.getfixturevalue("migrated_sqlite_file"), tmp_path / "errata.db")
    else:
        url = request.getfixturevalue("migrated_postgres_url")
    database = open_database(url)
    with database.write() as c:
        for table in reversed(metadata.sorted_tables):
            c.execute(table.delete())
    yield database
    database.close()


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied: that is faster than migrating for every test."""
    file = tmp_path_factory.mktemp("migrated") / "errata.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres_url: str) -> str:
    """A database with all tables, which tests empty and use one after another."""
    url = fresh_postgres_database(postgres_url)
    migrate(url)
    return url


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks as small as those of tests only wait for each other on several threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session in which a test was skipped: what cannot run here has to fail and say why."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line("Tests were skipped; that counts as a failure.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
