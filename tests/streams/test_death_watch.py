"""Who is taken for dead, and what is done then."""

import logging

import pytest
from prometheus_client import generate_latest

from errata.errors import Stop, Unavailable
from storage.errors import SharedSession
from storage.records import FORMING, Lifeline, Look, Membership
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
        self.membership = Membership("me", 5)
        self.memberships: dict[int, Membership] = {}
        self.said: list[Membership] = []
        self.removed: list[str] = []
        self.requests = 0
        self.broker_error: Exception | None = None
        self.now = 0.0
        self.metrics = Metrics()
        self.watch = DeathWatch(self, lambda: self.membership, self.remove, self.metrics, lambda: self.now)

    def look(self, membership: Membership) -> Look:
        if self.error is not None:
            self.lost = True
            raise self.error
        self.said.append(membership)
        continued, self.lost = not self.lost, False
        return Look(
            continued,
            tuple(
                Lifeline(each, f"worker-{each}", self.memberships.get(each, Membership(f"m{each}", 5)), held)
                for each, held in self.held.items()
            ),
        )

    def bury(self, number: int) -> None:
        self.buried.append(number)
        del self.held[number]

    def end(self) -> None:
        self.ended = True

    def remove(self, member_ids: list[str]) -> list[str]:
        if self.broker_error is not None:
            raise self.broker_error
        self.removed += member_ids
        self.requests += 1
        return [each for each in member_ids if each != "m9"]

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
    assert "dead: worker-1; the session has to end by itself: not authorized" in caplog.text
    assert world.metric("errata_removed_workers_total") == "0.0"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Membership("", FORMING), Membership("m2", 5)),
        (Membership("me", FORMING), Membership("m2", 5)),
        (Membership("me", 5), Membership("m2", FORMING)),
        (Membership("me", 5), Membership("", FORMING)),
        (Membership("me", 5), Membership("m2", 6)),
    ],
)
def test_while_the_group_forms_nobody_is_removed_before_it_is_formed(world, ours, theirs):
    world.membership, world.memberships[2] = ours, theirs
    world.held = {1: True, 2: True}
    world.look_times(2)
    world.held[1] = False
    world.look_times(10)
    assert (world.removed, world.buried) == ([], [])
    world.membership, world.memberships[2] = Membership("me", 6), Membership("m2", 6)
    world.look_times(1)
    assert (world.removed, world.buried) == (["m1"], [1])


@pytest.mark.parametrize("theirs", [Membership(), Membership("m2", 4)], ids=["waits to join", "was stopped"])
def test_who_is_not_in_the_group_keeps_nobody_from_being_removed(world, theirs):
    world.memberships[2] = theirs
    world.held = {1: True, 2: True}
    world.look_times(2)
    world.held[1] = False
    world.look_times(3)
    assert world.removed == ["m1"]


def test_who_died_together_is_removed_together_and_who_was_no_member_is_only_buried(world):
    world.memberships[3] = Membership()
    world.held = {1: True, 2: True, 3: True, 9: True}
    world.look_times(2)
    world.held = dict.fromkeys(world.held, False)
    world.look_times(3)
    assert (world.removed, world.requests) == (["m1", "m2", "m9"], 1)
    assert sorted(world.buried) == [1, 2, 3, 9]
    assert world.metric("errata_removed_workers_total") == "2.0"


class Waiting:
    """Notes how often it was waited; the dead is buried while it is waited for the nth time."""

    def __init__(self, world, burial: int | None = None, ends: bool = False):
        self.n = 0
        self._world, self._burial, self._ends = world, burial, ends

    def __call__(self, seconds: float) -> bool:
        self.n += 1
        if self.n == self._burial:
            self._world.bury(1)
        return self._ends


def test_a_worker_joins_after_the_dead_are_removed_and_says_when_it_does(world):
    world.held = {1: False, 2: True}
    waiting = Waiting(world, burial=2)
    world.watch.await_burials(waiting)
    assert waiting.n == 2
    assert world.said == [Membership(), Membership(), Membership(), Membership("", FORMING)]


def test_it_does_not_wait_where_nobody_is_dead_or_nobody_would_remove_who_is(world):
    for held in ({1: True}, {1: False}, {}):
        world.held = held
        waiting = Waiting(world)
        world.watch.await_burials(waiting)
        assert waiting.n == 0
    world.error = Unavailable("away")
    world.watch.await_burials(Waiting(world))


@pytest.mark.parametrize(("ends", "n"), [(False, 6), (True, 1)])
def test_it_does_not_wait_for_ever_nor_when_asked_to_end(world, ends, n):
    world.held = {1: False, 2: True}
    waiting = Waiting(world, ends=ends)
    world.watch.await_burials(waiting)
    assert waiting.n == n


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
