"""Rounds of the continuous verification find what verify() finds, a piece at a time, and nothing on a live system."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, update

from errata.identity import new_id
from storage import verify_rounds
from storage.alerts import list_open
from storage.database import Database
from storage.tables import dead_letters, intake_ledger, intake_positions, outcomes, windows
from storage.verify_rounds import SETTLED_US, get_round, verify_next
from tests.builders import (
    MINUTE_US,
    START_US,
    a_dead_letter,
    a_feedback_event,
    a_prediction_event,
    a_voc_event,
    an_arrival,
)
from tests.storage.conftest import MODELS, Apply

#: Long after everything was stored; each round has a time of its own.
CLOCK = itertools.count(START_US + 10 * SETTLED_US)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces end in the middle of everything that they could end in the middle of."""
    monkeypatch.setattr(verify_rounds, "_LEDGER_ROWS", 2)
    monkeypatch.setattr(verify_rounds, "_PREDICTIONS", 3)
    monkeypatch.setattr(verify_rounds, "_PREDICTIONS_AT_ONCE", 2)


@pytest.fixture
def counted(db: Database, apply_to: Apply) -> Database:
    """Predictions of two models over some minutes, five of them in one, some edited; a comment and a dead letter."""
    times = [0, 1, 1, 1, 1, 1, 4, 5]
    made = [
        a_prediction_event(number, time_us=START_US + minute * MINUTE_US)
        for number, minute in enumerate(times, start=1)
    ]
    for offset, event in enumerate(made):
        apply_to(an_arrival([event], first_offset=offset))
    apply_to(an_arrival(dead=[a_dead_letter(8)], first_offset=8))
    other = a_prediction_event(20, model="zebra")
    apply_to(an_arrival([other], partition=1), models={**MODELS, "zebra": MODELS["card-reader"]})
    apply_to(
        an_arrival([a_feedback_event(1001), a_feedback_event(1002, prediction=3)], topic="errata.feedback")
    )
    apply_to(an_arrival([a_voc_event(2001)], topic="errata.voc"))
    return db


def one_round(db: Database, now_us: int | None = None) -> tuple[list[str], int]:
    """The differences of one whole round, and the number of its pieces."""
    differences: list[str] = []
    now_us = next(CLOCK) if now_us is None else now_us
    for n_pieces in range(1, 1000):
        current, found = verify_next(db, MODELS, now_us, new_id)
        differences += found
        if current.completed_us == now_us:
            return differences, n_pieces
    raise AssertionError("the round has no end")


def test_an_empty_database_has_a_round_too(db: Database) -> None:
    assert one_round(db)[0] == []


def test_a_round_goes_on_where_any_worker_left_it_and_finds_nothing(counted: Database) -> None:
    differences, n_pieces = one_round(counted)
    assert differences == []
    assert n_pieces > 10
    with counted.read() as c:
        current = get_round(c)
    assert current is not None
    assert current.completed_us is not None
    assert current.n_differences_before == 0


TAMPERING: dict[str, tuple[Callable[[Connection], Any], str]] = {
    "a count": (
        lambda c: c.execute(update(windows).where(windows.c.minute_us == START_US + MINUTE_US).values(n=9)),
        "of card-reader 1, slice all: n is 9, but the facts say 5",
    ),
    "a window of a model that has no predictions": (
        lambda c: c.execute(update(windows).where(windows.c.model == "zebra").values(model="yak")),
        "of yak 1, slice all: n is 1, but the facts say 0",
    ),
    "a missing window": (
        lambda c: c.execute(delete(windows).where(windows.c.model == "zebra")),
        "of zebra 1, slice all: n is 0, but the facts say 1",
    ),
    "a missing outcome": (lambda c: c.execute(delete(outcomes)), "has feedback but no outcome"),
    "a hole": (
        lambda c: c.execute(delete(intake_ledger).where(intake_ledger.c.first_offset == 3)),
        "offsets 4 to 5: nothing is known of the offsets from 3 on before it",
    ),
    "offsets applied twice": (
        lambda c: c.execute(
            update(intake_ledger).where(intake_ledger.c.first_offset == 1).values(next_offset=3)
        ),
        "offsets 2 to 3: offsets up to 3 were applied before",
    ),
    "a position": (
        lambda c: c.execute(update(intake_positions).values(next_offset=7)),
        "position of errata.voc 0 is 7, but the ledger ends at 1",
    ),
    "a lost dead letter": (
        lambda c: c.execute(delete(dead_letters)),
        "has 0 dead letters, but the ledger says 1",
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_it_finds(what: str, counted: Database) -> None:
    tamper, sentence = TAMPERING[what]
    with counted.write() as c:
        tamper(c)
    differences, _ = one_round(counted)
    assert any(sentence in difference for difference in differences), differences
    with counted.read() as c:
        current = get_round(c)
    assert current is not None
    assert current.n_differences_before == len(differences)


def test_what_was_mended_is_forgotten_after_the_next_round(counted: Database) -> None:
    with counted.write() as c:
        c.execute(update(windows).where(windows.c.model == "zebra").values(n=9))
    assert len(one_round(counted)[0]) == 2
    with counted.read() as c:
        (alert,) = list_open(c)
    assert (alert.severity, alert.kind) == ("critical", "difference")
    assert "zebra" in alert.sentence
    with counted.write() as c:
        c.execute(update(windows).where(windows.c.model == "zebra").values(n=1))
    assert one_round(counted)[0] == []
    with counted.read() as c:
        current = get_round(c)
        assert list_open(c) == []
    assert current is not None
    assert (current.n_differences, current.n_differences_before) == (0, 0)


def test_a_pair_that_the_sweep_still_comes_to_is_no_difference(counted: Database) -> None:
    with counted.write() as c:
        c.execute(delete(outcomes))
        edits = {"n_edit": 0, "n_accept": 0, "n_reject": 0, "n_distance": 0, "distance_ppm": 0}
        c.execute(update(windows).values(**edits, distance_ppm_squares=0, shown=b""))
    assert one_round(counted, START_US + SETTLED_US - 1)[0] == []
    assert len(one_round(counted)[0]) > 0


def test_while_events_are_stored_nothing_is_found_that_is_not_there(
    counted: Database, apply_to: Apply
) -> None:
    """Two partitions are written to while rounds are made; each event moves a window of a minute that is compared."""
    failures: list[BaseException] = []

    def store(partition: int) -> None:
        try:
            for number in range(40):
                own = 100 + 1000 * partition + number
                events = [a_prediction_event(own), a_feedback_event(10_000 + own, prediction=own)]
                apply_to(an_arrival([events[0]], partition=partition, first_offset=number))
                apply_to(
                    an_arrival([events[1]], topic="errata.feedback", partition=partition, first_offset=number)
                )
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=store, args=(partition,)) for partition in (2, 3)]
    for writer in writers:
        writer.start()
    n_rounds = 0
    while any(writer.is_alive() for writer in writers):
        assert one_round(counted)[0] == []
        n_rounds += 1
    for writer in writers:
        writer.join()
    assert failures == []
    assert n_rounds > 0
    assert one_round(counted)[0] == []
