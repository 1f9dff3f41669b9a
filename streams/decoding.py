"""Kafka records into what is stored: events, and dead letters with their reasons; personal data masked."""

from typing import Final

from errata.events import Event
from errata.masking import mask, mask_bytes, mask_event
from errata.wire import Refused, decode_record, encode_event, format_time
from storage.intake import Arrival
from storage.records import DeadLetter
from streams.driver import FetchedRecord, FetchedRun

#: How far a sender's clock may be ahead. Later events would open windows that nobody looks at for long.
FUTURE_US: Final = 86_400_000_000


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
    for record in run.records:
        _decode(record, arrival, now_us)
    return arrival


def _decode(record: FetchedRecord, arrival: Arrival, now_us: int) -> None:
    decoded = decode_record(record.headers, record.value)
    for position, event in decoded.events:
        masked = mask_event(event)
        if event.time_us > now_us + FUTURE_US:
            arrival.dead.append(_bury(_refuse_future(position, masked, now_us), record, arrival))
        else:
            arrival.events.append((record.offset, position, masked))
    for refused in decoded.refused:
        arrival.dead.append(_bury(refused, record, arrival))


def _refuse_future(position: int, event: Event, now_us: int) -> Refused:
    time, now = format_time(event.time_us), format_time(now_us)
    detail = f"`time` is {time}, more than a day after {now}: check the clock"
    return Refused(position, "future_time", detail, encode_event(event))


def _bury(refused: Refused, record: FetchedRecord, arrival: Arrival) -> DeadLetter:
    return DeadLetter(
        topic=arrival.topic,
        partition=arrival.partition,
        offset=record.offset,
        position=refused.position,
        reason=refused.reason,
        # PostgreSQL stores no NUL, and the sentence may quote the sender.
        detail=mask(refused.detail).replace("\0", "\ufffd"),
        raw=mask_bytes(refused.raw),
    )
