import threading

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from errata.backlog import Backlog
from errata.counters import Counters
from errata.partitioning import Encoded
from errata.topics import FEEDBACK, PREDICTIONS, VOC

topics = st.sampled_from([PREDICTIONS, FEEDBACK, VOC])
waiting = st.builds(Encoded, topic=topics, key=st.just("k"), raw=st.binary(max_size=10))


def a_backlog(limit_events=3, limit_bytes=1000):
    return Backlog(Counters(), limit_events, limit_bytes, batch_events=2)


def test_a_full_queue_refuses_predictions():
    backlog = a_backlog()
    events = [Encoded(PREDICTIONS, "k", b"%d" % number) for number in range(4)]
    assert [backlog.put(event) for event in events] == [[], [], [], [events[3]]]
    assert backlog.take(10) == events[:3]


def test_feedback_pushes_the_newest_prediction_out():
    backlog = a_backlog()
    predictions = [Encoded(PREDICTIONS, "k", b"%d" % number) for number in range(3)]
    for event in predictions:
        backlog.put(event)
    said = Encoded(VOC, "k", b"v")
    assert backlog.put(said) == [predictions[2]]
    assert backlog.take(10) == [said, *predictions[:2]]


def test_feedback_alone_may_exceed_the_number_but_not_the_bytes():
    backlog = a_backlog(limit_events=2, limit_bytes=5)
    events = [Encoded(FEEDBACK, "k", b"%d" % number) for number in range(6)]
    assert [backlog.put(event) for event in events] == [[], [], [], [], [], [events[5]]]
    assert len(backlog) == 5


def test_what_is_put_back_comes_first_and_unsettled():
    backlog = a_backlog()
    for number in range(3):
        backlog.put(Encoded(PREDICTIONS, "k", b"%d" % number))
    taken = backlog.take(2)
    backlog.put_back(taken)
    assert [event.raw for event in backlog.take(10)] == [b"0", b"1", b"2"]
    assert not backlog.wait_until_settled(0)
    backlog.settle(3)
    assert backlog.wait_until_settled(0)


def test_whoever_waits_is_told_when_all_is_settled():
    backlog = a_backlog()
    backlog.put(Encoded(PREDICTIONS, "k", b"1"))
    told = []
    waiter = threading.Thread(target=lambda: told.append(backlog.wait_until_settled(20)))
    waiter.start()
    assert backlog.wait_for_event(20)
    backlog.settle(len(backlog.take(1)))
    waiter.join(20)
    assert told == [True]


@given(st.lists(waiting), st.integers(1, 5), st.integers(10, 40))
def test_every_event_is_either_taken_or_dropped_and_feedback_goes_last(events, limit_events, limit_bytes):
    backlog = Backlog(Counters(), limit_events, limit_bytes, batch_events=2)
    dropped = [gone for event in events for gone in backlog.put(event)]
    taken = backlog.take(len(events))
    assert sorted(map(msgspec.structs.astuple, dropped + taken)) == sorted(
        map(msgspec.structs.astuple, events)
    )
    assert sum(len(event.raw) for event in taken) <= limit_bytes
    if sum(len(event.raw) for event in events if event.topic != PREDICTIONS) <= limit_bytes:
        assert {event.topic for event in dropped} <= {PREDICTIONS}
