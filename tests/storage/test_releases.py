import threading

import pytest

from storage.database import Database
from storage.errors import NotFound
from storage.releases import (
    champion,
    get_version,
    list_releases,
    list_versions,
    lock_versions,
    next_version,
    put_release,
    put_version,
)
from storage.runs import open_run
from tests.records import MODEL, make_release, make_run, make_version


def test_a_version_comes_back_and_stays_as_it_was_stored_first(db: Database) -> None:
    with db.write() as c:
        put_version(c, make_version("1"))
        put_version(c, make_version("1", sha256="f" * 64))
        put_version(c, make_version("2", model="translator"))
    with db.read() as c:
        assert get_version(c, MODEL, "1") == make_version("1")
        assert list_versions(c, MODEL) == [make_version("1")]
        assert len(list_versions(c)) == 2
        with pytest.raises(NotFound, match="card-reader 9"):
            get_version(c, MODEL, "9")


def test_the_last_release_is_the_champion(db: Database) -> None:
    with db.write() as c:
        assert champion(c, MODEL) is None
        put_release(c, make_release("1", 1))
        put_release(c, make_release("2", 2, action="promote"))
        put_release(c, make_release("8", 3, model="translator"))
    with db.read() as c:
        assert champion(c, MODEL) == make_release("2", 2, action="promote")
        assert [release.version for release in list_releases(c, MODEL)] == ["2", "1"]
        assert [release.version for release in list_releases(c)] == ["8", "2", "1"]


def test_the_next_version_is_above_all_versions_and_candidates(db: Database) -> None:
    with db.write() as c:
        assert next_version(c, MODEL) == "1"
        put_version(c, make_version("9"))
        put_version(c, make_version("10"))
        put_version(c, make_version("2026-11-23"))
        assert next_version(c, MODEL) == "11"
        open_run(c, make_run(candidate="11"))
        assert next_version(c, MODEL) == "12"
        assert next_version(c, "translator") == "1"


def test_one_transaction_at_a_time_releases_a_model(db: Database) -> None:
    with db.write() as c:
        put_version(c, make_version("1"))
    locked = threading.Event()
    order: list[str] = []

    def release_second() -> None:
        locked.wait()
        with db.write() as c:
            lock_versions(c, MODEL)
            order.append("second")

    second = threading.Thread(target=release_second)
    second.start()
    with db.write() as c:
        lock_versions(c, MODEL)
        locked.set()
        # The other transaction gets all the time it needs to overtake, were it not for the lock.
        second.join(timeout=0.3)
        order.append("first")
    second.join()
    assert order == ["first", "second"]
