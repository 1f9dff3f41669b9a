"""The events that services emit: the one source of truth for the wire (CloudEvents 1.0, data in JSON).

JSON Schema and AsyncAPI are generated from these structs (errata/schemas.py). Within a version only optional fields
with defaults are added; a breaking change is a new version beside the old one. Published schemas are closed, reading
is open: an unknown field is ignored.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

PREDICTION_V1: Final = "errata.prediction.v1"
FEEDBACK_V1: Final = "errata.feedback.v1"
VOC_V1: Final = "errata.voc.v1"

#: An input or output larger than this travels as a URI, not inline.
INLINE_BYTES: Final = 64 * 1024

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*(?!\n)$")]
Id = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?!\n)$",
        description="a UUID in lower case, version 7 for choice",
    ),
]
Short = Annotated[str, Meta(max_length=256)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Milliseconds = Annotated[float, Meta(ge=0.0, le=86_400_000.0)]
Tags = dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=128)]]


class PredictionData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output shown to a user."""

    model: Name
    version: Name
    output: Any
    confidence: Fraction | None = None
    probabilities: dict[str, Fraction] | None = None
    #: Inline up to 64 KiB, else `input_uri`.
    input: Any = None
    input_uri: Annotated[str, Meta(max_length=2048)] | None = None
    #: Named numbers, or an embedding.
    features: dict[str, float] | list[float] | None = None
    #: From the request to the output.
    latency_ms: Milliseconds | None = None
    #: The slices this prediction belongs to.
    tags: Annotated[Tags, Meta(max_length=32)] = {}
    #: Whose data it is; examples of one subject are never on both sides of a train and evaluation split.
    subject: Short | None = None
    session: Short | None = None


class Who(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who gave the feedback."""

    kind: Literal["user", "annotator", "auditor"] = "user"
    id: Short | None = None


class FeedbackData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done to a prediction; the last by event time counts."""

    prediction_id: Id
    action: Literal["edit", "accept", "reject"]
    #: The corrected output of an `edit`.
    corrected: Any = None
    #: From capture to display, as the user saw it.
    display_ms: Milliseconds | None = None
    who: Who = Who()

    def __post_init__(self) -> None:
        """Refuse an edit without its corrected value."""
        if self.action == "edit" and self.corrected is None:
            raise ValueError("an edit needs `corrected`")


class VocData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a customer said."""

    text: Annotated[str, Meta(min_length=1, max_length=10_000)]
    rating: Annotated[int, Meta(ge=1, le=10)] | None = None
    channel: Short | None = None
    language: Annotated[str, Meta(max_length=35)] | None = None
    prediction_id: Id | None = None
    model: Name | None = None
    tags: Annotated[Tags, Meta(max_length=32)] = {}
    subject: Short | None = None


Data = PredictionData | FeedbackData | VocData

#: The struct of each event type. Golden samples of every one stay decodable for ever.
TYPES: Final[dict[str, type[PredictionData] | type[FeedbackData] | type[VocData]]] = {
    PREDICTION_V1: PredictionData,
    FEEDBACK_V1: FeedbackData,
    VOC_V1: VocData,
}


class Event(Struct, frozen=True, kw_only=True):
    """A decoded event: the CloudEvents attributes we use, and its data. `id` is a UUID in lower case."""

    id: str
    source: str
    time_us: int
    data: Data


def type_of(data: Data) -> str:
    """The CloudEvents type of `data`."""
    return next(name for name, struct in TYPES.items() if isinstance(data, struct))


def key_of(event: Event) -> str:
    """What the event is partitioned by: its prediction's id, so that a pair meets in one partition."""
    if isinstance(event.data, PredictionData):
        return event.id
    return event.data.prediction_id or event.id


def encode_json(value: Any) -> bytes:
    """JSON in UTF-8, as it is written to the wire and to the database; Korean text is not escaped."""
    return msgspec.json.encode(value)
