"""The demo as its users run it: the loop closes, and what it says was read back from the database."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from errata.command.processes import errata_command
from examples.card_reader.service import FIRST_VERSION, MODEL
from storage.database import Database, open_database
from storage.examples import read_dataset
from storage.predictions import read_predictions
from storage.runs import get_run

pytestmark = pytest.mark.timeout(700)


@dataclass(frozen=True)
class Ended:
    """What a headless demo left behind: its last line, and its files."""

    last: dict[str, Any]
    directory: Path


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    directory = tmp_path_factory.mktemp("here") / "demo"
    done = subprocess.run(
        errata_command("demo", "--headless", "--directory", str(directory)),
        capture_output=True,
        text=True,
        timeout=640,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-1000:]
    return Ended(json.loads(done.stdout.splitlines()[-1]), directory)


@pytest.fixture(scope="module")
def remembered(ended: Ended) -> Database:
    return open_database(f"sqlite:///{ended.directory / 'errata.db'}")


def test_the_loop_closes(ended):
    last = ended.last
    assert set(last) == {
        "loop_closed", "correction_rate", "signal_after_events", "run", "verdict", "events", "dead_letters", "seconds"
    }  # fmt: skip
    assert last["loop_closed"] is True
    assert last["verdict"] == "promote"
    rate = last["correction_rate"]
    assert rate["drifted"] > 2 * rate["before"]
    assert rate["after"] < rate["drifted"] / 2
    assert last["dead_letters"] == 0
    assert last["events"] > 5000


def test_no_version_is_evaluated_on_or_shown_a_writer_it_was_trained_on(ended, remembered):
    with remembered.read() as connection:
        run = get_run(connection, ended.last["run"])
        dataset = read_dataset(connection, run.dataset_hash)
        shown = {
            version: {
                each.subject
                for each in read_predictions(connection, model=MODEL, version=version, limit=100_000)
            }
            for version in (FIRST_VERSION, run.candidate)
        }
    trained = {example.group for example, role, _ in dataset if role == "training"}
    founders = {
        example.group for example, role, _ in dataset if role == "training" and example.part == "founding"
    }
    evaluated = {example.group for example, role, _ in dataset if role == "evaluation"}
    assert trained
    assert evaluated
    assert shown[run.candidate]
    assert not trained & evaluated
    assert not trained & shown[run.candidate]
    assert not founders & shown[FIRST_VERSION]


def test_every_process_has_ended(ended):
    """The processes of the demo carry its directory in their environment or arguments."""
    here = str(ended.directory).encode()
    alive = [
        process.name
        for process in Path("/proc").iterdir()
        if process.name.isdigit()
        and here in read_quietly(process / "environ") + read_quietly(process / "cmdline")
    ]
    assert alive == []


def read_quietly(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # It has ended meanwhile, or is somebody else's.
