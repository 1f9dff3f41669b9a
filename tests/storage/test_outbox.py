"""The outbox gives each message until it was sent."""

from storage.database import Database
from storage.outbox import Unsent, mark_sent, put, read_unsent
from tests.records import number_id


def test_messages_wait_in_their_order_until_they_were_sent(db: Database) -> None:
    with db.write() as c:
        put(c, "errata.signals", "card-reader", "later", {"이름": "값"}, 2, number_id(1))
        put(c, "errata.signals", "card-reader", "first", {}, 1, number_id(2))
    with db.read() as c:
        assert [message.type for message in read_unsent(c, 10)] == ["first", "later"]
        assert read_unsent(c, 1) == [
            Unsent(
                id=number_id(2),
                topic="errata.signals",
                key="card-reader",
                type="first",
                data="{}",
                stored_us=1,
            )
        ]
    mark_sent(db, [number_id(2)], 5)
    with db.read() as c:
        assert [message.data for message in read_unsent(c, 10)] == ['{"이름":"값"}']


def test_a_message_is_left_once(db: Database) -> None:
    with db.write() as c:
        put(c, "errata.signals", "card-reader", "first", {}, 1, number_id(1))
        put(c, "errata.signals", "card-reader", "again", {}, 1, number_id(1))
    with db.read() as c:
        assert [message.type for message in read_unsent(c, 10)] == ["first"]


def test_marking_nothing_is_allowed(db: Database) -> None:
    mark_sent(db, [], 1)
