"""A seeded database for the whole session, and a clean dashboard for every test."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st

from tests.dashboard.seeded import Seeded, seed


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    """One database with a loop that went round; it ends now."""
    path = tmp_path_factory.mktemp("seeded") / "errata.db"
    return seed(f"sqlite:///{path}", time.time_ns() // 1000)


@pytest.fixture
def show_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Make the dashboard in this process show the database at a URL; nothing is cached before or after."""
    settings = tmp_path / "errata.toml"
    settings.write_text("[models.card-reader]\n")
    monkeypatch.setenv("ERRATA_SETTINGS", str(settings))

    def show(url: str) -> None:
        monkeypatch.setenv("ERRATA_DATABASE__URL", url)

    _forget()
    yield show
    _forget()


def _forget() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()
