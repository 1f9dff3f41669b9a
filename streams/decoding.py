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
    UNREADABLE,
    Refused,
    are_ids,
    check_time,
    decode_event,
    format_time,
    has_large_number,
    have_few_brackets,
    is_plain_text,
    split_record,
)
from storage.facts import (
    NULL,
    AnyFact,
    FeedbackFact,
    PredictionFact,
    VocFact,
    encode_fact,
    fact_of,
    read_fact,
)
from storage.intake import Arrival, Placed
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
        elements = split_record(record.headers, record.value)
        if isinstance(elements, Refused):
            arrival.dead.append(_bury(elements, record.offset, arrival))
            continue
        # A batch is looked through once for all of its events.
        is_plain = is_plain_text(elements[0] if len(elements) == 1 else record.value or b"")
        for position, fact in enumerate(reader.read(elements, is_plain)):
            if isinstance(fact, Refused):
                arrival.dead.append(_bury(fact, record.offset, arrival))
            else:
                arrival.events.append((record.offset, position, fact))
    if _may_hold_large_numbers([fact for _, _, fact in arrival.events]):
        _refuse_large_numbers(arrival)
    return arrival


class _Reader:
    """Reads events quickly where nothing can be wrong, and carefully elsewhere, with the same result."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._latest = _EPOCH + timedelta(microseconds=now_us + FUTURE_US)
        #: Names and tags that were checked: in a run many predictions have the same.
        self._checked: set[tuple[str, str, bytes]] = set()

    def read(self, elements: Sequence[bytes], is_plain: bool) -> Sequence[AnyFact | Refused]:
        """Read the events of a record; `is_plain` is whether no character in them can break a limit."""
        if is_plain:
            try:
                return self._read_plain(elements)
            except UNREADABLE:
                pass
        # Of several, all but one may be quick to read.
        is_worth_trying = is_plain and len(elements) > 1
        return [self._read_one(position, raw, is_worth_trying) for position, raw in enumerate(elements)]

    def _read_one(self, position: int, raw: bytes, is_plain: bool) -> AnyFact | Refused:
        if is_plain:
            try:
                return self._read_plain([raw])[0]
            except UNREADABLE:
                pass
        try:
            fact = fact_of(decode_event(raw))
        except Malformed as error:
            return Refused(position, error.reason, error.detail, raw[:EVENT_BYTES])
        if fact.time > self._latest:
            return self._refuse_future(position, fact)
        return _mask(fact) if isinstance(fact, VocFact) else fact

    def _read_plain(self, elements: Sequence[bytes]) -> list[AnyFact]:
        """The facts in events that are plain text. Raises ValueError where one has to be read carefully."""
        if not have_few_brackets(elements):
            raise ValueError("an event may be too large or too deep")
        facts = [read_fact(raw) for raw in elements]
        times = [fact.time for fact in facts]
        check_time(min(times))
        if max(times) > self._latest:
            raise ValueError("an event is in the future")
        predictions = [fact.data for fact in facts if type(fact) is PredictionFact]
        feedback = [fact.data for fact in facts if type(fact) is FeedbackFact]
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


def _may_hold_large_numbers(facts: Sequence[AnyFact]) -> bool:
    """Whether the values that were not read may hold a number beyond 64 bits; asked of all at once."""
    predictions = [fact.data for fact in facts if type(fact) is PredictionFact]
    feedback = [fact.data for fact in facts if type(fact) is FeedbackFact]
    unread = [data.output for data in predictions]
    unread += [data.input for data in predictions if data.input is not NULL]
    unread += [data.corrected for data in feedback if data.corrected is not NULL]
    return has_large_number(b"\n".join(unread))


def _refuse_large_numbers(arrival: Arrival) -> None:
    """Read all events again that may hold such numbers, carefully."""
    kept: list[Placed] = []
    for offset, position, fact in arrival.events:
        if _may_hold_large_numbers([fact]):
            raw = encode_fact(fact)
            try:
                decode_event(raw)
            except Malformed as error:
                refused = Refused(position, error.reason, error.detail, raw)
                arrival.dead.append(_bury(refused, offset, arrival))
                continue
        kept.append((offset, position, fact))
    arrival.events[:] = kept


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
