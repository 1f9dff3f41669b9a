"""A lifeline is held for as long as its process lives, on both databases; the processes here are real."""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from errata.errors import Unavailable
from storage.database import Database
from storage.errors import SharedSession
from storage.lifelines import Lifelines, count_living
from storage.records import FORMING, Lifeline, Look, Membership
from storage.tables import lifelines

ROOT = Path(__file__).parents[2]

HOLDER = """
import sys
from storage.database import open_database
from storage.lifelines import Lifelines
from storage.records import Membership

Lifelines(open_database(sys.argv[1]), "g", "the killed", lambda n: 77).look(Membership("member-77", 1))
print("held", flush=True)
sys.stdin.read()
"""

Make = Callable[..., Lifelines]


def as_member(member_id: str) -> Membership:
    return Membership(member_id, 1)


@pytest.fixture
def make(db: Database) -> Iterator[Make]:
    """Makes lifelines of workers in one process, with the numbers 1, 2, 3 and so on."""
    numbers = itertools.count(1)
    made: list[Lifelines] = []

    def make_one(holder: str, group: str = "g") -> Lifelines:
        made.append(Lifelines(db, group, holder, lambda _: next(numbers)))
        return made[-1]

    yield make_one
    for each in made:
        each.end()


def end_sessions(db: Database) -> None:
    """What the end of a connection does: the locks are free, and nobody was told."""
    with db.write() as c:
        c.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )


def look_until(mine: Lifelines, condition: Callable[[Look], bool]) -> Look:
    """A server frees the locks of a session that is gone as soon as it has heard of it."""
    deadline = time.monotonic() + 30
    while not condition(look := mine.look(as_member("me"))):
        assert time.monotonic() < deadline, look
        time.sleep(0.01)
    return look


def test_others_see_who_lives_and_who_that_is_in_the_group(make: Make) -> None:
    first, second = make("one"), make("two")
    assert first.look(as_member("")) == Look(is_continued=False, others=())
    assert second.look(as_member("b")).others == (Lifeline(1, "one", as_member(""), is_held=True),)
    assert first.look(as_member("a")) == Look(
        is_continued=True, others=(Lifeline(2, "two", as_member("b"), is_held=True),)
    )
    assert second.look(as_member("b")).others == (Lifeline(1, "one", as_member("a"), is_held=True),)
    assert second.look(as_member("c")).is_continued
    assert first.look(as_member("a")).others == (Lifeline(2, "two", as_member("c"), is_held=True),)


def test_others_see_whether_a_worker_is_in_the_group_or_waits_before_it(make: Make) -> None:
    first, second = make("one"), make("two")
    first.look(as_member("a"))
    for membership in (Membership(), Membership("", FORMING), Membership("b", FORMING), Membership("b", 7)):
        second.look(membership)
        assert first.look(as_member("a")).others == (Lifeline(2, "two", membership, is_held=True),)


def test_a_group_sees_its_own_alone(make: Make) -> None:
    make("one", "g").look(as_member("a"))
    assert make("two", "another").look(as_member("b")).others == ()


def test_the_lifeline_of_a_killed_process_is_free(make: Make, database_url: str, db: Database) -> None:
    mine = make("me")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, database_url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert mine.look(as_member("me")).others == (
                Lifeline(77, "the killed", as_member("member-77"), is_held=True),
            )
        finally:
            process.kill()
    look = look_until(mine, lambda look: not look.others[0].is_held)
    assert look == Look(
        is_continued=True, others=(Lifeline(77, "the killed", as_member("member-77"), is_held=False),)
    )
    mine.bury(77)
    assert mine.look(as_member("me")).others == ()
    assert not list_files(db, 77)


def list_files(db: Database, number: int) -> list[Path]:
    return [] if db.file is None else list(db.file.parent.glob(f"*-lifeline-{number}"))


def test_whoever_ends_leaves_nothing_behind(make: Make, db: Database) -> None:
    first, second = make("one"), make("two")
    first.look(as_member("a"))
    assert db.file is None or list_files(db, 1)
    first.end()
    assert second.look(as_member("b")).others == ()
    assert not list_files(db, 1)


def test_who_was_buried_alive_writes_its_lifeline_again(make: Make) -> None:
    first, second = make("one"), make("two")
    first.look(as_member("a"))
    second.look(as_member("b"))
    second.bury(1)
    assert second.look(as_member("b")).others == ()
    first.look(as_member("a"))
    assert second.look(as_member("b")).others == (Lifeline(1, "one", as_member("a"), is_held=True),)


def test_a_lock_that_was_lost_is_taken_again_and_says_that_it_was_lost(make: Make, db: Database) -> None:
    first, second = make("one"), make("two")
    first.look(as_member("a"))
    second.look(as_member("b"))
    if db.file is None:
        end_sessions(db)
    else:
        for file in db.file.parent.glob("*-lifeline-*"):
            file.unlink()
    assert not look_until(first, lambda look: not look.is_continued).others[0].is_held
    assert not second.look(as_member("b")).is_continued
    for mine, other in ((first, "two"), (second, "one")):
        look = mine.look(as_member("me"))
        assert look.is_continued
        assert [(each.holder, each.is_held) for each in look.others] == [(other, True)]


def test_while_an_own_lost_session_still_holds_the_lock_another_one_is_taken(
    make: Make, db: Database
) -> None:
    first, second, ghost = make("one"), make("two"), make("ghost")
    first.look(as_member("a"))
    second.look(as_member("b"))
    first._lock.let_go()
    assert ghost._lock.take(1)
    assert not first.look(as_member("a")).is_continued
    assert second.look(as_member("b")).others == (Lifeline(3, "one", as_member("a"), is_held=True),)
    with db.read() as c:
        assert set(c.scalars(select(lifelines.c.number))) == {2, 3}


def test_rows_of_a_restored_backup_are_free_and_harmless(make: Make, db: Database) -> None:
    with db.write() as c:
        c.execute(lifelines.insert().values(number=9, consumer_group="g", holder="old", member_id="m"))
    assert make("one").look(as_member("a")).others == (Lifeline(9, "old", Membership("m"), is_held=False),)


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_a_session_that_others_use_too_is_refused(make: Make) -> None:
    mine = make("one")
    mine.look(as_member("a"))
    mine._lock._session.execute(text("SELECT pg_advisory_unlock_all()"))  # type: ignore[attr-defined]
    with pytest.raises(SharedSession, match="pooler"):
        mine.look(as_member("a"))


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_a_directory_that_is_gone_is_a_database_that_does_not_answer(make: Make, db: Database) -> None:
    mine = make("one")
    assert db.file is not None
    mine._lock._database = db.file.parent / "gone" / "errata.db"  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="lifeline"):
        mine.look(as_member("a"))


def test_those_who_live_are_counted_without_a_trace(make: Make, db: Database) -> None:
    assert count_living(db, lambda _: 5) == 0
    make("one").look(as_member("a"))
    make("two", "another").look(as_member("b"))
    with db.write() as c:
        c.execute(lifelines.insert().values(number=9, consumer_group="g", holder="old", member_id="m"))
    assert count_living(db, lambda _: 5) == 2
    assert not list_files(db, 5)
