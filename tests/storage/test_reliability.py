"""Confidence beside outcome, per version and slice."""

import pytest

from errata.settings import Model
from storage.intake import apply
from storage.reliability import read_reliability
from tests.builders import SECOND_US, START_US, a_feedback_event, a_prediction_event, an_arrival

MODELS = {"card-reader": Model()}


def store(db) -> None:
    """Four answered predictions, two of them right; a silent one, and one without confidence."""
    made = [
        a_prediction_event(1, confidence=0.95, tags={"device": "ios"}, time_us=START_US),
        a_prediction_event(2, confidence=0.85, tags={"device": "ios"}, time_us=START_US + SECOND_US),
        a_prediction_event(3, confidence=0.35, tags={}, time_us=START_US + 2 * SECOND_US),
        a_prediction_event(4, confidence=1.0, tags={}, version="2", time_us=START_US + 3 * SECOND_US),
        a_prediction_event(5, confidence=0.5, tags={}),
        a_prediction_event(6, confidence=None, tags={}),
    ]
    given = [
        a_feedback_event(1001, prediction=1, action="accept"),
        a_feedback_event(1002, prediction=2, action="edit"),
        a_feedback_event(1003, prediction=3, action="reject"),
        a_feedback_event(1004, prediction=4, action="accept"),
        a_feedback_event(1006, prediction=6, action="accept"),
    ]
    for events, topic in ((made, "errata.predictions"), (given, "errata.feedback")):
        arrival = an_arrival(events, topic=topic)
        apply(db, arrival, models=MODELS, slice_values_per_hour=200, worker="w", now_us=START_US)


def read(db, **given):
    with db.read() as c:
        return read_reliability(
            c, model="card-reader", since_us=START_US, until_us=START_US + 60 * SECOND_US, **given
        )


def test_answered_predictions_with_a_confidence_are_counted_by_version_and_slice(db):
    store(db)
    found = read(db)
    assert found.since_us is None
    assert {key: each.accuracy.n for key, each in found.by_slice.items()} == {
        ("1", "all"): 3,
        ("1", "device=ios"): 2,
        ("2", "all"): 1,
    }
    ios = found.by_slice["1", "device=ios"]
    assert ios.accuracy.value == 0.5
    assert ios.expected == pytest.approx(0.9)
    assert ios.brier == pytest.approx((0.05**2 + 0.85**2) / 2)


def test_a_long_span_is_cut_to_the_latest_and_says_since_when(db):
    store(db)
    found = read(db, at_most=2)
    assert found.since_us == START_US + 2 * SECOND_US
    assert set(found.by_slice) == {("1", "all"), ("2", "all")}


def test_without_answers_there_is_nothing(db):
    assert read(db).by_slice == {}
