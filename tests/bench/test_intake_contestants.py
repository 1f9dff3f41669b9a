"""The other contestants do the job: every fact once, and windows that agree with Errata's."""

import json
from contextlib import closing

import pytest
from sqlalchemy import func, select

from bench.intake.contestants.storing import Store, connect
from bench.intake.events import MODELS, encode, make_events, share_out
from bench.intake.servers import as_libpq
from bench.intake.stages import Stopwatch, watched
from bench.intake.stored_before import store_before
from errata.events import FeedbackData, PredictionData
from storage.intake import apply
from storage.tables import feedback, outcomes, predictions, windows
from tests.builders import START_US, an_arrival

MADE = list(make_events(share_out(390, seed=7, end_us=START_US)))
SHOWN = {event.id: event.data.output for event in MADE if isinstance(event.data, PredictionData)}
#: An edit back to what was shown is an accept for Errata alone.
EVENTS = [
    event
    for event in MADE
    if isinstance(event.data, PredictionData) or event.data.corrected != SHOWN[event.data.prediction_id]
]


def sums(db):
    """The counts of every window that are not all zero, over all shards."""
    w = windows.c
    counts = [func.sum(w[name]) for name in ("n", "n_edit", "n_accept", "n_reject")]
    keys = [w.model, w.version, w.slice, w.minute_us]
    with db.read() as c:
        rows = c.execute(select(*keys, *counts).group_by(*keys)).all()
    return {tuple(row[:4]): tuple(int(n) for n in row[4:]) for row in rows}


def count(db, table) -> int:
    with db.read() as c:
        return c.scalar(select(func.count()).select_from(table))


@pytest.fixture
def errata_sums(db, database_url):
    """What Errata counts of the same events; the database is empty again afterwards."""
    apply(db, an_arrival(EVENTS), models=MODELS, slice_values_per_hour=200, worker="test", now_us=START_US)
    found = sums(db)
    with db.write() as c:
        for table in (predictions, feedback, outcomes, windows):
            c.execute(table.delete())
    return found


@pytest.mark.parametrize("portion", [1, 400])
def test_the_store_counts_what_errata_counts_however_often_it_is_told(
    db, database_url, errata_sums, portion: int
) -> None:
    told = [json.loads(each.raw) for each in encode(EVENTS)]
    with closing(connect(as_libpq(database_url))) as connection:
        store = Store(connection, n_events=10**9, seconds=10**9)
        for start in range(0, len(told), portion):
            store.store(told[start : start + portion])
        store.store(told[: len(told) // 2])
    assert count(db, predictions) == 300
    assert count(db, feedback) == len({event.id for event in EVENTS if isinstance(event.data, FeedbackData)})
    assert {key: n for key, n in sums(db).items() if any(n)} == errata_sums


def test_rows_stored_before_are_predictions_with_their_feedback_and_outcomes(db) -> None:
    store_before(db, 1300, START_US)
    assert [count(db, table) for table in (predictions, feedback, outcomes)] == [1000, 300, 300]
    with db.read() as c:
        pair = select(func.count()).select_from(
            feedback.join(predictions, predictions.c.id == feedback.c.prediction_id)
        )
        assert c.scalar(pair) == 300
        assert c.scalar(select(func.max(predictions.c.time_us))) <= START_US


def test_the_stopwatch_gives_every_moment_to_the_innermost_stage() -> None:
    ticks = iter([0.0, 1.0, 3.0, 7.0])
    stopwatch = Stopwatch(lambda: next(ticks))
    stopwatch.start("outer")
    stopwatch.start("inner")
    stopwatch.stop()
    stopwatch.stop()
    assert stopwatch.seconds == {"outer": 5.0, "inner": 2.0}


def test_the_profile_finds_the_functions_that_it_watches(db) -> None:
    stopwatch = Stopwatch()
    with watched(stopwatch) as missing:
        apply(
            db, an_arrival(EVENTS), models=MODELS, slice_values_per_hour=200, worker="test", now_us=START_US
        )
    assert missing == []
    assert {"pairing", "windows", "commit"} <= set(stopwatch.seconds)
