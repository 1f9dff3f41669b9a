import json
import sqlite3
import time

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, from_structured_event
from hypothesis import example, given
from hypothesis import strategies as st

from errata.events import INLINE_BYTES, encode_json, type_of
from errata.wire import (
    BATCH_TYPE,
    EVENT_BYTES,
    JSON_TYPE,
    LEVELS,
    RECORD_BYTES,
    STRUCTURED_TYPE,
    decode_event,
    decode_record,
    encode_batch,
    encode_binary,
    encode_event,
    encode_structured,
    format_time,
    join_batch,
    wrapping,
)
from tests.builders import START_US, a_feedback_event, a_prediction_event, a_voc_event
from tests.errata.strategies import events, json_values, texts
from tests.records import number_id

BATCH = [("content-type", BATCH_TYPE.encode())]
STRUCTURED = [("content-type", STRUCTURED_TYPE.encode())]


def written(event=None, **changes):
    """An event as JSON in which each of `changes` replaces an attribute, or takes it out where it is `...`."""
    attributes = json.loads(encode_event(event or a_prediction_event())) | changes
    return {name: value for name, value in attributes.items() if value is not ...}


def with_data(event=None, **changes):
    attributes = written(event)
    return written(event, data={n: v for n, v in (attributes["data"] | changes).items() if v is not ...})


def encoded(attributes):
    return json.dumps(attributes, ensure_ascii=False).encode()


def with_output(raw):
    """An event whose output is the JSON `raw`, whatever that is."""
    return encoded(with_data(output="HERE")).replace(b'"HERE"', raw)


# --- What goes out comes in ---------------------------------------------------------------------------------


@given(events)
def test_a_structured_event_comes_back(event):
    assert decode_record(*encode_structured(event)).events == [(0, event)]


@given(events)
def test_a_binary_event_comes_back(event):
    assert decode_record(*encode_binary(event)).events == [(0, event)]


@given(st.lists(events, max_size=5))
def test_a_batch_comes_back_in_order(batch):
    assert decode_record(*encode_batch(batch)).events == list(enumerate(batch))


@given(events)
def test_an_accepted_event_can_be_stored_as_text(event):
    ((_, accepted),) = decode_record(*encode_structured(event)).events
    connection = sqlite3.connect(":memory:")
    text = msgspec.json.encode(accepted).decode()
    assert connection.execute("select ?", (text,)).fetchone() == (text,)
    assert "\0" not in text
    assert "\\u0000" not in text.replace("\\\\", "")
    connection.close()


@pytest.mark.parametrize("event", [a_prediction_event(), a_feedback_event(), a_voc_event()])
def test_the_cloudevents_sdk_reads_what_we_write(event):
    for (headers, value), read in (
        (encode_binary(event), from_binary_event),
        (encode_structured(event), from_structured_event),
    ):
        theirs = read(KafkaMessage(headers=dict(headers), key=None, value=value))
        assert theirs.get_id() == event.id
        assert theirs.get_type() == type_of(event.data)
        assert theirs.get_source() == event.source
        assert (
            theirs.get_time().isoformat().replace("+00:00", "Z").startswith(format_time(event.time_us)[:19])
        )
        assert theirs.get_data() == msgspec.to_builtins(event.data)


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("2026-11-23T06:30:00Z", START_US),
        ("2026-11-23T15:30:00.000001+09:00", START_US + 1),
        ("2026-11-23t06:30:00.999999z", START_US + 999_999),
        ("2000-01-01T00:00:00Z", 946_684_800_000_000),
        ("2100-12-31T23:59:59.999999Z", 4_133_980_799_999_999),
    ],
)
def test_times_are_exact_to_the_microsecond(text, time_us):
    assert decode_event(encoded(written(time=text))).time_us == time_us


def test_content_types_are_told_apart_whatever_their_case_and_parameters():
    raw = encode_event(a_prediction_event())
    for content_type in (b"Application/CloudEvents+JSON; charset=UTF-8", b"application/cloudevents+json"):
        assert decode_record([("Content-Type", content_type)], raw).events
    assert decode_record(
        [("content-type", b"APPLICATION/cloudevents-batch+json;x=y")], b"[" + raw + b"]"
    ).events


def test_ids_become_lower_case_and_unknown_fields_are_ignored():
    event = a_feedback_event(10, prediction=11)
    shouted = with_data(event, prediction_id=number_id(11).upper(), later={"field": [1]})
    shouted |= {"id": number_id(10).upper(), "traceparent": "00-x"}
    assert decode_event(encoded(shouted)) == event


def test_a_header_in_another_case_and_a_null_header_do_not_matter():
    headers, value = encode_binary(a_prediction_event())
    assert decode_record([(name.upper(), text) for name, text in headers] + [("x", None)], value).events


# --- What cannot be used ------------------------------------------------------------------------------------

DEEP = b"[" * 5000 + b"]" * 5000

REFUSED = {
    "broken JSON": (b'{"specversion": ', "broken_json"),
    "not UTF-8": (with_output(b'"\xff"'), "broken_json"),
    "a control character": (with_output(b'"\x01"'), "broken_json"),
    "NaN": (with_output(b"NaN"), "not_a_number"),
    "minus infinity": (with_output(b"[-Infinity]"), "not_a_number"),
    "a number beyond floats": (with_output(b"1e400"), "not_a_number"),
    "an escaped NUL": (with_output(b'"a\\u0000b"'), "nul_character"),
    "an escaped NUL after a backslash": (with_output(b'"\\\\\\u0000"'), "nul_character"),
    "half a pair": (with_output(b'"\\ud83d"'), "lone_surrogate"),
    "the other half": (with_output(b'"\\ude00 and more text"'), "lone_surrogate"),
    "an integer of 65 bits": (with_output(b"[9223372036854775808]"), "integer_too_large"),
    "a negative one": (with_output(b'{"a": -9223372036854775809}'), "integer_too_large"),
    "an integer of 6000 digits": (with_output(b"1" * 6000), "integer_too_large"),
    "too deep": (with_output(DEEP), "too_deep"),
    "one level too deep": (with_output(b"[" * (LEVELS - 1) + b"]" * (LEVELS - 1)), "too_deep"),
    "no object": (b"[1]", "wrong_type"),
    "null": (b"null", "wrong_type"),
    "no specversion": (encoded(written(specversion=...)), "missing_attribute"),
    "another specversion": (encoded(written(specversion="0.3")), "wrong_specversion"),
    "no type": (encoded(written(type=...)), "missing_attribute"),
    "an unknown type": (encoded(written(type="errata.predictoin.v1")), "unknown_type"),
    "a type that is a number": (encoded(written(type=1)), "wrong_type"),
    "no id": (encoded(written(id=...)), "missing_id"),
    "an id that is no UUID": (encoded(written(id="17")), "bad_id"),
    "an id with a newline": (encoded(written(id=number_id(1) + "\n")), "bad_id"),
    "an id that is a number": (encoded(written(id=17)), "wrong_type"),
    "no source": (encoded(written(source=...)), "missing_attribute"),
    "an empty source": (encoded(written(source="")), "wrong_type"),
    "no time": (encoded(written(time=...)), "missing_attribute"),
    "a time without a zone": (encoded(written(time="2026-11-23T06:30:00")), "bad_time"),
    "a time that is a number": (encoded(written(time=1.5)), "bad_time"),
    "the year 1999": (encoded(written(time="1999-12-31T23:59:59.999999Z")), "bad_time"),
    "the year 2101": (encoded(written(time="2101-01-01T00:00:00Z")), "bad_time"),
    "the first year": (encoded(written(time="0001-01-01T00:00:00+14:00")), "bad_time"),
    "no data": (encoded(written(data=...)), "missing_attribute"),
    "data in base64": (encoded(written(data=..., data_base64="e30=")), "missing_attribute"),
    "data that is a string": (encoded(written(data="x")), "wrong_type"),
    "no model": (encoded(with_data(model=...)), "wrong_type"),
    "a model with a newline": (encoded(with_data(model="m\n")), "wrong_type"),
    "a confidence of 1.5": (encoded(with_data(confidence=1.5)), "wrong_type"),
    "a latency that is text": (encoded(with_data(latency_ms="12")), "wrong_type"),
    "33 tags": (encoded(with_data(tags={str(n): "x" for n in range(33)})), "wrong_type"),
    "feedback without prediction": (encoded(with_data(a_feedback_event(), prediction_id=...)), "missing_id"),
    "feedback on no UUID": (encoded(with_data(a_feedback_event(), prediction_id="17")), "bad_id"),
    "VOC on no UUID": (encoded(with_data(a_voc_event(), prediction_id="17")), "bad_id"),
    "an edit without correction": (encoded(with_data(a_feedback_event(), corrected=...)), "wrong_type"),
    "an unknown action": (encoded(with_data(a_feedback_event(), action="undo")), "wrong_type"),
    "an empty VOC": (encoded(with_data(a_voc_event(), text="")), "wrong_type"),
    "a rating of 11": (encoded(with_data(a_voc_event(), rating=11)), "wrong_type"),
    "a large input": (encoded(with_data(input="x" * INLINE_BYTES)), "too_large"),
    "a large output": (encoded(with_data(output=["x" * INLINE_BYTES])), "too_large"),
    "a large correction": (encoded(with_data(a_feedback_event(), corrected="x" * INLINE_BYTES)), "too_large"),
    "a large event": (encoded(written(later="x" * EVENT_BYTES)), "too_large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_reason(name):
    raw, reason = REFUSED[name]
    decoded = decode_record(STRUCTURED, raw)
    assert [(each.position, each.reason) for each in decoded.refused] == [(0, reason)]
    assert decoded.events == []
    assert decoded.refused[0].raw == raw[:EVENT_BYTES]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_bad_event_of_a_batch_does_not_touch_its_neighbours(name, position):
    raw, reason = REFUSED[name]
    if name == "broken JSON":
        raw = b'{"specversion": }'
    good = [a_prediction_event(1), a_voc_event(2)]
    elements = [encode_event(event) for event in good]
    elements.insert(position, raw)
    decoded = decode_record(BATCH, b" [ " + b" , ".join(elements) + b" ] ")
    assert [event for _, event in decoded.events] == good
    assert [(each.position, each.reason) for each in decoded.refused] == [(position, reason)]
    assert sorted([place for place, _ in decoded.events] + [position]) == [0, 1, 2]


def test_a_detail_names_the_field_and_the_fix():
    def detail_of(raw):
        return decode_record(STRUCTURED, raw).refused[0].detail

    assert "$.latency_ms" in detail_of(REFUSED["a latency that is text"][0])
    assert "input_uri" in detail_of(REFUSED["a large input"][0])
    assert "did you mean errata.prediction.v1?" in detail_of(REFUSED["an unknown type"][0])
    assert "data.prediction_id" in detail_of(REFUSED["feedback on no UUID"][0])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty_record"),
        (b"", "empty_record"),
        (b"[" + encode_event(a_prediction_event()), "broken_json"),
        (b'[{"a": "]}', "broken_json"),
        (encode_event(a_prediction_event()), "broken_json"),
        (b"[1] [2]", "broken_json"),
        (b" " * (RECORD_BYTES + 1), "too_large"),
    ],
)
def test_a_batch_that_cannot_be_taken_apart_is_refused_whole(value, reason):
    decoded = decode_record(BATCH, value)
    assert [(each.position, each.reason) for each in decoded.refused] == [(0, reason)]
    assert decoded.events == []


def test_what_is_just_allowed_is_read():
    assert decode_event(with_output(b"[" * (LEVELS - 2) + b"]" * (LEVELS - 2)))
    assert decode_event(with_output(b"[9223372036854775807, -9223372036854775808, 0.1234567890123456789]"))
    assert decode_event(encoded(with_data(input="x" * (INLINE_BYTES - 2), output="y" * (INLINE_BYTES - 2))))
    assert decode_event(with_output(b'"no NUL: \\\\u0000, brackets in text: ' + b"[" * 100 + b'"'))
    assert decode_event(with_output(b'"12345678901234567890"')).data.output == "12345678901234567890"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"content-type": b"text/plain"}, "wrong_content_type"),
        ({"content-type": b"application/cloudevents+avro"}, "wrong_content_type"),
        ({"ce_id": None}, "missing_id"),
        ({"ce_specversion": None}, "missing_attribute"),
        ({"ce_source": b"a\0b"}, "nul_character"),
        ({"ce_source": b"\xff"}, "broken_json"),
        ({"ce_type": b"x"}, "unknown_type"),
    ],
)
def test_a_binary_event_with_wrong_headers_is_refused(changes, reason):
    headers, value = encode_binary(a_prediction_event())
    decoded = decode_record([*(dict(headers) | changes).items()], value)
    assert [each.reason for each in decoded.refused] == [reason]


def test_a_binary_value_cannot_smuggle_attributes_in():
    headers, value = encode_binary(a_prediction_event(1))
    smuggled = value + b', "id": "' + number_id(2).encode() + b'"'
    assert [each.reason for each in decode_record(headers, smuggled).refused] == ["broken_json"]


def test_a_refused_binary_event_is_complete_and_readable_by_itself():
    headers, _ = encode_binary(a_prediction_event(7))
    refused = decode_record(headers, '{"text": "번호 '.encode()).refused[0]
    told = json.loads(refused.raw)
    assert (told["id"], told["data"]) == (number_id(7), '{"text": "번호 ')


def test_a_mended_dead_letter_of_a_binary_event_can_be_sent_again():
    event = a_prediction_event(7)
    headers, value = encode_binary(event)
    refused = decode_record([h for h in headers if h[0] != "ce_time"], value).refused[0]
    mended = json.loads(refused.raw) | {"time": format_time(event.time_us)}
    assert decode_record(STRUCTURED, encoded(mended)).events == [(0, event)]


# --- Whatever comes -----------------------------------------------------------------------------------------

content_types = st.sampled_from([BATCH_TYPE, STRUCTURED_TYPE, JSON_TYPE, "", "text/plain"]).map(str.encode)
headers = st.lists(
    st.tuples(st.just("content-type"), content_types)
    | st.tuples(
        st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_data", "x"]) | st.text(), st.none() | st.binary()
    ),
    max_size=8,
)
json_text = json_values.map(lambda value: json.dumps(value).encode())


@given(headers, st.none() | st.binary() | json_text)
@example([("content-type", BATCH_TYPE.encode())], b"[" * 100_000)
@example([("content-type", BATCH_TYPE.encode())], b'["' + b"\\" * 1001)
@example([], b"{" * 100_000)
def test_decoding_never_raises_and_never_is_silent(headers, value):
    decoded = decode_record(headers, value)
    assert decoded.events or decoded.refused or (value or b"").split() in ([b"[]"], [b"[", b"]"])


@given(st.lists(st.binary(max_size=30)))
def test_decoding_a_batch_of_rubbish_never_raises(elements):
    decode_record(BATCH, join_batch(elements))


@given(st.lists(events.map(encode_event) | json_text, max_size=6), st.integers(0, 3))
def test_every_element_of_a_batch_is_accounted_for(elements, n_broken):
    elements = elements + [b'{"a": NaN}'] * n_broken
    decoded = decode_record(BATCH, join_batch(elements))
    assert len(decoded.events) + len(decoded.refused) == len(elements)
    places = [place for place, _ in decoded.events] + [each.position for each in decoded.refused]
    assert sorted(places) == list(range(len(elements)))


@given(events, st.data())
def test_the_quick_and_the_careful_way_agree(event, data):
    attributes = json.loads(encode_event(event))
    attributes[data.draw(st.sampled_from([*attributes, "later"]))] = data.draw(json_values)
    raw = encoded(attributes)
    # A tag that looks like an escaped NUL, in a field that nobody reads, sends the event the careful way.
    careful = encoded(attributes | {"later2": "\\u0000"})

    def answer(text):
        decoded = decode_record(STRUCTURED, text)
        return decoded.events, [each.reason for each in decoded.refused]

    assert answer(raw) == answer(careful)


FULL = {
    "open brackets": (b"[" * RECORD_BYTES, "broken_json"),
    "quotes": (b"[" + b'"\\"' * (RECORD_BYTES // 4), "broken_json"),
    "tiny elements": (b"[" + b"1," * (RECORD_BYTES // 2 - 4) + b"1]", "too_large"),
    "tiny elements and NaN": (b"[" + b"1," * (RECORD_BYTES // 2 - 4) + b"NaN]", "too_large"),
}


@pytest.mark.parametrize("name", FULL)
def test_a_hostile_record_of_full_size_is_one_refusal_within_seconds(name):
    value, reason = FULL[name]
    started = time.process_time()
    assert [each.reason for each in decode_record(BATCH, value).refused] == [reason]
    assert decode_record(STRUCTURED, value).refused[0].reason == "too_large"
    assert decode_record([], value).refused[0].reason == "too_large"
    assert time.process_time() - started < 20


@given(events, texts.filter(bool))
def test_wrapped_data_is_the_same_event(event, source):
    event = msgspec.structs.replace(event, source=source)
    wrap = wrapping(type(event.data))
    made = encode_json(wrap("1.0", event.id, source, format_time(event.time_us), event.data))
    assert decode_event(made) == decode_event(encode_event(event))
    assert list(json.loads(made)) == list(json.loads(encode_event(event)))
