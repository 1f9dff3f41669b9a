"""The producer against a broker that answers as told; the real one is in test_client.py."""

import gc
import random
import threading
import weakref
from contextlib import contextmanager, suppress

import pytest
from kafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
)
from kafka.record.memory_records import MemoryRecords

from bench.sink import Sink, _Connection
from errata import producing as producing_module
from errata.client import Client
from errata.errors import Stop
from errata.partitioning import Encoded, join
from errata.producing import KafkaProducer
from errata.topics import FEEDBACK, PREDICTIONS
from tests.servers import free_port


class Told(_Connection):
    """Takes records, unless it is told to refuse some requests first, or a batch is too large."""

    def _take(self, request):
        self.server.may_answer.wait(20)
        response = super()._take(request)
        refusals = self.server.refusals.pop(0) if self.server.refusals else None
        for topic, answer in zip(request.topic_data, response.responses, strict=True):
            for sent, partition in zip(topic.partition_data, answer.partition_responses, strict=True):
                if refusals is not None:
                    partition.error_code = refusals
                elif len(sent.records) > self.server.limit_bytes:
                    partition.error_code = MessageSizeTooLargeError.errno
                else:
                    values = [r.value for batch in read_batches(sent.records) for r in batch]
                    self.server.taken.setdefault((topic.name, sent.index), []).extend(values)
        self.server.n_requests += 1
        return response


def read_batches(records):
    rest = MemoryRecords(bytes(records))
    while rest.has_next():
        batch = rest.next_batch()
        assert batch.validate_crc()
        yield batch


@pytest.fixture
def broker():
    with Sink(free_port(), n_partitions=3) as sink:
        sink.RequestHandlerClass = Told
        sink.refusals, sink.limit_bytes, sink.taken, sink.n_requests = [], 10**9, {}, 0
        sink.may_answer = threading.Event()
        sink.may_answer.set()
        thread = threading.Thread(target=sink.serve_forever)
        thread.start()
        yield sink
        sink.shutdown()
        thread.join(10)


@contextmanager
def producing(broker, delivery_seconds=10.0):
    bootstrap = f"127.0.0.1:{broker.server_address[1]}"
    producer = KafkaProducer({"bootstrap_servers": bootstrap}, delivery_seconds)
    try:
        yield producer
    finally:
        producer.close()


def a_record(partition=0, text="{}", n_events=1, topic=PREDICTIONS):
    return join(topic, partition, [Encoded(topic, "k", text.encode()) for _ in range(n_events)])


def values_of(records):
    return [record.value for record in records]


def test_it_knows_how_many_partitions_a_topic_has(broker):
    with producing(broker) as producer:
        assert producer.n_partitions(PREDICTIONS) == 3


def test_records_of_several_topics_and_partitions_arrive_in_one_request(broker):
    records = [a_record(0), a_record(2, '{"a":1}', 3), a_record(2, '{"b":2}'), a_record(1, topic=FEEDBACK)]
    with producing(broker) as producer:
        for topic in (PREDICTIONS, FEEDBACK):
            producer.n_partitions(topic)
        assert producer.send(records).wait(20) == [None] * 4
    assert broker.n_requests == 1
    assert broker.taken == {
        (PREDICTIONS, 0): values_of(records[:1]),
        (PREDICTIONS, 2): values_of(records[1:3]),
        (FEEDBACK, 1): values_of(records[3:]),
    }


def noise(chance, n_bytes):
    return chance.randbytes(n_bytes // 2).hex()


def test_what_does_not_compress_goes_in_batches_that_the_broker_takes(broker):
    chance = random.Random(1)
    broker.limit_bytes = 1_048_588
    records = [a_record(0, noise(chance, 800_000)) for _ in range(9)]
    with producing(broker) as producer:
        producer.n_partitions(PREDICTIONS)
        assert producer.send(records).wait(30) == [None] * 9
    assert broker.taken == {(PREDICTIONS, 0): values_of(records)}


def test_after_a_batch_that_was_too_large_smaller_ones_are_sent(broker):
    chance = random.Random(1)
    broker.limit_bytes = 150_000
    records = [a_record(0, noise(chance, 100_000)) for _ in range(6)]
    with producing(broker) as producer:
        producer.n_partitions(PREDICTIONS)
        outcomes = producer.send(records).wait(20)
        assert {type(outcome) for outcome in outcomes} == {MessageSizeTooLargeError}
        assert producer.send(records).wait(20) == [None] * 6
    assert broker.taken == {(PREDICTIONS, 0): values_of(records)}


def test_records_are_sent_again_while_a_partition_changes_its_leader(broker):
    broker.refusals = [NotLeaderForPartitionError.errno] * 2
    with producing(broker) as producer:
        producer.n_partitions(PREDICTIONS)
        assert producer.send([a_record()]).wait(20) == [None]
    assert broker.n_requests == 3


def test_a_refusal_that_stays_is_told_when_the_time_is_over(broker):
    broker.refusals = [NotLeaderForPartitionError.errno] * 100
    with producing(broker, delivery_seconds=0.5) as producer:
        producer.n_partitions(PREDICTIONS)
        (outcome,) = producer.send([a_record()]).wait(20)
    assert isinstance(outcome, NotLeaderForPartitionError)
    assert broker.taken == {}


def test_what_will_not_change_is_not_tried_again(broker):
    broker.refusals = [TopicAuthorizationFailedError.errno]
    with producing(broker) as producer:
        producer.n_partitions(PREDICTIONS)
        (outcome,) = producer.send([a_record()]).wait(20)
    assert isinstance(outcome, TopicAuthorizationFailedError)
    assert broker.n_requests == 1


def test_a_broker_that_does_not_answer_in_time_is_an_error(broker):
    with producing(broker) as producer:
        producer.n_partitions(PREDICTIONS)
        broker.may_answer.clear()
        sending = producer.send([a_record()])
        with pytest.raises(KafkaTimeoutError):
            sending.wait(0.1)
        broker.may_answer.set()
        assert sending.wait(20) == [None]


def test_nobody_at_the_address_is_an_error_at_once():
    with pytest.raises(ConnectionRefusedError):
        KafkaProducer({"bootstrap_servers": f"127.0.0.1:{free_port()}"}, 10.0)


def test_a_refused_connection_keeps_nothing_of_its_caller_in_memory():
    class Chunk:
        pass

    def try_to_connect():
        chunk = Chunk()
        with suppress(ConnectionRefusedError):
            KafkaProducer({"bootstrap_servers": f"127.0.0.1:{free_port()}"}, 10.0)
        return weakref.ref(chunk)

    gc.collect()
    gc.disable()
    try:
        assert try_to_connect()() is None
    finally:
        gc.enable()


def test_the_installed_kafka_python_has_the_names_we_use():
    producing_module.check_used_names()


def test_a_missing_name_stops_a_service_when_it_makes_its_client(monkeypatch):
    monkeypatch.delattr(producing_module.KafkaConnectionManager, "call_soon")
    with pytest.raises(Stop, match=r"kafka-python .* lacks .*KafkaConnectionManager\.call_soon"):
        Client("127.0.0.1:1", source="/tests")


def test_a_client_that_is_off_needs_no_names(monkeypatch):
    monkeypatch.delattr(producing_module.KafkaConnectionManager, "call_soon")
    Client("127.0.0.1:1", source="/tests", enabled=False)


def test_a_name_with_other_parameters_is_named(monkeypatch):
    monkeypatch.setattr(producing_module.KafkaConnectionManager, "send", lambda self, node_id, request: None)
    with pytest.raises(Stop, match=r"KafkaConnectionManager\.send\(request, node_id\)"):
        producing_module.check_used_names()


def test_a_missing_attribute_is_named(monkeypatch):
    monkeypatch.delattr(producing_module.ProduceRequest, "TopicProduceData")
    with pytest.raises(Stop, match=r"ProduceRequest\.TopicProduceData"):
        producing_module.check_used_names()
    monkeypatch.setattr(producing_module.KafkaConnectionManager, "__init__", lambda self, net: None)
    with pytest.raises(Stop, match=r"KafkaConnectionManager\.cluster"):
        producing_module.check_used_names()


def test_a_record_that_cannot_be_sealed_is_told_of(broker, monkeypatch):
    def fail(*_):
        raise MemoryError("no memory")

    monkeypatch.setattr(producing_module, "seal", fail)
    with producing(broker) as producer, pytest.raises(MemoryError):
        producer.send([a_record()]).wait(20)


def test_what_was_not_sealed_when_the_producer_closed_is_told_of(broker, monkeypatch):
    is_released = threading.Event()

    def wait(*_):
        assert is_released.wait(20)
        return b"sealed"

    monkeypatch.setattr(producing_module, "seal", wait)
    with producing(broker) as producer:
        producer.n_partitions(PREDICTIONS)
        sendings = [producer.send([a_record()]) for _ in range(2)]
    is_released.set()
    for sending in sendings:
        with pytest.raises(KafkaConnectionError):
            sending.wait(20)
