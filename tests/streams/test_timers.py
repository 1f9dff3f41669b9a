import logging
import threading

import pytest

from errata.errors import Unavailable
from streams.metrics import Metrics
from streams.timers import Timer, Timers


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics():
    return Metrics()


def test_each_timer_runs_at_once_and_then_in_its_rhythm(clock, metrics):
    ran: list[tuple[str, float]] = []
    timers = Timers(
        [
            Timer("often", 2, lambda: ran.append(("often", clock.now))),
            Timer("seldom", 5, lambda: ran.append(("seldom", clock.now))),
        ],
        metrics,
        clock,
    )
    while clock.now < 106:
        clock.now += timers.run_due()
    assert ran == [
        ("often", 100),
        ("seldom", 100),
        ("often", 102),
        ("often", 104),
        ("seldom", 105),
    ]


def test_no_timers_are_no_work(clock, metrics):
    assert Timers([], metrics, clock).run_due() > 1


def test_a_slow_timer_is_not_run_several_times_to_catch_up(clock, metrics):
    ran: list[float] = []

    def run_slowly_at_first() -> None:
        ran.append(clock.now)
        if len(ran) == 1:
            clock.now += 7

    timers = Timers([Timer("slow", 2, run_slowly_at_first)], metrics, clock)
    for _ in range(3):
        timers.run_due()
    assert ran == [100, 107]


def test_a_timer_that_raises_harms_no_other_and_is_run_again(clock, metrics, caplog):
    ran: list[float] = []

    def fail() -> None:
        raise ZeroDivisionError("a bug")

    timers = Timers(
        [Timer("broken", 1, fail), Timer("whole", 1, lambda: ran.append(clock.now))], metrics, clock
    )
    for _ in range(3):
        clock.now += timers.run_due()
    assert len(ran) == 3
    assert metrics.registry.get_sample_value("errata_timer_failures_total", {"timer": "broken"}) == 3
    assert caplog.text.count("timer broken failed and will be run again: a bug") == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_timer_that_works_again_says_so_and_mentions_its_next_failure(clock, metrics, caplog):
    outcomes = iter([Unavailable("the database is away"), None, Unavailable("the database is away")])

    def fail_sometimes() -> None:
        error = next(outcomes)
        if error:
            raise error

    timers = Timers([Timer("watch", 1, fail_sometimes)], metrics, clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.now += timers.run_due()
    assert [each.getMessage() for each in caplog.records] == [
        "timer watch failed and will be run again: the database is away",
        "timer watch works again",
        "timer watch failed and will be run again: the database is away",
    ]
    assert "Traceback" not in caplog.text


def test_timers_run_in_a_thread_of_their_own_until_stopped(metrics):
    threads: list[threading.Thread] = []
    twice = threading.Event()

    def note_thread() -> None:
        threads.append(threading.current_thread())
        if len(threads) == 2:
            twice.set()

    timers = Timers([Timer("tick", 0.01, note_thread)], metrics)
    timers.start()
    assert twice.wait(20)
    timers.stop(patience_seconds=20)
    ran = len(threads)
    assert set(threads) == {threads[0]}
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()
    assert timers.run_due() >= 0
    assert len(threads) == ran


def test_stopping_waits_for_a_running_timer_only_so_long(metrics):
    started, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        go_on.wait(20)

    timers = Timers([Timer("hang", 1, hang)], metrics)
    timers.start()
    assert started.wait(20)
    timers.stop(patience_seconds=0.01)
    go_on.set()
    timers.stop(patience_seconds=20)
