import pytest

from storage.api_keys import list_api_keys, note_uses, put_api_key, revoke_api_key
from storage.database import Database
from storage.errors import NotFound
from tests.records import make_api_key

_, FIRST = make_api_key(1)
_, SECOND = make_api_key(2, source="상점/결제", models=("card-reader", "translator"), expires_us=9)


@pytest.fixture(autouse=True)
def two_keys(db: Database) -> None:
    with db.write() as c:
        put_api_key(c, SECOND)
        put_api_key(c, FIRST)


def test_keys_come_back_the_oldest_first(db: Database) -> None:
    with db.read() as c:
        assert list_api_keys(c) == [FIRST, SECOND]


def test_a_revoked_key_stays_revoked_since_the_first_time(db: Database) -> None:
    with db.write() as c:
        assert revoke_api_key(c, FIRST.id, 5).revoked_us == 5
        assert revoke_api_key(c, FIRST.id, 6).revoked_us == 5
    with db.read() as c:
        assert [key.revoked_us for key in list_api_keys(c)] == [5, None]


def test_a_key_that_was_never_made_is_not_found(db: Database) -> None:
    with db.write() as c, pytest.raises(NotFound, match="there is no key 0"):
        revoke_api_key(c, "0", 5)


def test_the_last_day_of_use_is_kept(db: Database) -> None:
    for days_us in ({FIRST.id: 20, SECOND.id: 10}, {FIRST.id: 10, SECOND.id: 30}, {}):
        note_uses(db, days_us)
    with db.read() as c:
        assert [key.last_used_us for key in list_api_keys(c)] == [20, 30]
