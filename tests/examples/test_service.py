"""A service keeps its pace, reacts meanwhile, and leaves a last word about what it sent."""

import json
import os
import signal
import time
from dataclasses import dataclass, field

import pytest

from examples.schedule import Schedule
from examples.service import run_service


@dataclass
class FakeCounters:
    sent: int = 0

    def as_dict(self):
        return {"sent": self.sent}


@dataclass
class FakeClient:
    """A client that only counts."""

    counters: FakeCounters = field(default_factory=FakeCounters)
    closed_within: float | None = None

    def close(self, timeout_seconds):
        self.closed_within = timeout_seconds


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_it_ticks_at_its_pace_until_there_is_nothing_more_and_then_waits_for_the_reactions(tmp_path):
    client, schedule, ticks, reactions = FakeClient(), Schedule(), [], []

    def tick(now_seconds):
        if len(ticks) == 10:
            return False
        ticks.append(now_seconds)
        client.counters.sent += 1
        schedule.at(now_seconds + 0.3, lambda: reactions.append(time.monotonic()))
        return True

    run_service(client, tick, schedule, per_second=50, report=tmp_path / "report.json")
    assert (len(ticks), len(reactions)) == (10, 10)
    assert 0.17 <= ticks[-1] - ticks[0] < 10
    assert all(reacted >= ticked + 0.3 for ticked, reacted in zip(ticks, reactions, strict=True))
    assert client.closed_within is not None
    assert json.loads((tmp_path / "report.json").read_text()) == {"sent": 10}


def test_after_a_stall_there_is_no_burst(tmp_path):
    ticks: list[float] = []

    def tick(now_seconds):
        ticks.append(now_seconds)
        if len(ticks) == 1:
            time.sleep(0.5)
        return len(ticks) < 8

    run_service(FakeClient(), tick, Schedule(), per_second=20, report=tmp_path / "report.json")
    # Two ticks are caught up with at most; ten were missed.
    assert ticks[-1] - ticks[2] > 3 / 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_gives_up_what_users_would_still_have_done(tmp_path, number):
    client, schedule = FakeClient(), Schedule()
    schedule.at(time.monotonic() + 3600, lambda: pytest.fail("its time had not come"))

    def tick(_now_seconds):
        os.kill(os.getpid(), number)
        return True

    started = time.monotonic()
    run_service(client, tick, schedule, per_second=10, report=tmp_path / "report.json")
    assert time.monotonic() - started < 5
    assert client.closed_within is not None
    assert (tmp_path / "report.json").exists()
    assert not (tmp_path / "report.part").exists()
