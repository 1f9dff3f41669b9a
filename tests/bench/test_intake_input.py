"""The input of the benchmark is the same for the same seed, and what it says it is."""

from collections import Counter

import pytest

from bench.intake.events import MODELS, Wanted, make_batches, make_events, share_out
from bench.intake.runs import make_runs
from errata.events import FeedbackData, PredictionData
from errata.topics import FEEDBACK, PREDICTIONS
from errata.wire import batch_headers, decode_record, join_batch
from tests.builders import START_US

WANTED = share_out(13_000, seed=7, end_us=START_US)


@pytest.fixture(scope="module")
def events():
    return list(make_events(WANTED))


def test_ten_predictions_are_shared_out_to_three_feedback() -> None:
    assert (WANTED.n_predictions, WANTED.n_feedback) == (10_000, 3_000)


def test_the_same_seed_gives_the_same_events_and_another_one_does_not(events) -> None:
    assert list(make_events(WANTED)) == events
    other = Wanted(WANTED.n_predictions, WANTED.n_feedback, seed=8, end_us=WANTED.end_us)
    assert next(iter(make_events(other))) != events[0]


def test_there_are_as_many_events_as_wanted_and_two_percent_twice(events) -> None:
    ids = Counter(event.id for event in events)
    kinds = Counter(type(event.data) for event in {event.id: event for event in events}.values())
    assert kinds == {PredictionData: 10_000, FeedbackData: 3_000}
    assert set(ids.values()) == {1, 2}
    assert 0.01 < sum(n == 2 for n in ids.values()) / len(ids) < 0.03


def test_answers_are_as_often_accepted_edited_and_rejected_as_it_says(events) -> None:
    actions = Counter(event.data.action for event in events if isinstance(event.data, FeedbackData))
    shares = {action: n / actions.total() for action, n in actions.items()}
    assert shares == pytest.approx({"accept": 0.70, "edit": 0.25, "reject": 0.05}, abs=0.03)


def test_some_answers_come_before_their_prediction(events) -> None:
    seen, early = set(), 0
    for event in events:
        if isinstance(event.data, PredictionData):
            seen.add(event.id)
        else:
            early += event.data.prediction_id not in seen
    assert 0 < early < 100


def test_every_record_decodes_to_the_events_that_went_into_it(events) -> None:
    decoded = []
    for record in make_batches(events):
        read = decode_record(batch_headers(), join_batch(each.raw for each in record.events))
        assert read.refused == []
        decoded += [event for _, event in read.events]
    assert Counter(event.id for event in decoded) == Counter(event.id for event in events)
    assert {event.id: event for event in decoded} == {event.id: event for event in events}
    assert {event.data.model for event in decoded if isinstance(event.data, PredictionData)} == set(MODELS)


def test_runs_are_chains_of_whole_records(events) -> None:
    next_offsets: dict[tuple[str, int], int] = {}
    n_records = 0
    for run in make_runs(make_batches(events), run_events=1000):
        assert run.first_offset == next_offsets.get((run.topic, run.partition), 0)
        assert [record.offset for record in run.records] == list(range(run.first_offset, run.next_offset))
        next_offsets[run.topic, run.partition] = run.next_offset
        n_records += len(run.records)
    assert {topic for topic, _ in next_offsets} == {PREDICTIONS, FEEDBACK}
    assert n_records == len(list(make_batches(events)))
