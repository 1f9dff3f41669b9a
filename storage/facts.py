"""Events as rows. What a service sent is kept as it was sent: values of any kind as the JSON that came, not read.

A fact is an event as errata/events.py has it, with its values of any kind left as bytes. One call reads those of a
whole record; a whole run of records is then turned into columns at once.

Facts are read with no field beside those that are known, so that how deep an event is nested shows in the values
that are left as bytes. What has others is read as an event first (errata/wire.py), with the same result.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Raw

from errata.events import (
    FEEDBACK_V1,
    PREDICTION_V1,
    VOC_V1,
    Event,
    FeedbackData,
    PredictionData,
    VocData,
    Who,
    encode_json,
)
from errata.wire import Envelope
from storage.insertion import Columns
from storage.json_text import to_text

#: A value that was not sent.
NULL: Final = Raw(b"null")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class UnreadPrediction(
    PredictionData, frozen=True, kw_only=True, omit_defaults=True, gc=False, forbid_unknown_fields=True
):
    """PredictionData with its values as JSON. Its reader checks names and tags, which are few in many events."""

    model: str
    version: str
    output: Raw
    input: Raw = NULL
    tags: Raw = Raw(b"{}")  # type: ignore[assignment]


class KnownWho(Who, frozen=True, kw_only=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Who, with no other field."""


class UnreadFeedback(
    FeedbackData, frozen=True, kw_only=True, omit_defaults=True, gc=False, forbid_unknown_fields=True
):
    """FeedbackData with its correction as JSON. Its reader checks the id, which patterns of types do slowly."""

    prediction_id: str
    corrected: Raw = NULL
    who: KnownWho = KnownWho()

    def __post_init__(self) -> None:
        """Refuse an edit without its corrected value."""
        if self.action == "edit" and bytes(self.corrected) == b"null":
            raise ValueError("an edit needs `corrected`")


class KnownVoc(VocData, frozen=True, kw_only=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """VocData, with no other field."""


class _Attributes(Envelope, frozen=True, kw_only=True, tag_field="type"):
    """What CloudEvents and its extensions define, libraries add, and nothing here uses."""

    datacontenttype: str | None = None
    dataschema: str | None = None
    subject: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    partitionkey: str | None = None


class Fact(_Attributes, frozen=True, tag_field="type", omit_defaults=True, gc=False):
    """An event as it is stored. Its reader checks the id."""

    id: str

    @property
    def time_us(self) -> int:
        """When it happened."""
        return (self.time - EPOCH) // _MICROSECOND


class PredictionFact(Fact, frozen=True, tag=PREDICTION_V1, gc=False, forbid_unknown_fields=True):
    """A prediction as it is stored."""

    data: UnreadPrediction


class FeedbackFact(Fact, frozen=True, tag=FEEDBACK_V1, gc=False, forbid_unknown_fields=True):
    """A feedback as it is stored."""

    data: UnreadFeedback


class VocFact(Fact, frozen=True, tag=VOC_V1, gc=False, forbid_unknown_fields=True):
    """A comment as it is stored."""

    data: KnownVoc


AnyFact = PredictionFact | FeedbackFact | VocFact

#: Reads events in the JSON format of CloudEvents; what it leaves to be checked is done in streams/decoding.py.
read_facts: Final = msgspec.json.Decoder(list[AnyFact]).decode


def fact_of(event: Event) -> AnyFact:
    """The fact that a decoded event is."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "time": EPOCH + timedelta(microseconds=event.time_us),
    }
    fields = msgspec.structs.asdict(event.data)
    if isinstance(event.data, PredictionData):
        return PredictionFact(
            **attributes, data=UnreadPrediction(**_unread(fields, "input", "tags", "output"))
        )
    if isinstance(event.data, FeedbackData):
        return FeedbackFact(**attributes, data=UnreadFeedback(**_unread(fields, "corrected")))
    return VocFact(**attributes, data=KnownVoc(**fields))


def _unread(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """The fields with those named as JSON; what is absent stays absent, as where it was never read."""
    unread = {
        name: Raw(encode_json(fields[name])) for name in names if fields[name] is not None or name == "output"
    }
    return {name: value for name, value in fields.items() if name not in names} | unread


def encode_fact(fact: AnyFact) -> bytes:
    """The event in the JSON format of CloudEvents, as it can be sent again; as Python writes it, if it has no JSON."""
    try:
        return encode_json(fact)
    except (ValueError, OverflowError):
        return repr(fact).encode("utf-8", "backslashreplace")


def prediction_columns(
    facts: Sequence[PredictionFact], times_us: Sequence[int], shard: int, now_us: int
) -> Columns:
    """Rows of `predictions`, without their slices."""
    datas = [fact.data for fact in facts]
    return {
        "id": [fact.id for fact in facts],
        "model": [data.model for data in datas],
        "version": [data.version for data in datas],
        "time_us": times_us,
        "output": [str(data.output, "utf-8") for data in datas],
        "confidence": [data.confidence for data in datas],
        "probabilities": [
            None if data.probabilities is None else to_text(data.probabilities) for data in datas
        ],
        "input": [None if data.input is NULL else _text_or_none(data.input) for data in datas],
        "input_uri": [data.input_uri for data in datas],
        "features": [None if data.features is None else to_text(data.features) for data in datas],
        "latency_us": _microseconds([data.latency_ms for data in datas]),
        "tags": [str(data.tags, "utf-8") for data in datas],
        "subject": [data.subject for data in datas],
        "session": [data.session for data in datas],
        "source": [fact.source for fact in facts],
        "shard": [shard] * len(facts),
        "stored_us": [now_us] * len(facts),
    }


def feedback_columns(facts: Sequence[FeedbackFact], shard: int, now_us: int) -> Columns:
    """Rows of `feedback`. A corrected value beside another action than `edit` is kept, and not counted."""
    datas = [fact.data for fact in facts]
    return {
        "id": [fact.id for fact in facts],
        "prediction_id": [data.prediction_id for data in datas],
        "action": [data.action for data in datas],
        "corrected": [None if data.corrected is NULL else _text_or_none(data.corrected) for data in datas],
        "time_us": times_of(facts),
        "display_us": _microseconds([data.display_ms for data in datas]),
        "who_kind": [data.who.kind for data in datas],
        "who_id": [data.who.id for data in datas],
        "source": [fact.source for fact in facts],
        "shard": [shard] * len(facts),
        "stored_us": [now_us] * len(facts),
    }


def voc_columns(facts: Sequence[VocFact], now_us: int) -> Columns:
    """Rows of `voc`, new and without a theme. Their text was masked before it came here."""
    datas = [fact.data for fact in facts]
    return {
        "id": [fact.id for fact in facts],
        "text": [data.text for data in datas],
        "rating": [data.rating for data in datas],
        "channel": [data.channel for data in datas],
        "language": [data.language for data in datas],
        "time_us": times_of(facts),
        "prediction_id": [data.prediction_id for data in datas],
        "model": [data.model for data in datas],
        "tags": [to_text(data.tags) for data in datas],
        "subject": [data.subject for data in datas],
        "status": ["new"] * len(facts),
        "theme": [None] * len(facts),
        "source": [fact.source for fact in facts],
        "stored_us": [now_us] * len(facts),
    }


def times_of(facts: Sequence[AnyFact]) -> list[int]:
    """When each happened, in microseconds since 1970."""
    return [(fact.time - EPOCH) // _MICROSECOND for fact in facts]


def _text_or_none(value: Raw) -> str | None:
    """JSON as text; null, which the database keeps as NULL, is None."""
    text = str(value, "utf-8")
    return None if text == "null" else text


def _microseconds(milliseconds: Sequence[float | None]) -> list[int | None]:
    return [None if each is None else round(each * 1000) for each in milliseconds]
