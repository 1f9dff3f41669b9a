"""A short run of `make malformed`, and a judge who sees what is wrong."""

import pytest
from sqlalchemy import delete, update

from bench.malformed.judging import judge_records
from bench.malformed.kinds import KINDS
from bench.malformed.records import make_runs
from bench.malformed.trying import try_in_process
from storage.database import Database, open_database
from storage.tables import dead_letters, predictions

NOW_US = 1_795_415_400_000_000
N = 1000


def keep_quiet(_: str) -> None:
    """Say nothing."""


def test_there_are_many_kinds_and_each_is_made():
    made = [each for run in make_runs(N, 1) for each in run.made.values()]
    assert {spoiled.name for each in made for spoiled in each.spoiled.values()} == {
        each.name for each in KINDS
    }
    assert len(KINDS) >= 60


def test_every_malformed_event_is_a_dead_letter_for_its_reason_and_every_good_one_is_stored(
    database_url: str,
):
    report = try_in_process(database_url, N, 1, NOW_US, keep_quiet)
    assert report["malformed"] == N
    assert report["good"] > N / 4
    faults = ("dead_letters_missing", "wrong_reason", "bytes_missing", "neighbours_lost", "differences")
    assert {name: report[name] for name in faults} == dict.fromkeys(faults, 0) | {"differences": []}


@pytest.fixture
def stored(dialect: str, tmp_path) -> Database:
    url = f"sqlite:///{tmp_path / 'malformed.db'}"
    try_in_process(url, 200, 1, NOW_US, keep_quiet)
    return open_database(url)


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_the_judge_sees_what_is_missing_wrong_or_lost(stored: Database):
    made = next(make_runs(200, 1))
    with stored.write() as c:
        c.execute(delete(dead_letters).where(dead_letters.c.offset == 0))
        c.execute(update(dead_letters).where(dead_letters.c.offset == 1).values(reason="bad_day", raw=b""))
        c.execute(delete(predictions))
    found = judge_records(stored, made.run.topic, made.run.partition, made.made)
    stored.close()
    n_good = sum(len(each.good_predictions) for each in made.made.values())
    assert (found.dead_letters_missing, found.wrong_reason, found.neighbours_lost) == (1, 1, n_good)
    assert found.bytes_missing <= 1
