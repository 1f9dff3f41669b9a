"""What services send, from a seed: pairs in any order and place, repeated, edited again, reverted, and malformed."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from bench.chaos.corpus import ELEMENTS, RECORDS
from errata.events import Event, FeedbackData, PredictionData, VocData, Who, key_of
from errata.partitioning import partition_of, topic_of
from errata.topics import EVENT_TOPICS
from errata.wire import batch_headers, encode_binary, encode_event, encode_structured, join_batch

MODEL: Final = "card-reader"
#: A model that the workers do not know until the dead letters are sent again.
NEWCOMER: Final = "newcomer"

#: Persons, some of whom a campaign erases; `PERSONAL` is the version of the predictions that are theirs.
PERSONS: Final = tuple(f"person-of-the-campaign-{number}" for number in range(12))
PERSONAL: Final = "personal"

_MINUTE_US: Final = 60_000_000
_DAY_US: Final = 86_400_000_000
_DUPLICATES: Final = 0.1
_OTHER_PARTITION: Final = 0.1
_MALFORMED: Final = 0.03
_NEWCOMERS: Final = 0.01
_PERSONAL: Final = 0.15
_RECORD_EVENTS: Final = 12

#: What a record holds at a position: an event, or the reason for which it must be set aside.
Held = Event | str


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record, and what it holds, by position."""

    topic: str
    partition: int
    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes
    holds: tuple[Held, ...]


def make_traffic(seed: int, partitions: int, start_us: int) -> Iterator[Record]:
    """Records without end, the same for the same seed; all their events lie in the five days from `start_us`."""
    rng = Random(seed)
    open_records: dict[tuple[str, int], list[Event]] = {}
    for event in _in_order_of_sending(rng, start_us):
        partition = partition_of(key_of(event), partitions)
        if rng.random() < _OTHER_PARTITION:
            partition = rng.randrange(partitions)
        place = (topic_of(event.data), partition)
        held = open_records.setdefault(place, [])
        held.append(event)
        if len(held) >= rng.randint(1, _RECORD_EVENTS):
            yield _pack(rng, *place, open_records.pop(place))
            if rng.random() < _MALFORMED:
                yield _spoiled_record(rng, rng.choice(EVENT_TOPICS), rng.randrange(partitions))


def _in_order_of_sending(rng: Random, start_us: int) -> Iterator[Event]:
    """Events as they come: each has a turn, and feedback may have one before its prediction's, or long after."""
    waiting: list[tuple[float, int, Event]] = []
    number = 0
    turn = 0
    while True:
        turn += 1
        for delay, event in _one_story(rng, start_us):
            heapq.heappush(waiting, (turn + delay, number, event))
            number += 1
            if rng.random() < _DUPLICATES:
                heapq.heappush(waiting, (turn + delay + rng.expovariate(1 / 100), number, event))
                number += 1
        while waiting and waiting[0][0] <= turn:
            yield heapq.heappop(waiting)[2]


def _one_story(rng: Random, start_us: int) -> Iterator[tuple[float, Event]]:
    """A prediction and what is said of it, each with the number of turns until it is sent."""
    time_us = start_us + rng.randrange(3) * _DAY_US + rng.randrange(20 * _MINUTE_US)
    shown = "".join(rng.choices("0123456789", k=rng.randint(0, 8)))
    model = NEWCOMER if rng.random() < _NEWCOMERS else MODEL
    person = rng.choice(PERSONS) if model == MODEL and rng.random() < _PERSONAL else None
    prediction = Event(
        id=_new_id(rng, time_us),
        source="/chaos",
        time_us=time_us,
        data=PredictionData(
            model=model,
            version=PERSONAL if person else rng.choice("12"),
            output=shown,
            latency_ms=rng.choice([None, 0.0, rng.randrange(400_000) / 1000]),
            tags=rng.choice([{}, {"device": "ios"}, {"device": "android", "country": "kr"}]),
            subject=person,
        ),
    )
    comes = rng.expovariate(1 / 5)
    # That of some never comes: their feedback waits for ever.
    if rng.random() > 0.02:
        yield comes, prediction
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
        later_us = rng.choice([0, rng.randrange(10 * _MINUTE_US), rng.randrange(2 * _DAY_US)])
        yield (
            max(0.0, comes + rng.choice([-1, 1, 1, 20]) * rng.expovariate(1 / 5)),
            _feedback(rng, prediction, shown, time_us + later_us),
        )
    if rng.random() < 0.05:
        yield comes, _comment(rng, prediction, time_us)


def _feedback(rng: Random, prediction: Event, shown: str, time_us: int) -> Event:
    action = rng.choice(["edit", "edit", "accept", "reject"])
    # The shown output again is a revert; an object can't be measured.
    corrected: Any = rng.choice([shown, shown + "1", "".join(rng.choices("0123456789", k=6)), {"x": shown}])
    return Event(
        id=_new_id(rng, time_us),
        source="/chaos",
        time_us=time_us,
        data=FeedbackData(
            prediction_id=prediction.id,
            action=action,  # type: ignore[arg-type]
            corrected=corrected if action == "edit" else None,
            display_ms=rng.choice([None, rng.randrange(900_000) / 1000]),
            who=Who(
                kind=rng.choice(["user", "user", "user", "annotator"]),
                id=rng.choice([None, None, None, rng.choice(PERSONS)]),
            ),
        ),
    )


def _comment(rng: Random, prediction: Event, time_us: int) -> Event:
    about = rng.choice([None, prediction.id])
    return Event(
        id=_new_id(rng, time_us),
        source="/chaos",
        time_us=time_us,
        data=VocData(
            text="번호를 자꾸 틀려요",
            rating=rng.randint(1, 10),
            prediction_id=about,
            model=MODEL,
            subject=rng.choice([None, None, rng.choice(PERSONS)]),
        ),
    )


def _new_id(rng: Random, time_us: int) -> str:
    """A UUIDv7 of its time."""
    bits = rng.getrandbits(74)
    number = (time_us // 1000) << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & (1 << 62) - 1
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _pack(rng: Random, topic: str, partition: int, events: list[Event]) -> Record:
    key = key_of(events[0]).encode()
    if len(events) == 1 and rng.random() < 0.5:
        headers, value = rng.choice([encode_binary, encode_structured])(events[0])
        return Record(topic, partition, key, headers, value, (events[0],))
    raw = [encode_event(event) for event in events]
    holds: list[Held] = [*events]
    if rng.random() < _MALFORMED:
        spoiled = rng.choice(ELEMENTS)
        position = rng.randint(0, len(raw))
        raw.insert(position, spoiled.make(rng))
        holds.insert(position, spoiled.reason)
    return Record(topic, partition, key, batch_headers(), join_batch(raw), tuple(holds))


def _spoiled_record(rng: Random, topic: str, partition: int) -> Record:
    spoiled = rng.choice(RECORDS)
    assert spoiled.content_type is not None
    headers = [("content-type", spoiled.content_type.encode())]
    return Record(topic, partition, b"any", headers, spoiled.make(rng), (spoiled.reason,))
