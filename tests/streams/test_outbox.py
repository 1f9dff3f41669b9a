"""What the database decided is told in Kafka: at least once, in order, and nothing is marked before its time."""

import json

import pytest
from kafka import KafkaConsumer

from errata.errors import Unavailable
from errata.settings import Broker
from errata.topics import DRIFT_NOTICED, RETRAIN, RUN_REQUESTED, SIGNALS, ensure_topics
from errata.wire import format_time
from storage import outbox
from storage.outbox import read_unsent
from streams.outbox import OutboxSender
from tests.records import MODEL, number_id
from tests.servers import free_port

NOW_US = 1_795_415_400_000_000


@pytest.fixture
def dialect():
    """What is sent does not depend on the database; tests/storage/test_outbox.py has both."""
    return "sqlite"


def put(db, number, topic=SIGNALS, type_=DRIFT_NOTICED):
    with db.write() as c:
        outbox.put(c, topic, MODEL, type_, {"왜": f"드리프트 {number}"}, NOW_US + number, number_id(number))


def unsent(db):
    with db.read() as c:
        return [row.id for row in read_unsent(c, 1000)]


@pytest.fixture
def sender(fresh_broker):
    ensure_topics(Broker(bootstrap=fresh_broker))
    made = OutboxSender(Broker(bootstrap=fresh_broker))
    yield made
    made.close()


def read(bootstrap, count, *topics):
    consumer = KafkaConsumer(*topics, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    try:
        return [next(consumer) for _ in range(count)]
    finally:
        consumer.close()


def test_rows_become_cloud_events_of_their_topics_in_order(db, fresh_broker, sender):
    for number in (1, 2, 3):
        put(db, number)
    put(db, 4, RETRAIN, RUN_REQUESTED)
    assert sender.send_unsent(db, lambda: NOW_US) == 4
    assert unsent(db) == []
    records = read(fresh_broker, 3, SIGNALS)
    events = [json.loads(record.value) for record in records]
    assert [event["id"] for event in events] == [number_id(number) for number in (1, 2, 3)]
    assert events[0] == {
        "specversion": "1.0",
        "id": number_id(1),
        "source": "errata",
        "type": DRIFT_NOTICED,
        "time": format_time(NOW_US + 1),
        "datacontenttype": "application/json",
        "data": {"왜": "드리프트 1"},
    }
    assert records[0].key == MODEL.encode()
    assert dict(records[0].headers)["content-type"].startswith(b"application/cloudevents+json")
    [requested] = read(fresh_broker, 1, RETRAIN)
    assert json.loads(requested.value)["type"] == RUN_REQUESTED


def test_what_was_sent_is_not_sent_again(db, sender):
    put(db, 1)
    assert [sender.send_unsent(db, lambda: NOW_US) for _ in range(2)] == [1, 0]


def test_many_rows_go_out_in_portions(db, sender):
    with db.write() as c:
        for number in range(1, 602):
            outbox.put(c, SIGNALS, MODEL, DRIFT_NOTICED, {}, NOW_US + number, number_id(number))
    assert [sender.send_unsent(db, lambda: NOW_US) for _ in range(3)] == [500, 101, 0]


def test_nothing_to_send_needs_no_broker(db):
    assert OutboxSender(Broker(bootstrap=f"127.0.0.1:{free_port()}")).send_unsent(db, lambda: NOW_US) == 0


def test_without_a_broker_nothing_is_marked_and_it_goes_out_when_one_comes(db, fresh_broker):
    put(db, 1)
    away = OutboxSender(Broker(bootstrap=f"127.0.0.1:{free_port()}"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        away.send_unsent(db, lambda: NOW_US)
    assert unsent(db) == [number_id(1)]
    ensure_topics(Broker(bootstrap=fresh_broker))
    here = OutboxSender(Broker(bootstrap=fresh_broker))
    assert here.send_unsent(db, lambda: NOW_US) == 1
    here.close()
