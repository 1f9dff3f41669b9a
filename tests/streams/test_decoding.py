import json

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from errata.events import TYPES
from errata.masking import mask_event
from errata.wire import (
    decode_event,
    decode_record,
    encode_batch,
    encode_binary,
    encode_event,
    encode_structured,
)
from storage.facts import encode_fact
from storage.intake import Arrival
from streams.decoding import FUTURE_US, decode_run
from streams.driver import FetchedRecord, FetchedRun
from tests.builders import START_US, a_feedback_event, a_prediction_event, a_voc_event
from tests.errata.strategies import events


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


@st.composite
def damaged(draw):
    """A valid event in which some bytes were replaced, mostly by what JSON and the limits are sensitive to."""
    raw = bytearray(encode_event(draw(events)))
    signs = st.sampled_from([*b'{}[]",:\\u0e+-19nN \x00\xff', *b"eE."]) | st.integers(0, 255)
    for place, sign in draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), signs), max_size=3)):
        raw[place] = sign
    return bytes(raw)


numbers = ["1e999", "-1e+400", "1e-400", "12345678901234567890", "-9223372036854775808", "NaN", "1" * 400]
strings = ['"\\ud800"', '"\\u0000"', '"\\u00e9"', '"' + "x" * 70_000 + '"']
json_texts = st.sampled_from([*numbers, *strings, "[" * 70 + "]" * 70, "null", "{}", "true"])


@st.composite
def extreme(draw):
    """A valid event with a value of which the limits speak."""
    event = json.loads(encode_event(draw(events)))
    # A value in a field that is not of its type is only looked at by the careful way, before both leave it out.
    known = [each.name for each in fields(TYPES[event["type"]])]
    event["data"][draw(st.sampled_from(known))] = "@"
    name = draw(st.sampled_from(known))
    if draw(st.booleans()):
        event["data"][name] = draw(st.sampled_from(["", "A B", "m\n", "0" * 36, "É" * 3]))
    return json.dumps(event, ensure_ascii=draw(st.booleans())).replace('"@"', draw(json_texts)).encode()


@st.composite
def more_than_known(draw):
    """A valid event with a field that nobody reads, somewhere, of any depth."""
    event = json.loads(encode_event(draw(events)))
    places = [event, event["data"], *(each for each in event["data"].values() if isinstance(each, dict))]
    name = draw(st.sampled_from(["unheard of", "datacontenttype", "subject", "traceparent"]))
    draw(st.sampled_from(places))[name] = "@"
    return json.dumps(event).replace('"@"', draw(json_texts | st.just('"' + "]" * 99 + '"'))).encode()


@given(st.lists(damaged() | extreme() | more_than_known(), min_size=1, max_size=4))
@settings(max_examples=300)
def test_the_quick_way_reads_and_refuses_just_what_the_careful_way_does(raws):
    headers = [("content-type", b"application/cloudevents-batch+json")]
    value = b"[" + b",".join(raws) + b"]"
    careful = decode_record(headers, value)
    arrival = decode_run(a_run(a_record(11, (headers, value))), 4_133_980_800_000_000)
    read = [(position, mask_event(event)) for position, event in careful.events]
    assert [(position, event) for _, position, event in events_of(arrival)] == read
    refused = sorted((each.position, each.reason) for each in careful.refused)
    assert sorted((each.position, each.reason) for each in arrival.dead) == refused


def test_an_event_that_is_too_large_is_refused_alone_in_a_large_batch():
    good = [a_prediction_event(number) for number in range(3)]
    large = encode_event(good[1])[:-1] + b" " * 256 * 1024 + b"}"
    headers, _ = encode_batch([])
    value = b"[" + b",".join([encode_event(good[0]), large, encode_event(good[2])]) + b"]"
    arrival = decode_run(a_run(a_record(11, (headers, value))), START_US)
    assert events_of(arrival) == [(11, 0, good[0]), (11, 2, good[2])]
    assert [(each.reason, each.position) for each in arrival.dead] == [("too_large", 1)]


def test_a_batch_of_more_bytes_than_an_event_may_have_is_read_as_any():
    good = [a_prediction_event(number, output="x" * 60_000) for number in range(6)]
    arrival = decode_run(a_run(a_record(11, encode_batch(good))), START_US)
    assert [event for _, _, event in events_of(arrival)] == good


def test_two_events_in_one_structured_record_are_no_event():
    event = encode_event(a_prediction_event(1))
    headers, _ = encode_structured(a_prediction_event(1))
    arrival = decode_run(a_run(a_record(11, (headers, event + b"," + event))), START_US)
    assert arrival.events == []
    assert [each.reason for each in arrival.dead] == ["broken_json"]
