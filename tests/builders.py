"""Events and arrivals as tests need them: valid as they are, and each field can be given."""

from collections.abc import Iterable
from typing import Any

from errata.events import Event, FeedbackData, PredictionData, VocData, Who
from storage.facts import FeedbackFact, fact_of, feedback_columns
from storage.intake import Arrival
from storage.records import DeadLetter
from tests.records import MODEL, number_id

#: 2026-11-23 06:30 UTC, the start of a minute and not of an hour.
START_US = 1_795_415_400_000_000
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


def a_prediction_event(number: int = 1, *, time_us: int = START_US, **given: Any) -> Event:
    """A prediction with the id of `number`; `given` are fields of PredictionData."""
    values: dict[str, Any] = {
        "model": MODEL,
        "version": "1",
        "output": "4111 1111",
        "confidence": 0.9,
        "latency_ms": 12.5,
        "tags": {"device": "ios"},
        "subject": f"subject-{number}",
    }
    return Event(
        id=number_id(number), source="/tests", time_us=time_us, data=PredictionData(**(values | given))
    )


def a_feedback_event(
    number: int = 1001,
    *,
    prediction: int = 1,
    action: str = "edit",
    corrected: Any = "4111 1117",
    time_us: int = START_US + 5 * SECOND_US,
    who: str = "user",
    **given: Any,
) -> Event:
    """A feedback with the id of `number` to the prediction with the id of `prediction`."""
    values: dict[str, Any] = {
        "prediction_id": number_id(prediction),
        "action": action,
        "corrected": corrected if action == "edit" else None,
        "display_ms": 180.0,
        "who": Who(kind=who, id=f"{who}-1"),
    }
    return Event(
        id=number_id(number), source="/tests", time_us=time_us, data=FeedbackData(**(values | given))
    )


def a_feedback_row(number: int = 1001, *, shard: int = 1, **given: Any) -> dict[str, Any]:
    """The row of `feedback` for `a_feedback_event`."""
    fact = fact_of(a_feedback_event(number, **given))
    assert isinstance(fact, FeedbackFact)
    return {name: values[0] for name, values in feedback_columns([fact], shard, START_US).items()}


def a_voc_event(number: int = 2001, *, time_us: int = START_US, **given: Any) -> Event:
    """A comment with the id of `number`."""
    values: dict[str, Any] = {"text": "카드 번호를 자꾸 틀려요", "rating": 3, "channel": "app"}
    return Event(id=number_id(number), source="/tests", time_us=time_us, data=VocData(**(values | given)))


def a_dead_letter(offset: int = 0, *, position: int = 0, **given: Any) -> DeadLetter:
    """A dead letter of partition 0 of the predictions' topic."""
    values: dict[str, Any] = {
        "topic": "errata.predictions",
        "partition": 0,
        "reason": "broken_json",
        "detail": "not JSON",
        "raw": b"{",
    }
    return DeadLetter(**(values | {"offset": offset, "position": position} | given))


def an_arrival(
    events: Iterable[Event] = (),
    *,
    first_offset: int = 0,
    topic: str = "errata.predictions",
    partition: int = 0,
    events_per_record: int = 1,
    dead: Iterable[DeadLetter] = (),
    topic_id: str = "the-topic",
) -> Arrival:
    """A fetched run that holds `events` in this order; dead letters keep the offsets that they have."""
    placed = [
        (first_offset + place // events_per_record, place % events_per_record, fact_of(event))
        for place, event in enumerate(events)
    ]
    letters = list(dead)
    offsets = [first_offset - 1, *(offset for offset, _, _ in placed), *(letter.offset for letter in letters)]
    next_offset = max(offsets) + 1
    return Arrival(
        topic=topic,
        partition=partition,
        first_offset=first_offset,
        next_offset=next_offset,
        topic_id=topic_id,
        n_records=next_offset - first_offset,
        events=placed,
        dead=letters,
    )
