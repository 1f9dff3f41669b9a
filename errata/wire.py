"""Events as Kafka records and back: the CloudEvents 1.0 Kafka binding with data in JSON.

A record holds one event in binary mode (attributes in `ce_` headers), one in structured mode
(`application/cloudevents+json`), or a JSON array of them (`application/cloudevents-batch+json`), which is
what our client sends. The content type tells them apart.

What cannot be read becomes a Refused with one of these reasons; they are stable, people filter by them:

    reason              what is wrong                                    what the sender does
    broken_json         not JSON in UTF-8                                encode with a JSON library
    not_a_number        NaN, Infinity, or a number beyond 64-bit floats  send null, or leave the field out
    lone_surrogate      half of a UTF-16 pair, which is no character     send whole characters
    nul_character       a NUL in a string, which databases refuse        strip NULs
    integer_too_large   an integer beyond 64 bits                        send it as a string
    too_deep            nested more than 64 levels                       send it flatter, or as a string
    too_large           record > 5 MiB or 10,000 events, event > 256     send smaller batches; store large
                        KiB, or an input, output, correction > 64 KiB    inputs and send `input_uri`
    empty_record        no value (a tombstone)                           nothing: it tells nothing
    wrong_content_type  neither JSON nor a JSON format of CloudEvents    send one of the three modes
    wrong_specversion   not CloudEvents 1.0                              set specversion to "1.0"
    missing_attribute   specversion, type, source, time or data absent   send it
    missing_id          id, or the prediction_id of feedback, absent     send it
    bad_id              id or prediction_id is not a UUID                use a UUID
    bad_time            not RFC 3339 with a zone, or outside 2000-2100   send UTC, as 2026-11-23T06:30:00Z
    unknown_type        not a type of errata/events.py                   correct the type
    wrong_type          data does not fit the type                       correct the field at the path
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import Meta, Raw, Struct

from errata.errors import Malformed
from errata.events import (
    FEEDBACK_V1,
    INLINE_BYTES,
    PREDICTION_V1,
    TYPES,
    VOC_V1,
    Data,
    Event,
    FeedbackData,
    Id,
    PredictionData,
    VocData,
    encode_json,
    type_of,
)

Headers = Sequence[tuple[str, bytes | None]]

JSON_TYPE: Final = "application/json"
STRUCTURED_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"

RECORD_BYTES: Final = 5 * 1024 * 1024
EVENT_BYTES: Final = 256 * 1024
#: Without this a record of nothing but commas would make millions of dead letters.
RECORD_EVENTS: Final = 10_000
LEVELS: Final = 64
#: Those of the event and its data.
_LEVELS_AROUND: Final = 2

_INTEGER_TOO_LARGE: Final = "an integer exceeds 64 bits: send it as a string"
#: The part of a record that is too large which its dead letter keeps.
_KEPT_BYTES: Final = 64 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_END: Final = datetime(2101, 1, 1, tzinfo=UTC)
_EARLIEST_US: Final = (_EARLIEST - _EPOCH) // timedelta(microseconds=1)
_END_US: Final = (_END - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that cannot be used. `raw` is it in the JSON format of CloudEvents, if possible."""

    position: int
    reason: str
    detail: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a record holds: events and refusals, each with its position in the record."""

    events: list[tuple[int, Event]]
    refused: list[Refused]


class Envelope(Struct, frozen=True, tag_field="type"):
    """An event as the JSON format of CloudEvents writes it; attributes we do not use are ignored."""

    specversion: Literal["1.0"]
    id: Id
    source: Annotated[str, Meta(min_length=1, max_length=1024)]
    time: Annotated[datetime, Meta(tz=True)]


class _Prediction(Envelope, frozen=True, tag=PREDICTION_V1):
    data: PredictionData


class _Feedback(Envelope, frozen=True, tag=FEEDBACK_V1):
    data: FeedbackData


class _Voc(Envelope, frozen=True, tag=VOC_V1):
    data: VocData


_ENVELOPES: Final[dict[type[Data], Callable[..., Envelope]]] = {
    PredictionData: _Prediction,
    FeedbackData: _Feedback,
    VocData: _Voc,
}


# --- Encoding -----------------------------------------------------------------------------------------------


def encode_event(event: Event, encode: Callable[[Any], bytes] = encode_json) -> bytes:
    """One event in the JSON format of CloudEvents: a structured record, or an element of a batch."""
    envelope = _ENVELOPES[type(event.data)]
    return encode(
        envelope(
            specversion="1.0",
            id=event.id,
            source=event.source,
            time=_EPOCH + timedelta(microseconds=event.time_us),
            data=event.data,
        )
    )


#: What `encode_event` writes between the digits of an event's time and its data. No source holds it: quotes are
#: escaped.
TEXT_BEFORE_DATA: Final = b'Z","data":'


#: Makes of version, id, source, time as text, and data what JSON writes as `encode_event` does.
Wrap = Callable[[str, str, str, str, Any], Struct]


def wrapping(kind: type[Data]) -> Wrap:
    """How to wrap data of this kind, for whoever has its time as text and none to lose."""
    name = next(name for name, struct in TYPES.items() if struct is kind)
    fields = [("specversion", str), ("id", str), ("source", str), ("time", str), ("data", kind)]
    return msgspec.defstruct(f"Wrapped{kind.__name__}", fields, tag_field="type", tag=name, gc=False)


def join_batch(encoded: Iterable[bytes]) -> bytes:
    """The value of a batch record of events that encode_event wrote."""
    return b"[" + b",".join(encoded) + b"]"


def encode_batch(events: Iterable[Event]) -> tuple[list[tuple[str, bytes]], bytes]:
    """Headers and value of a batch record."""
    return batch_headers(), join_batch(map(encode_event, events))


def batch_headers() -> list[tuple[str, bytes]]:
    """The headers of every batch record."""
    return [("content-type", BATCH_TYPE.encode())]


def encode_structured(event: Event) -> tuple[list[tuple[str, bytes]], bytes]:
    """Headers and value of a structured record."""
    return [("content-type", STRUCTURED_TYPE.encode())], encode_event(event)


def encode_binary(event: Event) -> tuple[list[tuple[str, bytes]], bytes]:
    """Headers and value of a binary record."""
    headers = {
        "content-type": JSON_TYPE,
        "ce_specversion": "1.0",
        "ce_type": type_of(event.data),
        "ce_id": event.id,
        "ce_source": event.source,
        "ce_time": format_time(event.time_us),
    }
    return [(name, value.encode()) for name, value in headers.items()], encode_json(event.data)


def format_time(time_us: int) -> str:
    """RFC 3339 in UTC with all microseconds, as in `2026-11-23T06:30:00.000001Z`."""
    time = (_EPOCH + timedelta(microseconds=time_us)).replace(tzinfo=None)
    return f"{time.isoformat(timespec='microseconds')}Z"


def is_id(text: str) -> bool:
    """Whether readers accept `text` as an id just as it is."""
    return _ID.fullmatch(text) is not None


def are_ids(texts: Sequence[str]) -> bool:
    """Whether `is_id` holds for each of `texts`, of which there is at least one."""
    joined = "\n".join(texts)
    return len(joined) == 37 * len(texts) - 1 and _IDS.fullmatch(joined) is not None


def is_time(time_us: int) -> bool:
    """Whether readers accept this time."""
    return _EARLIEST_US <= time_us < _END_US


def is_source(text: str) -> bool:
    """Whether readers accept `text` as the source of events."""
    try:
        _source.decode(encode_json(text))
    except UNREADABLE:
        return False
    return True


# --- Decoding -----------------------------------------------------------------------------------------------


_envelope: Final = msgspec.json.Decoder(_Prediction | _Feedback | _Voc)
_elements: Final = msgspec.json.Decoder(list[Raw])
_object: Final = msgspec.json.Decoder(dict[str, Raw])
_anything: Final = msgspec.json.Decoder()
_text: Final = msgspec.json.Decoder(str)
_time: Final = msgspec.json.Decoder(Annotated[datetime, Meta(tz=True)])
_source: Final[msgspec.json.Decoder[str]] = msgspec.json.Decoder(
    Annotated[str, Meta(min_length=1, max_length=1024)]
)
_data: Final = {name: msgspec.json.Decoder(struct) for name, struct in TYPES.items()}

#: What msgspec raises: its own errors are ValueErrors, and so is UnicodeDecodeError.
UNREADABLE: Final = (ValueError, RecursionError)

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_IDS: Final = re.compile(rf"{_ID.pattern}(?:\n{_ID.pattern})*+")
_ATTRIBUTE: Final = re.compile(r"ce_[a-z0-9]+")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_LONG_INTEGER: Final = re.compile(rb"(?<![0-9.eE+])[0-9]{19,}+(?![0-9.eE])")
_STRUCTURE: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)
_SPACE: Final = re.compile(r"[ \t\r\n]*+")
#: Finds where a JSON value ends, at the speed of C; what is in it is looked at later.
_scanner: Final = json.JSONDecoder(strict=False, parse_int=len, parse_float=len)
_DIGITS_AS_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
_LARGE: Final = (b"0" * 19, b"0e000", b"0e+000", b"0E000", b"0E+000")
_CURLY_AS_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def decode_record(headers: Headers, value: bytes | None) -> Decoded:
    """Read a record of any of the three modes. Never raises: each event is either read or refused.

    One bad event of a batch is refused by itself. Only a batch whose array cannot be taken apart is refused
    whole, at position 0.
    """
    elements = split_record(headers, value)
    if isinstance(elements, Refused):
        return Decoded([], [elements])
    decoded = Decoded([], [])
    for position, raw in enumerate(elements):
        try:
            decoded.events.append((position, decode_event(raw)))
        except Malformed as error:
            decoded.refused.append(Refused(position, error.reason, error.detail, raw[:EVENT_BYTES]))
    return decoded


def split_record(headers: Headers, value: bytes | None) -> list[bytes] | Refused:
    """The events of a record of any mode, each in the JSON format of CloudEvents and not read yet. Never raises."""
    try:
        return _split_record(headers, value)
    except Malformed as error:
        return Refused(0, error.reason, error.detail, (value or b"")[:RECORD_BYTES])


def is_batch(headers: Headers, value: bytes) -> bool:
    """Whether a record is a batch of events that is not too large as a whole."""
    if len(value) > RECORD_BYTES:
        return False
    try:
        return _read_content_type(_read_headers(headers)) == BATCH_TYPE
    except Malformed:
        return False


def _split_record(headers: Headers, value: bytes | None) -> list[bytes] | Refused:
    if not value:
        raise Malformed("empty_record", "the record has no value")
    if len(value) > RECORD_BYTES:
        detail = f"the record has {len(value)} bytes, at most {RECORD_BYTES} are read; send smaller batches"
        return Refused(0, "too_large", detail, value[:_KEPT_BYTES])
    named = _read_headers(headers)
    content_type = _read_content_type(named)
    if content_type == BATCH_TYPE:
        return _split_batch(value)
    if content_type == STRUCTURED_TYPE:
        return [value]
    if content_type.startswith("application/cloudevents"):
        raise Malformed(
            "wrong_content_type", f"{content_type} is not read: send {STRUCTURED_TYPE} or {BATCH_TYPE}"
        )
    return _join_binary(named, content_type, value)


def _split_batch(value: bytes) -> list[bytes]:
    try:
        elements = [bytes(element) for element in _elements.decode(value)]
    except UNREADABLE:
        # Something inside is not JSON. Its neighbours are saved by taking the array apart at its commas.
        elements = _split_array(value)
    if len(elements) > RECORD_EVENTS:
        raise Malformed("too_large", f"the batch has more than {RECORD_EVENTS} events: send smaller batches")
    return elements


def _join_binary(headers: Mapping[str, str], content_type: str, value: bytes) -> list[bytes] | Refused:
    """An event in binary mode in the JSON format, so that a dead letter is complete by itself."""
    attributes: dict[str, Any] = {
        name[3:]: attribute for name, attribute in headers.items() if _ATTRIBUTE.fullmatch(name)
    }
    try:
        if content_type and content_type != JSON_TYPE and not content_type.endswith("+json"):
            raise Malformed("wrong_content_type", f"{content_type} is not read: send {JSON_TYPE}")
        _check_size(value)
        _check_text(value)
        _check_json(value)
    except Malformed as error:
        raw = encode_json({**attributes, "data": value[:_KEPT_BYTES].decode(errors="replace")})
        return Refused(0, error.reason, error.detail, raw)
    return [encode_json({**attributes, "data": Raw(value)})]


def decode_event(raw: bytes) -> Event:
    """Read one event in the JSON format of CloudEvents. Raises Malformed with a reason of the table above."""
    if _has_few_brackets(raw) and b"\\u0000" not in raw and not has_large_number(raw):
        # Nothing here can break a limit, so the typed decoder alone decides: the way of nearly every event.
        try:
            envelope = _envelope.decode(raw)
            return Event(
                id=envelope.id,
                source=envelope.source,
                time_us=_microseconds(envelope.time),
                data=envelope.data,
            )
        except UNREADABLE:
            pass
    return _decode_carefully(raw)


def _has_few_brackets(raw: bytes) -> bool:
    """Whether an event in JSON is too small and too flat to break a limit; one that is not may well be right."""
    return len(raw) <= INLINE_BYTES and raw.count(b"{") + raw.count(b"[") <= LEVELS


def have_few_brackets(values: Sequence[bytes]) -> bool:
    """Whether each of `values`, of which there is at least one, may travel inline and within an event's data."""
    curly, square = (max(map(bytes.count, values, repeat(bracket))) for bracket in (b"{", b"["))
    return max(map(len, values)) <= INLINE_BYTES and curly + square <= LEVELS - _LEVELS_AROUND


def has_small_events(batch: bytes) -> bool:
    """Whether no event of a batch, which is JSON, is too large by itself."""
    return all(len(bytes(element)) <= EVENT_BYTES for element in _elements.decode(batch))


def is_plain_text(raw: bytes) -> bool:
    """Whether JSON is whole characters in UTF-8, none of them escaped by its number."""
    return b"\\u" not in raw and (raw.isascii() or _is_utf8(raw))


def has_large_number(text: bytes) -> bool:
    """Whether JSON may hold a number beyond 64 bits: one with 19 digits in a row, or an exponent of three."""
    digits = text.translate(_DIGITS_AS_ZEROS)
    return any(pattern in digits for pattern in _LARGE)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- The careful way: the same answer, or the reason why there is none --------------------------------------


def _decode_carefully(raw: bytes) -> Event:
    _check_size(raw)
    _check_text(raw)
    _check_json(raw)
    try:
        attributes = _object.decode(raw)
    except msgspec.ValidationError as error:
        raise Malformed("wrong_type", f"the event is not a JSON object: {error}") from None
    _check_specversion(attributes)
    name = _read_type(attributes)
    event_id = _read_id(attributes.get("id"), "id")
    source = _read_source(attributes)
    time_us = _read_time(attributes)
    if "data" not in attributes:
        if "data_base64" in attributes:
            raise Malformed("missing_attribute", "`data_base64` is not read: send JSON in `data`")
        raise Malformed("missing_attribute", "the event has no `data`")
    data = _read_data(name, attributes["data"])
    _check_inline(attributes["data"])
    _check_integers(raw, data)
    return Event(id=event_id, source=source, time_us=time_us, data=data)


def _check_size(raw: bytes) -> None:
    if len(raw) > EVENT_BYTES:
        raise Malformed("too_large", f"the event has {len(raw)} bytes, at most {EVENT_BYTES} are read")


def _check_text(raw: bytes) -> None:
    """Refuse what is no text, or nested so deep that reading it would exhaust the stack."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed("broken_json", f"byte {error.start} is not UTF-8") from None
    if raw.count(b"{") + raw.count(b"[") <= LEVELS:
        return
    brackets = _STRING.sub(b"", raw).translate(_CURLY_AS_SQUARE, _ALL_BUT_BRACKETS)
    for _ in range(LEVELS):
        # Each pass peels the innermost level off.
        brackets = brackets.replace(b"[]", b"")
    if b"[]" in brackets or brackets.count(b"[") > LEVELS:
        raise Malformed("too_deep", f"the event is nested more than {LEVELS} levels deep")


def _check_json(raw: bytes) -> None:
    try:
        _anything.decode(raw)
    except UNREADABLE as error:
        _explain_broken(raw, str(error))
    if _ESCAPED_NUL.search(raw):
        raise Malformed("nul_character", "a string contains a NUL character (\\u0000): strip it")


def _explain_broken(raw: bytes, complaint: str) -> NoReturn:
    """Say what is wrong, by the standard library's laxer parser: it reads NaN and halves of UTF-16 pairs."""

    def refuse_constant(name: str) -> NoReturn:
        raise Malformed("not_a_number", f"{name} is not JSON: send null, or leave the field out")

    def read_float(text: str) -> float:
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise Malformed("not_a_number", "a number is too large for 64 bits")
        return number

    def read_integer(text: str) -> int:
        if len(text) > 20:
            raise Malformed("integer_too_large", _INTEGER_TOO_LARGE)
        return int(text)

    try:
        value = json.loads(
            raw.decode(), parse_constant=refuse_constant, parse_float=read_float, parse_int=read_integer
        )
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        detail = "a string contains half of a UTF-16 pair: send whole characters"
        raise Malformed("lone_surrogate", detail) from None
    except UNREADABLE:
        pass
    raise Malformed("broken_json", complaint)


def _check_specversion(attributes: Mapping[str, Raw]) -> None:
    if "specversion" not in attributes:
        raise Malformed("missing_attribute", "the event has no `specversion`: is it a CloudEvent?")
    if _read_text(attributes["specversion"], "specversion") != "1.0":
        raise Malformed("wrong_specversion", '`specversion` must be "1.0"')


def _read_type(attributes: Mapping[str, Raw]) -> str:
    if "type" not in attributes:
        raise Malformed("missing_attribute", f"the event has no `type`: send one of {', '.join(TYPES)}")
    name = _read_text(attributes["type"], "type")
    if name not in TYPES:
        near = difflib.get_close_matches(name[:128], TYPES, n=1, cutoff=0.0)[0]
        raise Malformed("unknown_type", f"`type` is {name[:128]!r}: did you mean {near}?")
    return name


def _read_id(raw: Raw | None, field: str) -> str:
    if raw is None:
        raise Malformed("missing_id", f"the event has no `{field}`")
    # RFC 9562 writes lower case and reads both; one id has one form in the database.
    text = _read_text(raw, field).lower()
    if not _ID.fullmatch(text):
        raise Malformed("bad_id", f"`{field}` is {text[:64]!r}, which is not a UUID")
    return text


def _read_source(attributes: Mapping[str, Raw]) -> str:
    if "source" not in attributes:
        raise Malformed("missing_attribute", "the event has no `source`: name the service that sends it")
    try:
        return _source.decode(attributes["source"])
    except msgspec.ValidationError as error:
        raise Malformed("wrong_type", f"`source`: {error}") from None


def _read_time(attributes: Mapping[str, Raw]) -> int:
    if "time" not in attributes:
        raise Malformed("missing_attribute", "the event has no `time`: send when it happened")
    try:
        return _microseconds(_time.decode(attributes["time"]))
    except msgspec.ValidationError as error:
        raise Malformed("bad_time", f"`time`: {error}") from None


def _microseconds(time: datetime) -> int:
    """Microseconds since 1970. Raises ValidationError outside the years 2000 to 2100."""
    check_time(time)
    return (time - _EPOCH) // timedelta(microseconds=1)


def check_time(time: datetime) -> None:
    """Raise ValidationError outside the years 2000 to 2100."""
    if not _EARLIEST <= time < _END:
        raise msgspec.ValidationError("the year is not in 2000 to 2100")


def _read_data(name: str, raw: Raw) -> Data:
    try:
        fields = _object.decode(raw)
    except msgspec.ValidationError as error:
        raise Malformed("wrong_type", f"`data`: {error}") from None
    if name == FEEDBACK_V1 or bytes(fields.get("prediction_id", b"null")) != b"null":
        fields["prediction_id"] = Raw(
            encode_json(_read_id(fields.get("prediction_id"), "data.prediction_id"))
        )
    try:
        return _data[name].decode(encode_json(fields))
    except UNREADABLE as error:
        raise Malformed("wrong_type", f"`data`: {error}") from None


def _check_inline(raw: Raw) -> None:
    fields = _object.decode(raw)
    for field in ("input", "output", "corrected"):
        n_bytes = len(bytes(fields.get(field, b"")))
        if n_bytes > INLINE_BYTES:
            way = (
                "store it and use input_uri" if field == "input" else "store it, send its URI (see input_uri)"
            )
            detail = f"`data.{field}` has {n_bytes} bytes, at most {INLINE_BYTES} travel inline: {way}"
            raise Malformed("too_large", detail)


def _check_integers(raw: bytes, data: Data) -> None:
    """Refuse integers beyond 64 bits where any JSON is allowed; elsewhere the types bound them."""
    if not _LONG_INTEGER.search(raw):
        return
    if isinstance(data, PredictionData):
        values = [data.output, data.input]
    elif isinstance(data, FeedbackData):
        values = [data.corrected]
    else:
        values = []
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise Malformed("integer_too_large", _INTEGER_TOO_LARGE)


def _read_text(raw: Raw, field: str) -> str:
    try:
        return _text.decode(raw)
    except msgspec.ValidationError as error:
        raise Malformed("wrong_type", f"`{field}`: {error}") from None


def _read_content_type(named: Mapping[str, str]) -> str:
    return named.get("content-type", "").partition(";")[0].strip().lower()


def _read_headers(headers: Headers) -> dict[str, str]:
    """The headers by lower-case name, the last of a name; those without a value are left out."""
    named: dict[str, str] = {}
    for name, value in headers:
        if value is None:
            continue
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise Malformed("broken_json", f"the header {name[:64]} is not UTF-8") from None
        named[name.lower()] = text
    return named


def _split_array(value: bytes) -> list[bytes]:
    """The elements of a JSON array by its commas, whatever is wrong inside them.

    Raises Malformed when its brackets and quotes do not match, or when it is no array.
    """
    # Latin-1 gives every byte a character, so that positions in the text are positions in the bytes.
    text = value.decode("latin-1").strip(" \t\r\n")
    if not text.startswith("["):
        raise Malformed("broken_json", "a batch is a JSON array of events")
    elements: list[bytes] = []
    end = 0
    while text[end] != "]" and len(elements) <= RECORD_EVENTS:
        start = _skip_space(text, end + 1)
        end = _find_end(text, start)
        elements.append(text[start:end].rstrip(" \t\r\n").encode("latin-1"))
    if text[end] == "]" and end != len(text) - 1:
        raise Malformed("broken_json", "something follows the JSON array of the batch")
    return elements


def _find_end(text: str, start: int) -> int:
    """Where the comma or bracket is that ends the element of an array which starts at `start`."""
    try:
        after = _skip_space(text, _scanner.raw_decode(text, start)[1])
    except UNREADABLE:
        pass
    else:
        if text[after : after + 1] in (",", "]"):
            return after
    depth = 0
    for token in _STRUCTURE.finditer(text, start):
        kind = token[0]
        if kind in "[{":
            depth += 1
        elif depth == 0 and kind in ",]":
            return token.start()
        elif kind in "]}":
            depth -= 1
    raise Malformed("broken_json", "the batch is not a whole JSON array: its brackets or quotes do not match")


def _skip_space(text: str, start: int) -> int:
    space = _SPACE.match(text, start)
    return space.end() if space else start
