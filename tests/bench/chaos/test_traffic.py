from collections import Counter
from itertools import islice

from bench.chaos.traffic import NEWCOMER, make_traffic
from errata.events import Event, FeedbackData, PredictionData
from errata.wire import decode_record
from tests.builders import START_US

RECORDS = list(islice(make_traffic(3, 3, START_US), 4000))
HELD = [held for record in RECORDS for held in record.holds]
EVENTS = [held for held in HELD if isinstance(held, Event)]


def test_a_seed_gives_the_same_traffic_again():
    assert list(islice(make_traffic(3, 3, START_US), 100)) == RECORDS[:100]
    assert list(islice(make_traffic(4, 3, START_US), 100)) != RECORDS[:100]


def test_a_record_holds_what_is_said_of_it():
    for record in RECORDS:
        decoded = decode_record(record.headers, record.value)
        found: dict[int, Event | str] = dict(decoded.events)
        found |= {refused.position: refused.reason for refused in decoded.refused}
        told = dict(enumerate(record.holds))
        # That a time is in the future, only the worker can tell, which has a clock.
        assert {place: each for place, each in found.items() if told[place] != "future_time"} == {
            place: each for place, each in told.items() if each != "future_time"
        }


def test_it_has_everything_that_makes_it_hard():
    times = Counter(event.id for event in EVENTS)
    assert 0.05 < sum(n > 1 for n in times.values()) / len(times) < 0.15
    first = {event.id: place for place, event in reversed(list(enumerate(EVENTS)))}
    pairs = [
        (first.get(event.data.prediction_id), first[event.id])
        for event in EVENTS
        if isinstance(event.data, FeedbackData)
    ]
    assert any(prediction is None for prediction, _ in pairs)
    assert any(prediction is not None and prediction > feedback for prediction, feedback in pairs)
    assert sum(isinstance(held, str) for held in HELD) > 50
    assert any(isinstance(event.data, PredictionData) and event.data.model == NEWCOMER for event in EVENTS)


def test_some_pairs_are_in_different_partitions():
    partition_of = {
        held.id: record.partition for record in RECORDS for held in record.holds if isinstance(held, Event)
    }
    apart = [
        partition_of[event.id] != partition_of[event.data.prediction_id]
        for event in EVENTS
        if isinstance(event.data, FeedbackData) and event.data.prediction_id in partition_of
    ]
    assert 0.05 < sum(apart) / len(apart) < 0.3
