"""The quick look at a hundred events against the slow one at each."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.checking import fit_the_wire
from errata.errors import Malformed
from errata.partitioning import topic_of
from errata.topics import FEEDBACK, PREDICTIONS, VOC
from errata.wire import decode_event, encode_event
from tests.builders import a_feedback_event, a_prediction_event, a_voc_event
from tests.errata.strategies import events

#: With a fraction of a second, as the client writes every time.
TIME_US = 1_795_415_400_000_001
SAMPLES = {
    PREDICTIONS: a_prediction_event(time_us=TIME_US),
    FEEDBACK: a_feedback_event(time_us=TIME_US),
    VOC: a_voc_event(time_us=TIME_US),
}


def is_accepted(raw):
    try:
        decode_event(raw)
    except Malformed:
        return False
    return True


def with_data(topic, **changes):
    attributes = json.loads(encode_event(SAMPLES[topic]))
    attributes["data"] |= changes
    return json.dumps(attributes, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("topic", SAMPLES)
def test_right_events_pass_at_once(topic):
    assert fit_the_wire(topic, [encode_event(SAMPLES[topic])] * 100)


def test_events_of_which_one_has_another_form_do_not_pass():
    other = encode_event(msgspec.structs.replace(SAMPLES[PREDICTIONS], source="/another/tests"))
    assert not fit_the_wire(PREDICTIONS, [encode_event(SAMPLES[PREDICTIONS]), other])
    assert not fit_the_wire(PREDICTIONS, [b"{}"])


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


WRONG = [
    (PREDICTIONS, {"output": deep(70)}),
    (PREDICTIONS, {"output": {"a": deep(64)}}),
    (PREDICTIONS, {"output": 2**63}),
    (PREDICTIONS, {"input": [-(2**63) - 1]}),
    (PREDICTIONS, {"output": "a\0"}),
    (PREDICTIONS, {"output": "x" * 70_000}),
    (PREDICTIONS, {"confidence": 1.5}),
    (PREDICTIONS, {"probabilities": {"a": -0.1}}),
    (PREDICTIONS, {"latency_ms": -1}),
    (PREDICTIONS, {"tags": ["x"]}),
    (PREDICTIONS, {"tags": {"": "x"}}),
    (PREDICTIONS, {"tags": {str(n): "x" for n in range(33)}}),
    (PREDICTIONS, {"subject": "x" * 257}),
    (PREDICTIONS, {"features": "x"}),
    (PREDICTIONS, {"model": 5}),
    (FEEDBACK, {"prediction_id": "17"}),
    (FEEDBACK, {"prediction_id": None}),
    (FEEDBACK, {"action": "edit", "corrected": None}),
    (FEEDBACK, {"display_ms": "fast"}),
    (FEEDBACK, {"who": {"kind": "robot"}}),
    (VOC, {"text": ""}),
    (VOC, {"rating": 11}),
    (VOC, {"prediction_id": "17"}),
    (VOC, {"model": "no blanks"}),
]


@pytest.mark.parametrize(("topic", "changes"), WRONG)
def test_one_wrong_event_among_right_ones_is_noticed(topic, changes):
    wrong = with_data(topic, **changes)
    assert not is_accepted(wrong)
    good = encode_event(SAMPLES[topic])
    assert not fit_the_wire(topic, [good, wrong, good])


@given(st.lists(events, min_size=1, max_size=5))
def test_what_passes_is_accepted_by_every_reader(some):
    for topic in SAMPLES:
        raws = [
            encode_event(msgspec.structs.replace(event, source="/tests", time_us=TIME_US))
            for event in some
            if topic_of(event.data) == topic
        ]
        if raws and fit_the_wire(topic, raws):
            assert all(map(is_accepted, raws))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
fields = st.sampled_from(
    [
        "output",
        "input",
        "confidence",
        "probabilities",
        "input_uri",
        "features",
        "latency_ms",
        "tags",
        "subject",
    ]
)


@given(st.dictionaries(fields, json_values, max_size=3))
def test_nothing_passes_that_a_reader_would_refuse(changes):
    try:
        raw = with_data(PREDICTIONS, **changes)
    except UnicodeEncodeError:
        return
    if fit_the_wire(PREDICTIONS, [raw]):
        assert is_accepted(raw)
