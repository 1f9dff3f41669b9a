"""`errata erase`: what it says it does, and the file that outlives a restored backup."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from errata.spool import Spool
from storage.database import open_database
from storage.intake import apply
from storage.tables import predictions
from tests.builders import START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.dashboard.seeded import MODELS
from tests.records import number_id

ADA = "ada-1815"


@pytest.fixture
def erasures_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errata) -> Path:
    file = tmp_path / "elsewhere" / "erasures.jsonl"
    monkeypatch.setenv("ERRATA_RETENTION__ERASURES_FILE", str(file))
    return file


@pytest.fixture
def of_ada(database, seeded):
    """One prediction of Ada's with its feedback, in the seeded database."""
    events = [a_prediction_event(1, subject=ADA), a_feedback_event(1001)]
    apply(
        database,
        an_arrival(events, partition=6, topic_id=""),
        models=MODELS,
        slice_values_per_hour=200,
        worker="test",
        now_us=START_US,
    )


def test_a_dry_run_says_what_would_be_erased(errata, erasures_file, of_ada):
    answer = errata("erase", ADA, "--dry-run")
    assert answer.out.startswith("would erase 1 predictions, 1 feedback, 0 voc")
    assert not erasures_file.exists()


def test_a_person_is_erased_and_the_numbers_are_still_right(errata, erasures_file, of_ada):
    assert errata("erase", ADA, "--json").json()["predictions"] == 1
    assert errata("verify").code == 0
    assert errata("erase", ADA, "--json").json()["predictions"] == 0
    assert ADA not in erasures_file.read_text()


def copy(source, target):
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)


def test_after_a_restored_backup_they_are_erased_again(errata, erasures_file, of_ada, seeded, tmp_path):
    file = seeded.url.removeprefix("sqlite:///")
    backup = tmp_path / "backup.db"
    copy(file, backup)
    errata("erase", ADA)
    copy(backup, file)
    assert errata("erase", "--again", "--json").json()["predictions"] == 1
    assert errata("verify").code == 0
    restored = open_database(seeded.url)
    with restored.read() as c:
        assert ADA not in set(c.scalars(predictions.select().with_only_columns(predictions.c.subject)))
    restored.close()


def test_spools_lose_the_person_and_the_answers_to_its_predictions(errata, erasures_file, of_ada, tmp_path):
    spool = Spool(tmp_path / "spool")
    answer = {"prediction_id": number_id(1), "corrected": "x"}
    other = {"subject": "bob"}
    spooled = [
        {"id": number_id(8), "data": {"subject": ADA}},
        {"data": answer},
        {"data": {"prediction_id": number_id(8)}},
        {"data": other},
    ]
    spool.append([json.dumps(each).encode() for each in spooled])
    spool.close()
    assert errata("erase", ADA, "--spool", str(tmp_path / "spool"), "--json").json()["spooled"] == 3
    left = Spool(tmp_path / "spool")
    assert [json.loads(entry) for entry in left.read(9, 10**6)] == [{"data": other}]
    left.close()


def test_spools_of_services_that_run_are_left_alone_and_said(errata, erasures_file, of_ada, tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.append([json.dumps({"data": {"subject": ADA}}).encode()])
    assert "1 spool files belong to services" in errata("erase", ADA, "--spool", str(tmp_path / "spool")).err
    spool.close()


@pytest.mark.parametrize("arguments", [[], [ADA, "--again"], ["--again", "--dry-run"]])
def test_it_has_to_be_said_whose(errata, erasures_file, seeded, arguments):
    answer = errata("erase", *arguments)
    assert answer.code == 2
    assert "give a SUBJECT" in answer.err
