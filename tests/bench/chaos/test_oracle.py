"""The oracle finds each kind of damage: a campaign is worth as much as what judges it."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chaos.observing import observe
from bench.chaos.oracle import Expected, Observed, distance_ppm
from bench.chaos.traffic import MODEL, NEWCOMER, PERSONS, make_traffic
from errata.settings import Model, Retention, Task
from quality.distances import measure_distance
from storage.database import Database, open_database
from storage.erasing import erase_content
from storage.intake import apply, sweep_orphans
from storage.retention import remove_old
from streams.decoding import decode_run
from streams.driver import FetchedRecord, FetchedRun
from tests.builders import MINUTE_US, START_US

MODELS = {MODEL: Model(task=Task(kind="text"))}
DAY_US = 24 * 60 * MINUTE_US


@pytest.fixture(scope="module")
def stored_once(
    migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Expected, Observed]:
    """A database with 300 records, what must be stored of them, and what is; SQLite, as both are judged the same."""
    file = tmp_path_factory.mktemp("stored") / "errata.db"
    shutil.copy(migrated_sqlite_file, file)
    db = open_database(f"sqlite:///{file}")
    try:
        expected = store_traffic(db)
        return file, expected, observe(db)
    finally:
        db.close()


def store_traffic(db: Database) -> Expected:
    expected = Expected()
    next_offsets: Counter[tuple[str, int]] = Counter()
    for record in islice(make_traffic(3, 2, START_US), 300):
        partition = record.topic, record.partition
        offset = next_offsets[partition]
        next_offsets[partition] += 1
        expected.add(partition, offset, record.holds)
        fetched = FetchedRecord(offset, 0, record.key, record.value, tuple(record.headers))
        run = FetchedRun(*partition, offset, offset + 1, (fetched,), "id")
        # The traffic lasts five days, and its clock stands at their end.
        now_us = START_US + 5 * 86_400_000_000
        apply(
            db,
            decode_run(run, now_us),
            models=MODELS,
            slice_values_per_hour=200,
            worker="worker",
            now_us=now_us,
        )
    sweep_orphans(db, MODELS, START_US, None)
    return expected


@pytest.fixture
def stored(stored_once: tuple[Path, Expected, Observed]) -> tuple[Expected, Observed]:
    """What must be stored, and what is, for one test to damage."""
    _, expected, observed = stored_once
    return deepcopy(expected), deepcopy(observed)


@pytest.fixture
def db(stored_once: tuple[Path, Expected, Observed], tmp_path: Path) -> Iterator[Database]:
    """A copy of the database for one test."""
    shutil.copy(stored_once[0], tmp_path / "errata.db")
    opened = open_database(f"sqlite:///{tmp_path / 'errata.db'}")
    yield opened
    opened.close()


def test_the_real_transaction_is_right(stored):
    expected, observed = stored
    judgement = expected.judge(observed)
    assert judgement.is_right(), judgement
    assert judgement.sent == expected.n_sent() > 1000


def lose_an_event(observed: Observed) -> None:
    observed.ids.popitem()


def store_an_event_twice(observed: Observed) -> None:
    observed.ids[next(iter(observed.ids))] += 1


def count_one_more(observed: Observed) -> None:
    next(iter(observed.windows.values()))["n"] += 1


def forget_a_window(observed: Observed) -> None:
    observed.windows.popitem()


def forget_a_latency(observed: Observed) -> None:
    numbers = next(
        each for each in observed.windows.values() if any(name.startswith("served") for name in each)
    )
    del numbers[next(name for name in numbers if name.startswith("served"))]


def forget_a_dead_letter(observed: Observed) -> None:
    observed.dead_letters.popitem()


def give_a_wrong_reason(observed: Observed) -> None:
    observed.dead_letters[next(iter(observed.dead_letters))] = "no reason"


def count_a_duplicate_as_new(observed: Observed) -> None:
    partition = next(iter(observed.ledger))
    n, new, duplicate, dead = observed.ledger[partition]
    observed.ledger[partition] = (n, new + 1, duplicate - 1, dead)


def skip_a_record(observed: Observed) -> None:
    partition = next(iter(observed.ends))
    observed.ends[partition] = None


@pytest.mark.parametrize(
    ("damage", "told_as"),
    [
        (lose_an_event, "lost"),
        (store_an_event_twice, "double"),
        (count_one_more, "wrong_windows"),
        (forget_a_window, "wrong_windows"),
        (forget_a_latency, "wrong_windows"),
        (forget_a_dead_letter, "dead_letters_missing"),
        (give_a_wrong_reason, "dead_letters_wrong"),
        (count_a_duplicate_as_new, "double"),
        (skip_a_record, "ledger_wrong"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_each_damage_is_told(stored, damage: Callable[[Observed], None], told_as: str):
    expected, observed = stored
    damage(observed)
    judgement = expected.judge(observed)
    assert getattr(judgement, told_as) == 1
    assert not judgement.is_right()


def test_what_is_mended_must_be_stored(stored):
    expected, observed = stored
    mended = expected.mend()
    assert {event.data.model for event in mended.values()} == {NEWCOMER}
    assert expected.judge(observed).lost == len(mended) > 0


def test_a_person_of_whom_something_is_kept_is_told(stored):
    expected, observed = stored
    expected.erase(PERSONS[0])
    judgement = expected.judge(observed)
    assert judgement.remaining > 1
    assert not judgement.is_right()


def test_an_erased_person_is_gone_and_stays_counted(db: Database, stored):
    expected, observed = stored
    assert PERSONS[0] in observed.subjects
    expected.erase(PERSONS[0])
    erase_content(db, PERSONS[0])
    judgement = expected.judge(observe(db))
    assert judgement.is_right(), judgement


def test_what_is_erased_of_somebody_else_is_lost(db: Database, stored):
    expected, _ = stored
    expected.erase(PERSONS[0])
    erase_content(db, PERSONS[0])
    erase_content(db, PERSONS[1])
    assert expected.judge(observe(db)).lost > 1


def test_what_is_purged_is_gone_and_stays_counted(db: Database, stored):
    expected, observed = stored
    expected.purge(START_US + DAY_US // 2)
    assert expected.judge(observed).remaining == expected.n_purged() > 100
    remove_old(db, Retention(predictions_days=5.5), START_US + 6 * DAY_US)
    judgement = expected.judge(observe(db))
    assert judgement.is_right(), judgement


def test_a_window_that_lacks_a_purged_prediction_is_told(stored):
    expected, observed = stored
    expected.purge(START_US + DAY_US // 2)
    before = expected.judge(observed).wrong_windows
    key = next(key for key, numbers in observed.windows.items() if key[3] < START_US + DAY_US // 2)
    observed.windows[key]["n"] += 1
    assert (before, expected.judge(observed).wrong_windows) == (0, 1)


def test_a_naive_worker_is_judged_by_how_often_an_event_was_sent():
    expected = Expected()
    for record in islice(make_traffic(3, 2, START_US), 300):
        expected.add((record.topic, record.partition), 0, record.holds)
    ids = Counter(
        held.id
        for record in islice(make_traffic(3, 2, START_US), 300)
        for held in record.holds
        if not isinstance(held, str)
    )
    assert expected.judge_naively(ids) == (0, 0)
    lost, twice = list(ids)[:2]
    assert expected.judge_naively(ids - Counter([lost]) + Counter([twice])) == (1, 1)


@given(shown=st.text("0123", max_size=8), corrected=st.text("0123", max_size=8))
def test_its_own_distance_is_that_of_the_definition(shown: str, corrected: str):
    assert distance_ppm(shown, corrected) == measure_distance(Task(kind="text"), shown, corrected)
