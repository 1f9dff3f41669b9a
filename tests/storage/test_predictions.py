"""Predictions are read with what became of them."""

from dataclasses import replace
from typing import Any

import pytest

from errata.events import Who
from quality.drift import Matured, Singles
from storage.database import Database
from storage.errors import NotFound
from storage.predictions import (
    count_predictions,
    count_subjects,
    get_prediction,
    read_confidences,
    read_matured,
    read_predictions,
)
from storage.records import Prediction
from tests.builders import MINUTE_US, SECOND_US, START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.records import MODEL, number_id
from tests.storage.conftest import Apply

HOUR_US = 60 * MINUTE_US


@pytest.fixture
def filled(db: Database, apply_to: Apply) -> Database:
    """Four predictions a minute apart: edited, accepted, rejected after two hours, silent."""
    made = [
        a_prediction_event(
            number,
            time_us=START_US + number * MINUTE_US,
            version="2" if number == 3 else "1",
            tags={"shop": f"A{number}"},
        )
        for number in range(4)
    ]
    given = [
        a_feedback_event(1000, prediction=0, corrected="42", time_us=START_US + SECOND_US),
        a_feedback_event(1001, prediction=1, action="accept", time_us=START_US + 2 * MINUTE_US),
        a_feedback_event(1002, prediction=2, action="reject", time_us=START_US + 2 * HOUR_US),
    ]
    apply_to(an_arrival([*made, *given]))
    return db


def numbers(found: list[Prediction]) -> list[int]:
    return [int(each.id[-4:], 16) for each in found]


def test_a_prediction_with_all_its_fields(db: Database, apply_to: Apply) -> None:
    made = a_prediction_event(
        1,
        output={"number": "4111"},
        input={"image": "a.png"},
        features=[0.5, 1.0],
        tags={"device": "ios"},
        subject="someone",
    )
    given = a_feedback_event(corrected="4112", who="user", time_us=START_US + SECOND_US)
    apply_to(an_arrival([made, given]))
    with db.read() as c:
        assert get_prediction(c, number_id(1)) == Prediction(
            id=number_id(1),
            model=MODEL,
            version="1",
            time_us=START_US,
            output={"number": "4111"},
            confidence=0.9,
            input={"image": "a.png"},
            input_uri=None,
            features=[0.5, 1.0],
            latency_us=12_500,
            tags={"device": "ios"},
            subject="someone",
            action="edit",
            corrected="4112",
            # A text can't be compared with an object.
            distance_ppm=None,
            who_id="user-1",
        )
    assert Who(kind="user", id="user-1") == given.data.who


def test_a_silent_prediction(filled: Database) -> None:
    with filled.read() as c:
        silent = get_prediction(c, number_id(3))
    assert (silent.action, silent.corrected, silent.distance_ppm, silent.who_id) == (None, None, None, None)


def test_a_prediction_that_is_not_there(db: Database) -> None:
    with pytest.raises(NotFound, match="prediction"), db.read() as c:
        get_prediction(c, number_id(1))


def test_the_latest_come_first_and_are_chosen_by_every_condition(filled: Database) -> None:
    with filled.read() as c:
        assert numbers(read_predictions(c, model=MODEL, limit=10)) == [3, 2, 1, 0]
        assert numbers(read_predictions(c, model=MODEL, limit=2)) == [3, 2]
        assert numbers(read_predictions(c, model=MODEL, version="1", limit=2)) == [2, 1]
        assert numbers(read_predictions(c, model=MODEL, action="edit", limit=2)) == [0]
        assert numbers(read_predictions(c, model=MODEL, since_us=START_US + 2 * MINUTE_US, limit=9)) == [3, 2]
        assert numbers(read_predictions(c, model=MODEL, until_us=START_US + 2 * MINUTE_US, limit=9)) == [1, 0]
        assert numbers(read_predictions(c, model=MODEL, slice="shop=A2", limit=9)) == [2]
        assert numbers(read_predictions(c, model=MODEL, slice="shop=a2", limit=9)) == []
        assert numbers(read_predictions(c, model=MODEL, slice="shop=A", limit=9)) == []


def test_predictions_are_counted(filled: Database) -> None:
    with filled.read() as c:
        assert count_predictions(c, model=MODEL) == 4
        assert count_predictions(c, model=MODEL, not_version="1") == 1
        assert count_predictions(c, model=MODEL, slice="shop=A1") == 1
        assert count_predictions(c, model=MODEL, until_us=START_US + MINUTE_US) == 1
        assert count_predictions(c, model=MODEL, since_us=START_US + MINUTE_US) == 3


def read(db: Database, horizon_us: int, *, step_us: int = MINUTE_US, **given: Any) -> list[Matured]:
    span = {"after_us": START_US - 1, "until_us": START_US + 2 * MINUTE_US, "most_steps": 100} | given
    with db.read() as c:
        return read_matured(c, model=MODEL, version="1", horizon_us=horizon_us, step_us=step_us, **span)


def test_matured_predictions_by_step_and_slice_with_the_corrections_that_came_in_time(
    filled: Database,
) -> None:
    times = [START_US + number * MINUTE_US for number in range(3)]
    assert read(filled, HOUR_US) == [
        Matured(times[0], times[0], {"all": (1, 1), "shop=A0": (1, 1)}),
        Matured(times[1], times[1], {"all": (1, 0), "shop=A1": (1, 0)}),
        Matured(times[2], times[2], {"all": (1, 0), "shop=A2": (1, 0)}),
    ]
    (step,) = read(filled, 3 * HOUR_US, step_us=HOUR_US)
    assert (step.start_us, step.end_us) == (times[0], times[2])
    assert step.counts == {"all": (3, 2), "shop=A0": (1, 1), "shop=A1": (1, 0), "shop=A2": (1, 1)}


def test_each_prediction_is_read_in_its_order_with_the_same_counts(db: Database, apply_to: Apply) -> None:
    times = [START_US + SECOND_US * place for place in (5, 2, 2, 70)]
    tags = [{"shop": "A"}, {"shop": "A"}, {}, {"shop": "B"}]
    events = [
        a_prediction_event(9 - number, time_us=time_us, tags=each)
        for number, (time_us, each) in enumerate(zip(times, tags, strict=True))
    ]
    apply_to(an_arrival([*events, a_feedback_event(prediction=7, time_us=START_US + 3 * SECOND_US)]))
    first, second = read(db, HOUR_US, with_singles=True)
    assert first.singles == Singles(
        (number_id(7), number_id(8), number_id(9)), ((), ("shop=A",), ("shop=A",)), (True, False, False)
    )
    assert second.singles == Singles((number_id(6),), (("shop=B",),), (False,))
    counted = read(db, HOUR_US)
    assert [replace(step, singles=Singles()) for step in (first, second)] == counted


def test_confidences_are_read_with_what_became_of_their_predictions_the_latest_first(
    db: Database, apply_to: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        a_prediction_event(number, time_us=START_US + number * SECOND_US, confidence=confidence, tags=tags)
        for number, (confidence, tags) in enumerate(
            [(0.1, {}), (0.2, {"shop": "A"}), (None, {}), (0.4, {}), (0.5, {})]
        )
    ]
    edits = [
        a_feedback_event(101, prediction=1, time_us=START_US + 11 * SECOND_US),
        a_feedback_event(103, prediction=3, time_us=START_US + HOUR_US),
    ]
    apply_to(an_arrival([*events, *edits]))
    until_us = START_US + 3 * SECOND_US

    def read_some(limit: int = 9, slice_name: str = "all") -> list[tuple[float, bool]]:
        with db.read() as c:
            return read_confidences(
                c,
                model=MODEL,
                version="1",
                slice=slice_name,
                since_us=START_US,
                until_us=until_us,
                horizon_us=MINUTE_US,
                limit=limit,
            )

    assert read_some() == [(0.4, False), (0.2, True), (0.1, False)]
    assert read_some(limit=1) == [(0.4, False)]
    assert read_some(slice_name="shop=A") == [(0.2, True)]
    monkeypatch.setattr("storage.predictions._LOOKED_AT", 2)
    assert read_some() == [(0.4, False)]


@pytest.mark.parametrize("with_singles", [False, True])
def test_the_predictions_of_a_session_are_told_together(
    db: Database, apply_to: Apply, with_singles: bool
) -> None:
    who = [
        {"session": "a", "subject": "x"},
        {"session": "a", "subject": "y", "tags": {"shop": "B"}},
        {"session": None, "subject": "a"},
        {"session": None, "subject": "a"},
        {"session": None, "subject": None},
        {"session": None, "subject": None},
    ]
    events = [a_prediction_event(number, **({"tags": {}} | each)) for number, each in enumerate(who)]
    corrected = [a_feedback_event(100 + number, prediction=number) for number in (0, 1, 3, 5)]
    apply_to(an_arrival([*events, *corrected]))
    (step,) = read(db, HOUR_US, by_session=True, with_singles=with_singles)
    assert step.counts == {"all": (6, 4), "shop=B": (1, 1)}
    assert step.sessions == {"all": ((1, 0), (1, 1), (2, 1), (2, 2)), "shop=B": ((1, 1),)}
    # Of a session the first stands for all.
    assert step.singles.ids == (tuple(number_id(each) for each in (0, 2, 4, 5)) if with_singles else ())


def test_a_backlog_of_single_predictions_is_read_in_whole_steps(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = read(filled, HOUR_US, with_singles=True)
    monkeypatch.setattr("storage.predictions._MOST_SINGLES", 2)
    part = read(filled, HOUR_US, with_singles=True)
    assert len(everything) == 3
    assert part == everything[:2]


def test_predictions_with_several_tags_are_counted_under_each(db: Database, apply_to: Apply) -> None:
    tags = [{"device": "ios", "shop": "A"}, {"device": "ios", "shop": "B"}, {}]
    apply_to(an_arrival([a_prediction_event(number, tags=each) for number, each in enumerate(tags)]))
    (step,) = read(db, HOUR_US)
    assert step.counts == {"all": (3, 0), "device=ios": (2, 0), "shop=A": (1, 0), "shop=B": (1, 0)}


def test_a_span_is_open_at_its_start_and_closed_at_its_end(filled: Database) -> None:
    (step,) = read(filled, HOUR_US, after_us=START_US, until_us=START_US + MINUTE_US)
    assert (step.start_us, step.counts["all"]) == (START_US + MINUTE_US, (1, 0))


def test_of_a_backlog_the_first_steps_are_read(filled: Database) -> None:
    assert [step.start_us for step in read(filled, HOUR_US, most_steps=2)] == [START_US, START_US + MINUTE_US]
    assert [step.start_us for step in read(filled, HOUR_US, after_us=START_US, most_steps=1)] == [
        START_US + MINUTE_US
    ]
    assert read(filled, HOUR_US, after_us=START_US + 2 * MINUTE_US) == []


def test_subjects_are_counted_once_and_what_has_none_by_itself(db: Database, apply_to: Apply) -> None:
    subjects = ["ada", "ada", "bo", None, None]
    events = [
        a_prediction_event(number, time_us=START_US + number, subject=subject)
        for number, subject in enumerate(subjects)
    ]
    apply_to(an_arrival([*events, a_prediction_event(9, time_us=START_US + 9, tags={"device": "android"})]))
    with db.read() as c:
        until_us = START_US + 9
        assert count_subjects(c, model=MODEL, version="1", since_us=START_US, until_us=until_us) == 5
        assert count_subjects(c, model=MODEL, version="1", since_us=START_US + 2, until_us=until_us) == 4
        ios = count_subjects(
            c, model=MODEL, version="1", slice="device=ios", since_us=START_US, until_us=until_us
        )
    assert ios == 4
