"""A lease has one holder at a time."""

from storage.database import Database
from storage.leases import take_lease


def test_a_lease_is_held_prolonged_and_taken_over_when_it_ends(db: Database) -> None:
    assert take_lease(db, "watch", "a", now_us=0, ttl_us=10)
    assert not take_lease(db, "watch", "b", now_us=9, ttl_us=10)
    assert take_lease(db, "watch", "a", now_us=9, ttl_us=10)
    assert not take_lease(db, "watch", "b", now_us=18, ttl_us=10)
    assert take_lease(db, "watch", "b", now_us=19, ttl_us=10)
    assert not take_lease(db, "watch", "a", now_us=20, ttl_us=10)


def test_leases_of_other_names_are_free(db: Database) -> None:
    assert take_lease(db, "watch", "a", now_us=0, ttl_us=10)
    assert take_lease(db, "sweep", "b", now_us=0, ttl_us=10)
