"""A database in which one loop went round, and the command to ask it with."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from errata.command.cli import run
from storage.database import Database, open_database
from tests.dashboard.seeded import Seeded, seed
from tests.servers import free_port

SETTINGS = """
[models.card-reader]
task = { kind = "fields", fields = { number = { kind = "text" }, expiry = {} } }

[models.card-reader.mining]
quantity = 40

[models.translator]
task = { kind = "text" }
"""


@dataclass(frozen=True)
class Answer:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Errata = Callable[..., Answer]


@pytest.fixture(scope="session")
def seeded_once(tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    file = tmp_path_factory.mktemp("seeded") / "errata.db"
    return seed(f"sqlite:///{file}", time.time_ns() // 1000)


@pytest.fixture
def seeded(seeded_once: Seeded, tmp_path: Path) -> Seeded:
    """A copy of the seeded database for one test."""
    file = tmp_path / "errata.db"
    shutil.copy(seeded_once.url.removeprefix("sqlite:///"), file)
    return replace(seeded_once, url=f"sqlite:///{file}")


@pytest.fixture
def database(seeded: Seeded) -> Iterator[Database]:
    opened = open_database(seeded.url)
    yield opened
    opened.close()


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    file = tmp_path / "errata.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    return file


@pytest.fixture
def errata(
    settings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Errata:
    """Run one command line, with the seeded database where the test has one, and without a broker."""
    for name in [name for name in os.environ if name.startswith("ERRATA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERRATA_SETTINGS", str(settings_file))
    monkeypatch.setenv("ERRATA_DATABASE__URL", f"sqlite:///{tmp_path / 'errata.db'}")
    monkeypatch.setenv("ERRATA_ARTIFACTS__DIRECTORY", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", f"127.0.0.1:{free_port()}")

    def call(*arguments: str) -> Answer:
        capfd.readouterr()
        code = run(arguments)
        printed = capfd.readouterr()
        return Answer(code, printed.out, printed.err)

    return call
