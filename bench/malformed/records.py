"""Records from a seed, malformed events among good ones, each with the statement of what has to become of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from random import Random
from typing import Final

from bench.chaos.corpus import Spoiled
from bench.malformed.kinds import ALONE, IN_BATCHES, is_large
from errata.events import Event, FeedbackData, PredictionData
from errata.topics import EVENT_TOPICS
from errata.wire import BATCH_TYPE, STRUCTURED_TYPE, encode_event
from streams.driver import FetchedRecord, FetchedRun
from streams.ledger import Partition

#: One in so many malformed events is of a kind that is large.
_LARGE_ONCE_IN: Final = 1000
#: One in so many records holds one malformed event alone.
_ALONE_ONCE_IN: Final = 10
_BATCH_EVENTS: Final = 100
_GOOD_SHARE: Final = 0.3
_RUN_RECORDS: Final = 50
_PARTITIONS: Final = 4
#: 2026-01-23 06:30 UTC.
_TIME_US: Final = 1_769_149_800_000_000
_SPAN_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Made:
    """A record, the malformed events in it by their position, and the ids of the good ones."""

    value: bytes
    content_type: str
    spoiled: dict[int, Spoiled]
    good_predictions: list[str]
    good_feedback: list[str]

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """The headers of the record."""
        return [("content-type", self.content_type.encode())]


@dataclass(frozen=True, slots=True)
class MadeRun:
    """A fetched run, and what was made into it by offset."""

    run: FetchedRun
    made: dict[int, Made]


def make_records(n_malformed: int, seed: int) -> Iterator[Made]:
    """Records with `n_malformed` malformed events in all; first one of every kind."""
    rng = Random(seed)
    alone, in_batches = list(ALONE), list(IN_BATCHES)
    few = [[each for each in kinds if is_large(each)] for kinds in (alone, in_batches)]
    many = [[each for each in kinds if not is_large(each)] for kinds in (alone, in_batches)]
    left = n_malformed
    while left > 0:
        is_alone = bool(alone) or (not in_batches and rng.randrange(_ALONE_ONCE_IN) == 0)
        waiting, place = (alone, 0) if is_alone else (in_batches, 1)
        n = 1 if is_alone else min(left, rng.randint(1, _BATCH_EVENTS))
        chosen = [
            waiting.pop()
            if waiting
            else rng.choice(few[place] if rng.randrange(_LARGE_ONCE_IN) == 0 else many[place])
            for _ in range(n)
        ]
        left -= n
        yield _alone(rng, chosen[0]) if is_alone else _batch(rng, chosen)


def make_runs(n_malformed: int, seed: int) -> Iterator[MadeRun]:
    """The records of `make_records` as a worker would fetch them, of all topics and partitions in turn."""
    places = cycle([(topic, partition) for topic in EVENT_TOPICS for partition in range(_PARTITIONS)])
    next_offsets: dict[Partition, int] = {}
    records = make_records(n_malformed, seed)
    while some := [made for _, made in zip(range(_RUN_RECORDS), records, strict=False)]:
        place = next(places)
        first = next_offsets.get(place, 0)
        next_offsets[place] = first + len(some)
        fetched = tuple(
            FetchedRecord(first + number, 0, b"any", made.value, tuple(made.headers))
            for number, made in enumerate(some)
        )
        run = FetchedRun(*place, first, first + len(some), fetched, "", begins=first == 0)
        yield MadeRun(run, {first + number: made for number, made in enumerate(some)})


def _alone(rng: Random, spoiled: Spoiled) -> Made:
    return Made(spoiled.make(rng), spoiled.content_type or STRUCTURED_TYPE, {0: spoiled}, [], [])


def _batch(rng: Random, chosen: list[Spoiled]) -> Made:
    """A batch with all that is `chosen`, and good events between them."""
    elements: list[bytes] = []
    made = Made(b"", BATCH_TYPE, {}, [], [])
    for spoiled in chosen:
        while rng.random() < _GOOD_SHARE:
            elements.append(_good(rng, made))
        made.spoiled[len(elements)] = spoiled
        elements.append(spoiled.make(rng))
    elements.append(_good(rng, made))
    return Made(
        b"[" + b",".join(elements) + b"]",
        BATCH_TYPE,
        made.spoiled,
        made.good_predictions,
        made.good_feedback,
    )


def _good(rng: Random, made: Made) -> bytes:
    """A prediction, or feedback to an earlier one of the record; its id is noted in `made`."""
    id_, time_us = _make_id(rng), _TIME_US + rng.randrange(_SPAN_US)
    data: PredictionData | FeedbackData
    if made.good_predictions and rng.random() < 0.3:
        data = FeedbackData(prediction_id=rng.choice(made.good_predictions), action="accept")
        made.good_feedback.append(id_)
    else:
        data = PredictionData(model="card-reader", version="1", output="4111", latency_ms=12.5)
        made.good_predictions.append(id_)
    return encode_event(Event(id=id_, source="/good", time_us=time_us, data=data))


def _make_id(rng: Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-b{digits[17:20]}-{digits[20:]}"
