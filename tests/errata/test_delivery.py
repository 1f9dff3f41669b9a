"""The delivering thread against a producer that fails as told; the real broker is in test_client.py."""

import os
import threading

import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from errata.client import Client
from errata.partitioning import partition_of
from errata.topics import EVENT_TOPICS, FEEDBACK, PREDICTIONS
from errata.wire import batch_headers, decode_record
from tests.records import number_id


class FakeBroker:
    """Acknowledges records, unless `is_away`, or they hold more than `limit_events`."""

    def __init__(self):
        self.is_away = False
        self.limit_events = 10_000
        #: So many connections break before one holds.
        self.n_breaks = 0
        self.records = []
        self.n_opened = 0
        self.n_closed = 0
        self.changed = threading.Condition()

    def open_producer(self):
        if self.is_away:
            raise ConnectionRefusedError("away")
        self.n_opened += 1
        return FakeProducer(self)

    def events(self, topic=None):
        return [e for record, events in self.records for e in events if topic in (None, record)]

    def wait_for(self, n_events):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.events()) >= n_events, 20)


class FakeProducer:
    def __init__(self, broker):
        self.broker = broker
        self.is_broken = broker.n_breaks > 0
        broker.n_breaks -= self.is_broken

    def n_partitions(self, topic):
        if self.broker.is_away:
            raise KafkaTimeoutError
        return 2

    def send(self, records):
        return FakeSending(self, records)

    def close(self):
        self.broker.n_closed += 1


class FakeSending:
    def __init__(self, producer, records):
        self.producer, self.broker, self.records = producer, producer.broker, records

    def wait(self, timeout_seconds):
        return [self.take(record) for record in self.records]

    def take(self, record):
        if self.broker.is_away or self.producer.is_broken:
            return KafkaTimeoutError()
        decoded = decode_record(batch_headers(), record.value)
        if len(decoded.events) > self.broker.limit_events:
            return MessageSizeTooLargeError()
        assert not decoded.refused
        with self.broker.changed:
            self.broker.records.append((record.topic, [event for _, event in decoded.events]))
            self.broker.changed.notify_all()
        return None


@pytest.fixture
def fake_broker():
    return FakeBroker()


@pytest.fixture
def open_client(fake_broker):
    clients = []

    def open_one(**given):
        given = {"source": "/tests", "linger_ms": 1, "open_producer": fake_broker.open_producer} | given
        clients.append(Client(**given))
        return clients[-1]

    yield open_one
    for client in clients:
        client.close(timeout_seconds=0)


def predict(client, number=1, **given):
    return client.prediction(
        **({"model": "m", "version": "1", "output": number, "id": number_id(number)} | given)
    )


def test_events_of_every_kind_arrive_on_their_topics(open_client, fake_broker):
    client = open_client()
    shown = predict(client)
    client.edit(prediction_id=shown, corrected="x", who="kim", display_ms=5)
    client.accept(prediction_id=shown)
    client.reject(prediction_id=shown)
    client.voc(text="bad", rating=1, prediction_id=shown)
    assert client.flush(20)
    assert [len(fake_broker.events(topic)) for topic in EVENT_TOPICS] == [1, 3, 1]
    edit = next(e for e in fake_broker.events(FEEDBACK) if e.data.action == "edit")
    assert (edit.data.corrected, edit.data.who.id, edit.data.display_ms, edit.source) == (
        "x",
        "kim",
        5,
        "/tests",
    )
    assert client.counters.as_dict()["sent"] == 5


def test_what_a_customer_wrote_leaves_masked(open_client, fake_broker):
    client = open_client()
    client.voc(text="010-1234-5678로 전화 주세요")
    client.flush(20)
    assert fake_broker.events()[0].data.text == "[phone]로 전화 주세요"


def test_the_mask_of_the_service_sees_every_free_value(open_client, fake_broker):
    client = open_client(mask=lambda value: f"<{value}>")
    shown = predict(client, output="o", input="i")
    client.edit(prediction_id=shown, corrected="c")
    client.voc(text="t")
    client.flush(20)
    said = {type(e.data).__name__: e.data for e in fake_broker.events()}
    assert (said["PredictionData"].output, said["PredictionData"].input) == ("<o>", "<i>")
    assert (said["FeedbackData"].corrected, said["VocData"].text) == ("<c>", "<t>")


def test_an_event_that_the_mask_fails_on_is_not_sent(open_client, fake_broker):
    client = open_client(mask=lambda value: 1 / 0)
    predict(client)
    assert client.flush(20)
    assert fake_broker.events() == []
    assert client.counters.as_dict()["invalid"] == {"not_encodable": 1}


def test_the_service_may_change_its_objects_afterwards(open_client, fake_broker):
    client = open_client(linger_ms=50)
    output = {"number": "1"}
    predict(client, output=output)
    output["number"] = "2"
    client.flush(20)
    assert fake_broker.events()[0].data.output == {"number": "1"}


WRONG = {
    "an edit without correction": lambda c: c.edit(prediction_id=number_id(1), corrected=None),
    "an object": lambda c: predict(c, output=object()),
    "half a character": lambda c: predict(c, output="\ud83d"),
    "a number for text": lambda c: c.voc(text=5),
    "a wrong model": lambda c: predict(c, model=""),
    "a wrong id": lambda c: predict(c, id="17"),
    "no id at all": lambda c: c.accept(prediction_id=None),
    "a NUL": lambda c: c.voc(text="a\0"),
    "a large input": lambda c: predict(c, input="x" * 100_000),
    "a time in seconds": lambda c: predict(c, time_us=1_795_415_400),
    "an impossible time": lambda c: predict(c, time_us=10**30),
    "tags that are a list": lambda c: predict(c, tags=["x"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_counted_and_answered_with_an_id_and_never_raised(open_client, fake_broker, name):
    client = open_client()
    assert isinstance(WRONG[name](client), str)
    predict(client, 2)
    assert client.flush(20)
    counts = client.counters.as_dict()
    assert sum(counts["invalid"].values()) == 1
    assert (counts["queued"], counts["sent"], len(fake_broker.events())) == (2, 1, 1)


def test_numbers_of_numpy_are_numbers(open_client, fake_broker):
    import numpy as np

    client = open_client()
    predict(client, output=np.float32(0.5), features=np.array([1.0, 2.0]), confidence=np.float64(0.25))
    client.flush(20)
    data = fake_broker.events()[0].data
    assert (data.output, data.features, data.confidence) == (0.5, [1.0, 2.0], 0.25)


def test_an_id_that_numpy_calls_a_string_is_one(open_client, fake_broker):
    import numpy as np

    client = open_client()
    predict(client, id=np.str_(number_id(1)))
    assert client.flush(20)
    assert [e.id for e in fake_broker.events()] == [number_id(1)]


def test_each_wrong_reason_is_logged_once(open_client, caplog):
    client = open_client()
    for _ in range(3):
        client.voc(text="")
    client.flush(20)
    assert client.counters.as_dict()["invalid"] == {"wrong_type": 3}
    assert sum("not valid" in record.message for record in caplog.records) == 1


def test_without_a_spool_events_wait_in_memory_until_the_broker_is_back(open_client, fake_broker):
    fake_broker.is_away = True
    client = open_client()
    for number in range(1, 4):
        predict(client, number)
    assert not client.flush(0.3)
    fake_broker.is_away = False
    fake_broker.wait_for(3)
    assert [e.id for e in fake_broker.events()] == [number_id(number) for number in range(1, 4)]


def test_on_overflow_predictions_go_first_and_are_counted(open_client, fake_broker):
    fake_broker.is_away = True
    client = open_client(queue_events=3)
    for number in range(1, 6):
        predict(client, number)
    client.accept(prediction_id=number_id(1))
    client.voc(text="bad")
    fake_broker.is_away = False
    fake_broker.wait_for(3)
    assert client.flush(20)
    assert client.counters.as_dict()["dropped"] == {"prediction queue_full": 4}
    assert [len(fake_broker.events(topic)) for topic in EVENT_TOPICS] == [1, 1, 1]


def test_a_record_that_fails_goes_to_the_spool_and_is_sent_by_a_new_producer(
    open_client, fake_broker, tmp_path
):
    client = open_client(spool_directory=tmp_path)
    predict(client, 1)
    assert client.flush(20)
    fake_broker.is_away = True
    predict(client, 2)
    assert client.flush(20)
    assert client.counters.as_dict()["spooled"] == 1
    fake_broker.is_away = False
    fake_broker.wait_for(2)
    assert (fake_broker.n_opened, fake_broker.n_closed) == (2, 1)


@pytest.mark.parametrize("n_breaks", [1, 2])
def test_what_fails_while_more_is_on_its_way_is_sent_again_in_its_order(
    open_client, fake_broker, monkeypatch, n_breaks
):
    monkeypatch.setattr("errata.delivery._CHUNK_EVENTS", 5)
    fake_broker.n_breaks = n_breaks
    client = open_client(linger_ms=200)
    for number in range(1, 31):
        predict(client, number)
    assert client.flush(20)
    for partition in (0, 1):
        numbers = [e.data.output for e in fake_broker.events() if partition_of(e.id, 2) == partition]
        assert numbers == sorted(numbers)
    assert sorted(e.data.output for e in fake_broker.events()) == list(range(1, 31))
    assert fake_broker.n_opened == n_breaks + 1
    assert client.counters.as_dict()["sent"] == 30


def test_a_record_too_large_for_the_broker_is_sent_in_halves(open_client, fake_broker):
    fake_broker.limit_events = 2
    client = open_client(linger_ms=200)
    for number in range(1, 20):
        predict(client, number)
    assert client.flush(20)
    assert sorted(e.id for e in fake_broker.events()) == [number_id(number) for number in range(1, 20)]


def test_an_event_that_alone_is_too_large_for_the_broker_is_dropped(open_client, fake_broker):
    fake_broker.limit_events = 0
    client = open_client()
    predict(client)
    assert client.flush(20)
    assert client.counters.as_dict()["dropped"] == {"prediction refused_by_broker": 1}


def test_a_full_spool_drops_predictions_and_keeps_room_for_feedback(open_client, fake_broker, tmp_path):
    fake_broker.is_away = True
    client = open_client(spool_directory=tmp_path, spool_bytes=2000)
    for number in range(1, 50):
        predict(client, number)
    assert client.flush(20)
    client.accept(prediction_id=number_id(1))
    assert client.flush(20)
    dropped = client.counters.as_dict()["dropped"]
    assert set(dropped) == {"prediction spool_full"}
    fake_broker.is_away = False
    fake_broker.wait_for(50 - dropped["prediction spool_full"])
    assert len(fake_broker.events(FEEDBACK)) == 1


def test_what_a_closed_client_could_not_send_is_sent_by_the_next(open_client, fake_broker, tmp_path):
    fake_broker.is_away = True
    client = open_client(spool_directory=tmp_path)
    predict(client)
    client.close(5)
    fake_broker.is_away = False
    following = open_client(spool_directory=tmp_path)
    fake_broker.wait_for(1)
    assert following.flush(20)
    following.close(5)
    assert following.counters.as_dict()["recovered"] == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_never_reaches_the_service_and_loses_nothing_that_fits_in_memory(
    open_client, fake_broker, tmp_path, monkeypatch, caplog
):
    def refuse(descriptor, chunk):
        raise OSError(28, "No space left on device")

    fake_broker.is_away = True
    client = open_client(spool_directory=tmp_path, queue_events=100)
    with monkeypatch.context() as full:
        full.setattr("errata.spool.os.write", refuse)
        for number in range(1, 1001):
            predict(client, number)
        assert not client.flush(1)
        counts = client.counters.as_dict()
    assert (counts["queued"], counts["spooled"]) == (1000, 0)
    assert counts["spool_failures"] >= 1
    assert sum("the spool fails" in record.message for record in caplog.records) == 1
    fake_broker.is_away = False
    assert client.flush(20)
    counts = client.counters.as_dict()
    assert (
        counts["sent"] - counts["recovered"] + counts["spooled"] + counts["dropped"]["prediction queue_full"]
        == 1000
    )
    fake_broker.wait_for(1000 - counts["dropped"]["prediction queue_full"])


def test_the_torn_end_of_a_killed_services_spool_is_counted(open_client, fake_broker, tmp_path):
    fake_broker.is_away = True
    client = open_client(spool_directory=tmp_path)
    predict(client, 1)
    assert client.flush(20)
    predict(client, 2)
    assert client.flush(20)
    client.close(5)
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - 1)
    fake_broker.is_away = False
    following = open_client(spool_directory=tmp_path)
    fake_broker.wait_for(1)
    following.close(5)
    counts = following.counters.as_dict()
    assert (counts["recovered"], counts["torn"], counts["sent"]) == (1, 1, 1)
    assert [file.suffix for file in tmp_path.iterdir()] == [".torn"]


def test_models_and_versions_are_known_after_their_first_event_and_wrong_ones_never(open_client, fake_broker):
    client = open_client()
    for _ in range(2):
        for number, version in enumerate(["1", "2", "no blanks"], start=1):
            predict(client, number, version=version)
        assert client.flush(20)
    assert [e.data.version for e in fake_broker.events()] == ["1", "2"] * 2
    assert client.counters.as_dict()["invalid"] == {"wrong_type": 2}


def test_a_wrong_event_among_a_hundred_right_ones_is_refused_alone(open_client, fake_broker):
    client = open_client(linger_ms=200)
    predict(client, 1)
    assert client.flush(20)
    for number in range(2, 102):
        predict(client, number, confidence=7.0 if number == 50 else 0.5)
    assert client.flush(20)
    assert sorted(e.data.output for e in fake_broker.events()) == [n for n in range(1, 102) if n != 50]


@pytest.mark.parametrize("source", ["", "x" * 1025, "\ud83d", None])
def test_a_source_that_no_reader_accepts_is_answered_by_counting(fake_broker, source):
    client = Client(source=source, linger_ms=1, open_producer=fake_broker.open_producer)
    predict(client)
    client.accept(prediction_id=number_id(1))
    assert client.flush(20)
    client.close()
    assert sum(client.counters.as_dict()["invalid"].values()) == 2


def test_a_source_and_an_id_with_quotes_do_not_break_out_of_their_place(open_client, fake_broker):
    client = open_client(source='/a"b\\')
    predict(client, id='x","type":"y')
    predict(client)
    assert client.flush(20)
    assert [e.source for e in fake_broker.events()] == ['/a"b\\']
    assert client.counters.as_dict()["invalid"] == {"bad_id": 1}


def test_closing_without_broker_and_spool_counts_what_is_lost(open_client, fake_broker):
    fake_broker.is_away = True
    client = open_client()
    predict(client)
    client.close(0.2)
    predict(client)
    assert client.counters.as_dict()["dropped"] == {"prediction closed": 2}


def test_a_thread_that_hangs_in_the_network_does_not_keep_the_service_from_ending(
    open_client, fake_broker, tmp_path
):
    hanging = threading.Event()

    def open_never():
        hanging.wait(60)
        raise ConnectionRefusedError

    client = open_client(spool_directory=tmp_path, open_producer=open_never)
    predict(client)
    client.close(0.2)
    following = open_client(spool_directory=tmp_path)
    fake_broker.wait_for(1)
    hanging.set()
    following.close(5)


def test_a_client_that_is_off_does_nothing(fake_broker, tmp_path):
    client = Client(source="/tests", enabled=False, spool_directory=tmp_path / "spool")
    assert client.prediction(model="m", version="1", output=1, id=number_id(5)) == number_id(5)
    client.voc(text="x")
    client.close()
    assert client.counters.as_dict()["queued"] == 0
    assert not (tmp_path / "spool").exists()


def test_a_defect_in_the_producer_does_not_end_the_thread(open_client, fake_broker, caplog):
    failures = [ValueError("a defect")]

    class Defective(FakeProducer):
        def n_partitions(self, topic):
            if failures:
                raise failures.pop()
            return 1

    client = open_client(open_producer=lambda: Defective(fake_broker))
    predict(client)
    fake_broker.wait_for(1)
    assert fake_broker.events(PREDICTIONS)[0].id == number_id(1)
    assert "delivering failed" in caplog.text
