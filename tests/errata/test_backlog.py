import sys
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.backlog import Backlog
from errata.counters import Counters
from errata.partitioning import Encoded
from errata.topics import FEEDBACK, PREDICTIONS, VOC

topics = st.sampled_from([PREDICTIONS, FEEDBACK, VOC])
waiting = st.builds(Encoded, topic=topics, key=st.just("k"), raw=st.binary(max_size=10))


def a_backlog(limit_events=3, limit_bytes=1000, batch_events=2):
    counters = Counters()
    return Backlog(counters, limit_events, limit_bytes, batch_events), counters


def numbered(topic, n_events):
    return [Encoded(topic, "k", b"%d" % number) for number in range(n_events)]


def put_all(backlog, events):
    for event in events:
        backlog.put(event)


def test_a_full_queue_refuses_predictions():
    backlog, counters = a_backlog()
    events = numbered(PREDICTIONS, 4)
    put_all(backlog, events)
    assert backlog.take_all() == events[:3]
    assert counters.dropped == {("prediction", "queue_full"): 1}


def test_feedback_pushes_the_newest_prediction_out():
    backlog, counters = a_backlog()
    predictions = numbered(PREDICTIONS, 3)
    said = Encoded(VOC, "k", b"v")
    put_all(backlog, [*predictions, said])
    assert backlog.take_all() == [said, *predictions[:2]]
    assert counters.dropped == {("prediction", "queue_full"): 1}


def test_feedback_alone_may_exceed_the_number_but_not_the_bytes():
    backlog, counters = a_backlog(limit_events=2, limit_bytes=5)
    events = numbered(FEEDBACK, 6)
    put_all(backlog, events)
    assert backlog.take_all() == events[:5]
    assert counters.dropped == {("feedback", "queue_full"): 1}


@pytest.mark.parametrize("n_bytes", [10, 5000])
def test_nobody_has_to_take_for_the_limits_to_hold(n_bytes):
    backlog, counters = a_backlog(limit_events=100, limit_bytes=200_000)
    put_all(backlog, [Encoded(PREDICTIONS, "k", bytes(n_bytes))] * 1000)
    fit = min(100, 200_000 // n_bytes)
    assert fit <= len(backlog) <= fit + 512
    assert counters.dropped["prediction", "queue_full"] == 1000 - len(backlog)
    assert counters.as_dict()["queued"] == 1000


def test_what_is_put_back_comes_first_and_unsettled():
    backlog, _ = a_backlog()
    put_all(backlog, numbered(PREDICTIONS, 3))
    taken = backlog.take(2, 10**9)
    backlog.put_back(taken)
    assert [event.raw for event in backlog.take_all()] == [b"0", b"1", b"2"]
    assert not backlog.wait_until_settled(0)
    backlog.settle(3)
    assert backlog.wait_until_settled(0)


def test_whoever_waits_is_told_when_all_is_settled():
    backlog, _ = a_backlog()
    put_all(backlog, numbered(PREDICTIONS, 1))
    told = []
    waiter = threading.Thread(target=lambda: told.append(backlog.wait_until_settled(20)))
    waiter.start()
    assert backlog.wait_for_event(20)
    backlog.settle(len(backlog.take_all()))
    waiter.join(20)
    assert told == [True]


@pytest.mark.parametrize("n_events", [1, 700])
def test_a_sleeper_is_woken_by_as_many_events_as_it_waits_for(n_events):
    backlog, _ = a_backlog(limit_events=1000, limit_bytes=10**6, batch_events=n_events)
    woken = threading.Event()
    sleeper = threading.Thread(target=lambda: (backlog.wait_for_many(60), woken.set()))
    sleeper.start()
    put_all(backlog, numbered(PREDICTIONS, n_events + 511))
    assert woken.wait(20)
    sleeper.join(20)


def test_an_end_wakes_whoever_sleeps_for_good():
    backlog, _ = a_backlog()
    answers = []
    sleeper = threading.Thread(target=lambda: answers.append(backlog.wait_for_event(None)))
    sleeper.start()
    backlog.end()
    sleeper.join(20)
    assert answers == [False]
    assert not backlog.wait_for_event(None)


@pytest.fixture
def often_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_put_while_another_takes_lose_nothing_and_count_everything(often_switching):
    backlog, counters = a_backlog(limit_events=500, limit_bytes=10**9, batch_events=50)
    n_threads, n_each = 6, 3000
    taken = []

    def take_all():
        while backlog.wait_for_event(None):
            some = backlog.take(100, 10**9)
            taken.extend(some)
            backlog.settle(len(some))

    threads = [
        threading.Thread(
            target=put_all, args=(backlog, [Encoded(PREDICTIONS, str(k), b"%d" % n) for n in range(n_each)])
        )
        for k in range(n_threads)
    ]
    taker = threading.Thread(target=take_all)
    for thread in [taker, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    assert backlog.wait_until_settled(30)
    backlog.end()
    taker.join(20)
    counts = counters.as_dict()
    assert (
        counts["queued"]
        == n_threads * n_each
        == len(taken) + counts["dropped"].get("prediction queue_full", 0)
    )
    for k in range(n_threads):
        mine = [int(event.raw) for event in taken if event.key == str(k)]
        assert mine == sorted(set(mine))


@given(st.lists(waiting), st.integers(1, 5), st.integers(10, 40))
def test_every_event_is_either_taken_or_dropped_and_feedback_goes_last(events, limit_events, limit_bytes):
    backlog, counters = a_backlog(limit_events, limit_bytes)
    put_all(backlog, events)
    taken = backlog.take_all()
    assert len(taken) + counters.dropped.total() == len(events)
    rest = list(map(msgspec.structs.astuple, events))
    for event in taken:
        rest.remove(msgspec.structs.astuple(event))
    assert sum(len(event.raw) for event in taken) <= limit_bytes
    assert sorted(kind for kind, _ in counters.dropped.elements()) == sorted(
        {PREDICTIONS: "prediction", FEEDBACK: "feedback", VOC: "voc"}[topic] for topic, *_ in rest
    )
    if sum(len(event.raw) for event in events if event.topic != PREDICTIONS) <= limit_bytes:
        assert {kind for kind, _ in counters.dropped} <= {"prediction"}
