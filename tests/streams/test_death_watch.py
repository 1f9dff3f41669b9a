"""Who is taken for dead, and what is done then."""

import logging

import pytest
from prometheus_client import generate_latest

from errata.errors import Stop, Unavailable
from storage.errors import SharedSession
from storage.records import Lifeline, Look
from streams.death_watch import DeathWatch
from streams.metrics import Metrics


class World:
    """The lifelines of others, as the fake database has them, and a broker that notes who was removed."""

    def __init__(self):
        self.held: dict[int, bool] = {}
        self.lost = True
        self.error: Exception | None = None
        self.buried: list[int] = []
        self.ended = False
        self.member_id = "me"
        self.said: list[str] = []
        self.removed: list[str] = []
        self.broker_error: Exception | None = None
        self.now = 0.0
        self.metrics = Metrics()
        self.watch = DeathWatch(self, lambda: self.member_id, self.remove, self.metrics, lambda: self.now)

    def look(self, member_id: str) -> Look:
        if self.error is not None:
            self.lost = True
            raise self.error
        self.said.append(member_id)
        continued, self.lost = not self.lost, False
        return Look(
            continued,
            tuple(Lifeline(each, f"worker-{each}", f"m{each}", held) for each, held in self.held.items()),
        )

    def bury(self, number: int) -> None:
        self.buried.append(number)
        del self.held[number]

    def end(self) -> None:
        self.ended = True

    def remove(self, member_id: str) -> bool:
        if self.broker_error is not None:
            raise self.broker_error
        self.removed.append(member_id)
        return True

    def look_times(self, n: int) -> None:
        for _ in range(n):
            self.now += 0.5
            self.watch.look()

    def metric(self, name: str) -> str:
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        return next(line.partition(" ")[2] for line in lines if line.startswith(f"{name} "))


@pytest.fixture
def world():
    return World()


def test_who_was_seen_alive_and_is_gone_in_three_looks_is_removed_and_buried(world, caplog):
    world.held = {1: True, 2: True}
    world.look_times(4)
    assert world.metric("errata_watched_workers") == "2.0"
    world.held[1] = False
    world.look_times(2)
    assert world.removed == []
    world.look_times(1)
    assert (world.removed, world.buried) == (["m1"], [1])
    world.look_times(9)
    assert (world.removed, world.buried) == (["m1"], [1])
    assert world.metric("errata_removed_workers_total") == "1.0"
    assert world.metric("errata_watched_workers") == "1.0"
    assert "worker worker-1 is dead: its partitions are freed" in caplog.text


def test_who_takes_its_lifeline_again_in_time_is_left_alone(world):
    world.held = {1: True}
    world.look_times(2)
    for _ in range(5):
        world.held[1] = False
        world.look_times(2)
        world.held[1] = True
        world.look_times(1)
    assert world.removed == []


def test_who_was_never_seen_alive_is_not_removed_and_is_forgotten_after_a_long_time(world):
    world.held = {1: False}
    world.look_times(100)
    assert (world.removed, world.buried) == ([], [])
    world.look_times(200)
    assert (world.removed, world.buried) == ([], [1])


def test_when_all_lifelines_go_at_once_nobody_is_removed(world):
    """A server that restarts takes ours too: what we saw before tells nothing."""
    world.held = {1: True, 2: True}
    world.look_times(3)
    world.held = {1: False, 2: False}
    world.lost = True
    world.look_times(20)
    world.held = {1: True, 2: True}
    world.look_times(3)
    assert (world.removed, world.buried) == ([], [])
    world.held[2] = False
    world.look_times(3)
    assert world.removed == ["m2"]


def test_without_a_database_there_is_no_verdict(world):
    world.held = {1: True}
    world.look_times(2)
    world.held[1] = False
    world.look_times(2)
    world.error = Unavailable("away")
    with pytest.raises(Unavailable):
        world.look_times(1)
    assert world.metric("errata_watched_workers") == "0.0"
    world.error = None
    world.look_times(20)
    assert world.removed == []


def test_an_answer_that_failed_while_our_lifeline_was_held_counts_as_a_break_too(world):
    world.held = {1: True}
    world.look_times(2)
    world.error = Unavailable("away")
    with pytest.raises(Unavailable):
        world.look_times(1)
    world.error, world.lost = None, False
    world.held[1] = False
    world.look_times(20)
    assert world.removed == []


def test_while_the_broker_is_away_it_is_tried_again(world):
    world.held = {1: True}
    world.look_times(2)
    world.held[1] = False
    world.broker_error = Unavailable("away")
    world.look_times(2)
    for _ in range(3):
        with pytest.raises(Unavailable):
            world.look_times(1)
    assert world.buried == []
    world.broker_error = None
    world.look_times(1)
    assert (world.removed, world.buried) == (["m1"], [1])


def test_a_broker_that_refuses_is_not_asked_again(world, caplog):
    world.held = {1: True}
    world.look_times(2)
    world.held[1] = False
    world.broker_error = Stop("not authorized")
    world.look_times(3)
    assert world.buried == [1]
    assert "its session has to end by itself: not authorized" in caplog.text
    assert world.metric("errata_removed_workers_total") == "0.0"


def test_who_is_in_no_group_removes_nobody_before_it_is(world):
    world.member_id = ""
    world.held = {1: True}
    world.look_times(2)
    world.held[1] = False
    world.look_times(10)
    assert (world.removed, world.buried) == ([], [])
    world.member_id = "me"
    world.look_times(1)
    assert (world.removed, world.buried) == (["m1"], [1])
    assert set(world.said) == {"", "me"}


def test_looks_that_come_at_once_after_a_pause_count_as_one(world):
    world.held = {1: True}
    world.look_times(2)
    world.held[1] = False
    world.now += 60
    for _ in range(5):
        world.watch.look()
    assert world.removed == []


def test_behind_a_pooler_it_is_said_once_and_nothing_is_done(world, caplog):
    world.error = SharedSession("a pooler")
    with caplog.at_level(logging.WARNING):
        world.look_times(3)
    assert caplog.text.count("a killed worker is noticed only by the end of its session: a pooler") == 1
    assert world.ended
    world.error = None
    world.look_times(3)
    assert world.said == []
