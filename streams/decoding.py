"""Kafka records into what is stored: events, and dead letters with their reasons; personal data masked."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from errata.errors import Malformed
from errata.events import Name, PredictionData
from errata.masking import mask, mask_bytes
from errata.wire import (
    EVENT_BYTES,
    RECORD_EVENTS,
    UNREADABLE,
    Headers,
    Refused,
    are_ids,
    check_time,
    decode_event,
    format_time,
    has_large_number,
    has_small_events,
    have_few_brackets,
    is_batch,
    is_plain_text,
    split_record,
)
from storage.facts import (
    NULL,
    AnyFact,
    FeedbackFact,
    PredictionFact,
    UnreadFeedback,
    UnreadPrediction,
    VocFact,
    encode_fact,
    fact_of,
    read_facts,
)
from storage.intake import Arrival
from storage.records import DeadLetter
from streams.driver import FetchedRun

#: How far a sender's clock may be ahead. Later events would open windows that nobody looks at for long.
FUTURE_US: Final = 86_400_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_read_tags: Final = msgspec.json.Decoder(
    next(each.type for each in msgspec.structs.fields(PredictionData) if each.name == "tags")
).decode


def decode_run(run: FetchedRun, now_us: int) -> Arrival:
    """Decode every record of a fetched run. Never raises.

    Besides the reasons of errata/wire.py, an event is dead for `future_time`: more than a day after `now_us`.
    """
    arrival = Arrival(
        topic=run.topic,
        partition=run.partition,
        first_offset=run.first_offset,
        next_offset=run.next_offset,
        topic_id=run.topic_id,
        n_records=len(run.records),
        events=[],
        dead=[],
        begins=run.begins,
    )
    reader = _Reader(now_us)
    for record in run.records:
        for position, fact in enumerate(reader.read(record.headers, record.value)):
            if isinstance(fact, Refused):
                arrival.dead.append(_bury(fact, record.offset, arrival))
            else:
                arrival.events.append((record.offset, position, fact))
    return arrival


class _Reader:
    """Reads events quickly where nothing can be wrong, and carefully elsewhere, with the same result."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._latest = _EPOCH + timedelta(microseconds=now_us + FUTURE_US)
        #: Names and tags that were checked: in a run many predictions have the same.
        self._checked: set[tuple[str, str, bytes]] = set()

    def read(self, headers: Headers, value: bytes | None) -> Sequence[AnyFact | Refused]:
        """Read the events of a record."""
        is_plain = value is not None and is_plain_text(value)
        if value and is_plain and is_batch(headers, value):
            try:
                return self._read_plain(value)
            except UNREADABLE:
                pass
        elements = split_record(headers, value)
        if isinstance(elements, Refused):
            return [elements]
        return [self._read_one(position, raw, is_plain) for position, raw in enumerate(elements)]

    def _read_one(self, position: int, raw: bytes, is_plain: bool) -> AnyFact | Refused:
        if is_plain:
            try:
                (fact,) = self._read_plain(b"[" + raw + b"]")
                return fact
            except UNREADABLE:
                pass
        try:
            fact = fact_of(decode_event(raw))
        except Malformed as error:
            return Refused(position, error.reason, error.detail, raw[:EVENT_BYTES])
        if fact.time > self._latest:
            return self._refuse_future(position, fact)
        return _mask(fact) if isinstance(fact, VocFact) else fact

    def _read_plain(self, batch: bytes) -> list[AnyFact]:
        """The facts in a batch that is plain text. Raises ValueError where one has to be read carefully."""
        facts = read_facts(batch)
        if not facts:
            return facts
        if len(facts) > RECORD_EVENTS or (len(batch) > EVENT_BYTES and not has_small_events(batch)):
            raise ValueError("an event may be too large")
        times = [fact.time for fact in facts]
        check_time(min(times))
        if max(times) > self._latest:
            raise ValueError("an event is in the future")
        predictions = [fact.data for fact in facts if type(fact) is PredictionFact]
        feedback = [fact.data for fact in facts if type(fact) is FeedbackFact]
        _check_unread(predictions, feedback)
        if not are_ids([fact.id for fact in facts] + [data.prediction_id for data in feedback]):
            raise ValueError("an event has a bad id")
        alike = {(data.model, data.version, bytes(data.tags)) for data in predictions}
        for model, version, tags in alike - self._checked:
            msgspec.convert((model, version), tuple[Name, Name])
            _read_tags(tags)
        self._checked |= alike
        if len(predictions) + len(feedback) < len(facts):
            facts = [_mask(fact) if type(fact) is VocFact else fact for fact in facts]
        return facts

    def _refuse_future(self, position: int, fact: AnyFact) -> Refused:
        time, now = format_time(fact.time_us), format_time(self._now_us)
        detail = f"`time` is {time}, more than a day after {now}: check the clock"
        return Refused(position, "future_time", detail, encode_fact(fact))


def _mask(fact: VocFact) -> VocFact:
    """The comment with what a customer wrote masked; nothing else in an event is free text by its nature."""
    text = mask(fact.data.text)
    if text == fact.data.text:
        return fact
    return msgspec.structs.replace(fact, data=msgspec.structs.replace(fact.data, text=text))


def _check_unread(predictions: Sequence[UnreadPrediction], feedback: Sequence[UnreadFeedback]) -> None:
    """Raise ValueError where a value that was not read may be too large, too deep, or hold too large a number."""
    unread = [bytes(data.output) for data in predictions]
    unread += [bytes(data.input) for data in predictions if data.input is not NULL]
    unread += [bytes(data.corrected) for data in feedback if data.corrected is not NULL]
    if unread and (not have_few_brackets(unread) or has_large_number(b"\n".join(unread))):
        raise ValueError("a value may be too large or too deep")


def _bury(refused: Refused, offset: int, arrival: Arrival) -> DeadLetter:
    return DeadLetter(
        topic=arrival.topic,
        partition=arrival.partition,
        offset=offset,
        position=refused.position,
        reason=refused.reason,
        # PostgreSQL stores no NUL, and the sentence may quote the sender.
        detail=mask(refused.detail).replace("\0", "\ufffd"),
        raw=mask_bytes(refused.raw),
    )
