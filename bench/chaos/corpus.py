"""Malformed events and records of many kinds, each with the reason for which it has to be set aside."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from errata.wire import BATCH_TYPE, JSON_TYPE, STRUCTURED_TYPE

#: Something that could be an event, to be spoiled.
Make = Callable[[Random], bytes]


@dataclass(frozen=True, slots=True)
class Spoiled:
    """One kind of malformed input. `content_type` None: it may stand in a batch among good events."""

    name: str
    make: Make
    reason: str
    content_type: str | None = None


def _id(rng: Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def make_event(rng: Random, **given: Any) -> dict[str, Any]:
    """A prediction as a service would write it; None leaves an attribute out."""
    event = {
        "specversion": "1.0",
        "type": "errata.prediction.v1",
        "id": _id(rng),
        "source": "/chaos",
        "time": "2026-01-23T06:30:00Z",
        "data": make_reading(),
    } | given
    return {name: value for name, value in event.items() if value is not None}


def make_reading(**given: Any) -> dict[str, Any]:
    """The data of a prediction."""
    return {"model": "card-reader", "version": "1", "output": "4111"} | given


def _feedback(rng: Random, **given: Any) -> dict[str, Any]:
    return make_event(
        rng, type="errata.feedback.v1", data={"action": "accept", "prediction_id": _id(rng)} | given
    )


def _voc(rng: Random, **given: Any) -> dict[str, Any]:
    return make_event(rng, type="errata.voc.v1", data={"text": "느려요"} | given)


def with_output(rng: Random, raw: str) -> bytes:
    """A prediction whose output is `raw`, which need not be JSON."""
    return (
        json.dumps(make_event(rng, data=make_reading(output="OUTPUT")))
        .encode()
        .replace(b'"OUTPUT"', raw.encode())
    )


def json_of(make: Callable[[Random], Any]) -> Make:
    """What `make` makes, as JSON."""
    return lambda rng: json.dumps(make(rng), ensure_ascii=False).encode()


#: What may stand in a batch: each is one element of its array.
ELEMENTS: Final = (
    Spoiled("null", lambda _: b"null", "wrong_type"),
    Spoiled("a number", lambda _: b"17", "wrong_type"),
    Spoiled("a text", lambda _: b'"event"', "wrong_type"),
    Spoiled("a list", lambda _: b"[1]", "wrong_type"),
    Spoiled("no object but words", lambda _: b"tru", "broken_json"),
    Spoiled("an empty object", lambda _: b"{}", "missing_attribute"),
    Spoiled("no specversion", json_of(lambda r: make_event(r, specversion=None)), "missing_attribute"),
    Spoiled("CloudEvents 0.3", json_of(lambda r: make_event(r, specversion="0.3")), "wrong_specversion"),
    Spoiled("no type", json_of(lambda r: make_event(r, type=None)), "missing_attribute"),
    Spoiled(
        "a type nobody knows", json_of(lambda r: make_event(r, type="errata.predicton.v1")), "unknown_type"
    ),
    Spoiled("a type that is a number", json_of(lambda r: make_event(r, type=1)), "wrong_type"),
    Spoiled("no id", json_of(lambda r: make_event(r, id=None)), "missing_id"),
    Spoiled("an id that is no UUID", json_of(lambda r: make_event(r, id="17")), "bad_id"),
    Spoiled("an id cut off", json_of(lambda r: make_event(r, id=_id(r)[:-1])), "bad_id"),
    Spoiled("an id that is a number", json_of(lambda r: make_event(r, id=17)), "wrong_type"),
    Spoiled("no source", json_of(lambda r: make_event(r, source=None)), "missing_attribute"),
    Spoiled("an empty source", json_of(lambda r: make_event(r, source="")), "wrong_type"),
    Spoiled("no time", json_of(lambda r: make_event(r, time=None)), "missing_attribute"),
    Spoiled("no zone", json_of(lambda r: make_event(r, time="2026-01-23T06:30:00")), "bad_time"),
    Spoiled("no time but words", json_of(lambda r: make_event(r, time="yesterday")), "bad_time"),
    Spoiled("a time before 2000", json_of(lambda r: make_event(r, time="1970-01-01T00:00:00Z")), "bad_time"),
    Spoiled("a time in years", json_of(lambda r: make_event(r, time="2099-01-01T00:00:00Z")), "future_time"),
    Spoiled("no data", json_of(lambda r: make_event(r, data=None)), "missing_attribute"),
    Spoiled(
        "data in base 64",
        json_of(lambda r: make_event(r, data=None, data_base64="e30=")),
        "missing_attribute",
    ),
    Spoiled("data that is a text", json_of(lambda r: make_event(r, data="x")), "wrong_type"),
    Spoiled("no model", json_of(lambda r: make_event(r, data={"version": "1", "output": 1})), "wrong_type"),
    Spoiled("an empty model", json_of(lambda r: make_event(r, data=make_reading(model=""))), "wrong_type"),
    Spoiled(
        "a model with a space", json_of(lambda r: make_event(r, data=make_reading(model="a b"))), "wrong_type"
    ),
    Spoiled(
        "a version that is a number",
        json_of(lambda r: make_event(r, data=make_reading(version=1))),
        "wrong_type",
    ),
    Spoiled(
        "tags that are a list",
        json_of(lambda r: make_event(r, data=make_reading(tags=["ios"]))),
        "wrong_type",
    ),
    Spoiled(
        "a tag that is a number",
        json_of(lambda r: make_event(r, data=make_reading(tags={"a": 1}))),
        "wrong_type",
    ),
    Spoiled(
        "a tag without a name",
        json_of(lambda r: make_event(r, data=make_reading(tags={"": "a"}))),
        "wrong_type",
    ),
    Spoiled(
        "a confidence of two",
        json_of(lambda r: make_event(r, data=make_reading(confidence=2.0))),
        "wrong_type",
    ),
    Spoiled(
        "a latency below zero",
        json_of(lambda r: make_event(r, data=make_reading(latency_ms=-1))),
        "wrong_type",
    ),
    Spoiled("an output of 70 KB", lambda r: with_output(r, f'"{"x" * 70_000}"'), "too_large"),
    Spoiled("NaN", lambda r: with_output(r, "NaN"), "not_a_number"),
    Spoiled("minus infinity", lambda r: with_output(r, '{"x": [-Infinity]}'), "not_a_number"),
    Spoiled("a number beyond floats", lambda r: with_output(r, "1e999"), "not_a_number"),
    Spoiled("a NUL", lambda r: with_output(r, r'"a\u0000b"'), "nul_character"),
    Spoiled("half a character", lambda r: with_output(r, r'"\ud83d"'), "lone_surrogate"),
    Spoiled("500 levels", lambda r: with_output(r, "[" * 500 + "]" * 500), "too_deep"),
    Spoiled("an integer of 400 digits", lambda r: with_output(r, "9" * 400), "integer_too_large"),
    Spoiled("an integer of 65 bits", lambda r: with_output(r, str(2**64 + 1)), "integer_too_large"),
    Spoiled("feedback to null", json_of(lambda r: _feedback(r, prediction_id=None)), "wrong_type"),
    Spoiled(
        "feedback to nothing",
        json_of(lambda r: make_event(r, type="errata.feedback.v1", data={"action": "accept"})),
        "missing_id",
    ),
    Spoiled("feedback to no UUID", json_of(lambda r: _feedback(r, prediction_id="7")), "bad_id"),
    Spoiled("an action nobody knows", json_of(lambda r: _feedback(r, action="like")), "wrong_type"),
    Spoiled("an edit to nothing", json_of(lambda r: _feedback(r, action="edit")), "wrong_type"),
    Spoiled("a display time below zero", json_of(lambda r: _feedback(r, display_ms=-1)), "wrong_type"),
    Spoiled("feedback of nobody", json_of(lambda r: _feedback(r, who={"kind": "robot"})), "wrong_type"),
    Spoiled("a comment without a word", json_of(lambda r: _voc(r, text="")), "wrong_type"),
    Spoiled("a comment of 11,000 characters", json_of(lambda r: _voc(r, text="네" * 11_000)), "wrong_type"),
    Spoiled("a rating of 11", json_of(lambda r: _voc(r, rating=11)), "wrong_type"),
)

#: What is a record of its own.
RECORDS: Final = (
    Spoiled("an empty value", lambda _: b"", "empty_record", STRUCTURED_TYPE),
    Spoiled("no text at all", lambda _: b"\xff\xfe\x00\x9f\x92\x96", "broken_json", STRUCTURED_TYPE),
    Spoiled("half an object", lambda r: with_output(r, "1")[:-9], "broken_json", STRUCTURED_TYPE),
    Spoiled("XML", lambda _: b"<event/>", "wrong_content_type", "text/xml"),
    Spoiled("Avro", lambda _: b"Obj\x01", "wrong_content_type", "application/cloudevents+avro"),
    Spoiled("a batch cut off", lambda r: b"[" + with_output(r, "1"), "broken_json", BATCH_TYPE),
    Spoiled("a batch that is an object", lambda _: b"{}", "broken_json", BATCH_TYPE),
    Spoiled("data without attributes", json_of(lambda _: make_reading()), "missing_attribute", JSON_TYPE),
)
