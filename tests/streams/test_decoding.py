from hypothesis import given
from hypothesis import strategies as st

from errata.wire import decode_event, encode_batch, encode_binary, encode_event, encode_structured
from storage.facts import encode_fact
from storage.intake import Arrival
from streams.decoding import FUTURE_US, decode_run
from streams.driver import FetchedRecord, FetchedRun
from tests.builders import START_US, a_feedback_event, a_prediction_event, a_voc_event


def a_record(offset, headers_and_value):
    headers, value = headers_and_value
    return FetchedRecord(offset=offset, timestamp_ms=0, key=None, value=value, headers=tuple(headers))


def a_run(*records):
    return FetchedRun(
        topic="errata.predictions",
        partition=3,
        first_offset=10,
        next_offset=20,
        records=tuple(records),
        topic_id="topic-id",
    )


def events_of(arrival: Arrival):
    return [(offset, position, decode_event(encode_fact(fact))) for offset, position, fact in arrival.events]


def test_a_run_becomes_an_arrival_with_every_event_in_its_place():
    first, second, third = a_prediction_event(1), a_feedback_event(2), a_voc_event(3)
    arrival = decode_run(
        a_run(a_record(11, encode_batch([first, second])), a_record(15, encode_structured(third))), START_US
    )
    assert events_of(arrival) == [(11, 0, first), (11, 1, second), (15, 0, third)]
    assert arrival.dead == []
    assert (arrival.topic, arrival.partition, arrival.topic_id) == ("errata.predictions", 3, "topic-id")
    assert (arrival.first_offset, arrival.next_offset, arrival.n_records) == (10, 20, 2)


def test_an_empty_run_moves_on():
    assert decode_run(a_run(), START_US).next_offset == 20


def test_what_a_customer_wrote_is_masked_whoever_sent_it():
    said = a_voc_event(text="번호는 010-1234-5678")
    ((_, _, stored),) = decode_run(a_run(a_record(11, encode_binary(said))), START_US).events
    assert stored.data.text == "번호는 [phone]"


def test_a_bad_event_is_buried_with_its_place_and_masked():
    good = encode_event(a_prediction_event(1))
    bad = encode_event(a_voc_event(text="010-1234-5678", rating=5)).replace(b'"rating":5', b'"rating":50')
    headers, _ = encode_batch([])
    arrival = decode_run(a_run(a_record(12, (headers, b"[" + good + b"," + bad + b"]"))), START_US)
    assert [(offset, position) for offset, position, _ in arrival.events] == [(12, 0)]
    (dead,) = arrival.dead
    assert (dead.topic, dead.partition, dead.offset, dead.position) == ("errata.predictions", 3, 12, 1)
    assert dead.reason == "wrong_type"
    assert "$.rating" in dead.detail
    assert b"[phone]" in dead.raw
    assert b"010-1234" not in dead.raw


def test_a_detail_that_quotes_the_sender_is_masked_and_has_no_nul():
    bad = encode_event(a_prediction_event(1)).replace(b"errata.prediction.v1", b"010-1234-5678\\u0000")
    arrival = decode_run(a_run(a_record(12, (encode_structured(a_voc_event())[0], bad))), START_US)
    (dead,) = arrival.dead
    assert "010-1234" not in dead.detail
    assert "\0" not in dead.detail


def test_a_clock_that_is_ahead_is_told_from_one_that_is_a_little_fast():
    soon = a_prediction_event(1, time_us=START_US + FUTURE_US)
    later = a_prediction_event(2, time_us=START_US + FUTURE_US + 1)
    arrival = decode_run(a_run(a_record(11, encode_batch([later, soon]))), START_US)
    assert events_of(arrival) == [(11, 1, soon)]
    assert [(each.reason, each.position, each.raw) for each in arrival.dead] == [
        ("future_time", 0, encode_event(later))
    ]


def test_a_tombstone_is_a_dead_letter_without_bytes():
    (dead,) = decode_run(a_run(a_record(11, ([], None))), START_US).dead
    assert (dead.reason, dead.raw) == ("empty_record", b"")


values = st.none() | st.binary() | st.sampled_from([encode_event(a_voc_event()), b"[{}]"])
content_types = st.sampled_from([b"application/cloudevents+json", b"application/cloudevents-batch+json", b""])


@given(st.lists(st.tuples(values, content_types), max_size=5))
def test_every_record_leaves_a_trace_unless_it_is_an_empty_batch(records):
    run = a_run(
        *(
            a_record(10 + place, ([("content-type", kind)], value))
            for place, (value, kind) in enumerate(records)
        )
    )
    arrival = decode_run(run, START_US)
    traced = {offset for offset, _, _ in arrival.events} | {each.offset for each in arrival.dead}
    for place, (value, _) in enumerate(records):
        assert 10 + place in traced or b"".join((value or b"").split()) == b"[]"
