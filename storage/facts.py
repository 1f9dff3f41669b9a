"""Events as rows. What a service sent is kept as it was sent: values of any kind as JSON text."""

from typing import Any

from errata.events import Event, FeedbackData, PredictionData, VocData
from storage.json_text import to_text, to_text_or_none


def prediction_row(event: Event, slices: list[str], shard: int, now_us: int) -> dict[str, Any]:
    """The row of `predictions`."""
    data = event.data
    assert isinstance(data, PredictionData)
    return {
        "id": event.id,
        "model": data.model,
        "version": data.version,
        "time_us": event.time_us,
        "output": to_text(data.output),
        "confidence": data.confidence,
        "probabilities": to_text_or_none(data.probabilities),
        "input": to_text_or_none(data.input),
        "input_uri": data.input_uri,
        "features": to_text_or_none(data.features),
        "latency_us": _microseconds(data.latency_ms),
        "tags": to_text(data.tags),
        "slices": to_text(slices),
        "subject": data.subject,
        "session": data.session,
        "source": event.source,
        "shard": shard,
        "stored_us": now_us,
    }


def feedback_row(event: Event, shard: int, now_us: int) -> dict[str, Any]:
    """The row of `feedback`. A corrected value beside another action than `edit` is kept, and not counted."""
    data = event.data
    assert isinstance(data, FeedbackData)
    return {
        "id": event.id,
        "prediction_id": data.prediction_id,
        "action": data.action,
        "corrected": to_text_or_none(data.corrected),
        "time_us": event.time_us,
        "display_us": _microseconds(data.display_ms),
        "who_kind": data.who.kind,
        "who_id": data.who.id,
        "source": event.source,
        "shard": shard,
        "stored_us": now_us,
    }


def voc_row(event: Event, now_us: int) -> dict[str, Any]:
    """The row of `voc`, new and without a theme. Its text was masked before it came here."""
    data = event.data
    assert isinstance(data, VocData)
    return {
        "id": event.id,
        "text": data.text,
        "rating": data.rating,
        "channel": data.channel,
        "language": data.language,
        "time_us": event.time_us,
        "prediction_id": data.prediction_id,
        "model": data.model,
        "tags": to_text(data.tags),
        "subject": data.subject,
        "status": "new",
        "theme": None,
        "source": event.source,
        "stored_us": now_us,
    }


def _microseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)
