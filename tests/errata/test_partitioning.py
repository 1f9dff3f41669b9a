from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import murmur2 as kafka_murmur2

from errata.partitioning import Encoded, gather, murmur2, partition_of, partitions_of, topic_of
from errata.topics import FEEDBACK, PREDICTIONS, VOC
from tests.builders import a_feedback_event, a_prediction_event, a_voc_event
from tests.records import number_id


@given(st.binary(max_size=200))
def test_the_hash_is_the_one_of_kafka(data):
    assert murmur2(data) == kafka_murmur2(data)


@given(st.text(), st.integers(1, 200))
def test_a_key_has_one_partition_of_those_there_are(key, partitions):
    assert partition_of(key, partitions) == partition_of(key, partitions) < partitions


def test_known_keys_keep_their_partitions_for_ever():
    assert [partition_of(number_id(number), 8) for number in range(1, 9)] == [2, 5, 3, 0, 3, 3, 4, 0]


@given(st.lists(st.uuids().map(str) | st.text(max_size=8)), st.integers(1, 200))
def test_many_keys_at_once_have_the_partitions_that_they_have_one_by_one(keys, partitions):
    assert partitions_of(keys, partitions) == [partition_of(key, partitions) for key in keys]


@given(st.lists(st.uuids().map(str), min_size=1), st.integers(1, 200))
def test_many_ids_at_once_have_the_partitions_that_they_have_one_by_one(ids, partitions):
    assert partitions_of(ids, partitions) == [partition_of(each, partitions) for each in ids]


def test_each_kind_of_event_has_its_topic():
    events = (a_prediction_event(), a_feedback_event(), a_voc_event())
    assert [topic_of(event.data) for event in events] == [PREDICTIONS, FEEDBACK, VOC]


encoded_events = st.lists(
    st.builds(
        Encoded,
        topic=st.sampled_from([PREDICTIONS, FEEDBACK]),
        key=st.integers(0, 50).map(number_id),
        raw=st.binary(min_size=1, max_size=40),
    )
)


@given(encoded_events, st.integers(1, 5), st.integers(1, 7), st.integers(41, 200))
def test_records_hold_every_event_once_in_order_and_keep_the_limits(
    events, partitions, record_events, record_bytes
):
    records = gather(
        events,
        {PREDICTIONS: partitions, FEEDBACK: partitions},
        record_events=record_events,
        record_bytes=record_bytes,
    )
    for record in records:
        assert 1 <= len(record.events) <= record_events
        assert sum(len(event.raw) + 1 for event in record.events) <= record_bytes
        assert {(event.topic, partition_of(event.key, partitions)) for event in record.events} == {
            (record.topic, record.partition)
        }
    for place in {(record.topic, record.partition) for record in records}:
        gathered = [
            e for record in records if (record.topic, record.partition) == place for e in record.events
        ]
        assert gathered == [e for e in events if (e.topic, partition_of(e.key, partitions)) == place]
    assert sum(len(record.events) for record in records) == len(events)
