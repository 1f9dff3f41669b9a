"""The input of the benchmark: seeded events of three models, and the records that our client makes of them.

What is made is what services send: outputs of 10 to 300 bytes, tags, confidence, latency, a session and a
subject. Three of ten predictions are answered, mostly within minutes: 70 % accepted, 25 % edited, 5 %
rejected. Some answers change an earlier one, 2 % of the predictions that are answered arrive late, many of
them after the answer, and 2 % of all events are sent twice.
"""

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from errata.events import Event, FeedbackData, PredictionData, Who, key_of
from errata.partitioning import Encoded, Record, gather, topic_of
from errata.settings import Model, Task
from errata.topics import FEEDBACK, PREDICTIONS
from errata.wire import encode_event

#: Of each topic.
PARTITIONS: Final = 4

MODELS: Final = {
    "card-reader": Model(
        task=Task(kind="fields", fields={"number": Task(kind="text"), "expiry": Task(kind="text")})
    ),
    "reply-writer": Model(task=Task(kind="text")),
    "router": Model(task=Task(kind="exact")),
}

#: Predictions per second of event time, which decides how many of them share a window.
PREDICTIONS_PER_SECOND: Final = 300

#: What our client puts into a record, and takes out of its queue at once, when it has much to send.
_RECORD_EVENTS: Final = 500
_RECORD_BYTES: Final = 900_000
_CHUNK_EVENTS: Final = 5000

_ANSWERS_PER_PREDICTION: Final = 0.3
_ANSWERED_AGAIN: Final = 0.05
_LATE: Final = 0.02
_TWICE: Final = 0.02
_SECOND_US: Final = 1_000_000

_SOURCES: Final = {"card-reader": "shop/checkout", "reply-writer": "support/inbox", "router": "support/inbox"}
_NAMES: Final = tuple(MODELS)
_LABELS: Final = ("billing", "delivery", "returns", "account", "complaint", "praise", "other")
_TEXT: Final = """
thank you for your message we are sorry that the parcel has not come yet it left our house on monday and should be
with you by friday if it is not please write again or call us between nine and five the refund takes three to five
working days after we have received the article in its original box
배송 조회 환불 접수 완료 고객님 안녕하세요 감사합니다 확인 후 연락 드리겠습니다
"""
_WORDS: Final = tuple(_TEXT.split())
_DEVICES: Final = ("ios", "ios", "ios", "android", "android", "android", "android", "web", "kiosk")
_REGIONS: Final = ("kr-seoul", "kr-seoul", "kr-seoul", "kr-busan", "kr-busan", "jp-tokyo", "us-west")
_PLANS: Final = ("free", "free", "free", "pro")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make: equal ones give equal events."""

    n_predictions: int
    n_feedback: int
    seed: int
    #: Shortly after the last prediction.
    end_us: int


def share_out(n_events: int, *, seed: int, end_us: int) -> Wanted:
    """`n_events` as ten predictions to three feedback."""
    n_predictions = round(n_events / (1 + _ANSWERS_PER_PREDICTION))
    return Wanted(n_predictions, n_events - n_predictions, seed, end_us)


def make_events(wanted: Wanted) -> Iterator[Event]:
    """The events in the order in which they are sent; those that are sent twice are there twice."""
    rng = random.Random(wanted.seed)
    start_us = wanted.end_us - (wanted.n_predictions * _SECOND_US // PREDICTIONS_PER_SECOND)
    n_answers = _choose_answered(rng, wanted)
    #: What is sent later: the time, a number that keeps ties in order, the event.
    later: list[tuple[int, int, Event]] = []
    n_later = 0

    def put_off(event: Event, until_us: int) -> None:
        nonlocal n_later
        n_later += 1
        heapq.heappush(later, (until_us, n_later, event))

    for number, n in enumerate(n_answers):
        time_us = start_us + number * _SECOND_US // PREDICTIONS_PER_SECOND
        while later and later[0][0] <= time_us:
            yield heapq.heappop(later)[2]
        prediction = _predict(rng, time_us)
        if n and rng.random() < _LATE:
            put_off(prediction, time_us + rng.randrange(600 * _SECOND_US))
        else:
            yield prediction
        if rng.random() < _TWICE:
            put_off(prediction, time_us + rng.randrange(60 * _SECOND_US))
        for _ in range(n):
            answer = _answer(rng, prediction)
            put_off(answer, answer.time_us)
            if rng.random() < _TWICE:
                put_off(answer, answer.time_us + rng.randrange(60 * _SECOND_US))
    while later:
        yield heapq.heappop(later)[2]


def make_batches(events: Iterable[Event]) -> Iterator[Record]:
    """Records of several hundred events each, as our client gathers them when it has much to send."""
    partitions = {PREDICTIONS: PARTITIONS, FEEDBACK: PARTITIONS}
    encoded = encode(events)
    while chunk := list(islice(encoded, _CHUNK_EVENTS)):
        yield from gather(chunk, partitions, record_events=_RECORD_EVENTS, record_bytes=_RECORD_BYTES)


def encode(events: Iterable[Event]) -> Iterator[Encoded]:
    """Each event as a structured record's value, with its topic and key."""
    for event in events:
        yield Encoded(topic_of(event.data), key_of(event), encode_event(event))


def _choose_answered(rng: random.Random, wanted: Wanted) -> bytearray:
    """The number of answers to each prediction."""
    n_answers = bytearray(wanted.n_predictions)
    answered = rng.sample(range(wanted.n_predictions), round(wanted.n_feedback * (1 - _ANSWERED_AGAIN)))
    for number in [*answered, *rng.sample(answered, wanted.n_feedback - len(answered))]:
        n_answers[number] += 1
    return n_answers


def _predict(rng: random.Random, time_us: int) -> Event:
    model = _NAMES[int(rng.random() * len(_NAMES))]
    confidence = round(1 - rng.random() ** 3, 4)
    subject = int(rng.random() * 20_000)
    data = PredictionData(
        model=model,
        # The newer version is being rolled out.
        version="7" if rng.random() < 0.8 else "8",
        output=_write_output(rng, model),
        confidence=confidence,
        probabilities={"yes": confidence} if model == "router" else None,
        input_uri=f"s3://inputs/{model}/{subject}/{time_us}",
        latency_ms=round(rng.lognormvariate(3.5, 0.6), 3),
        tags={
            "device": _DEVICES[int(rng.random() * len(_DEVICES))],
            "region": _REGIONS[int(rng.random() * len(_REGIONS))],
            "plan": _PLANS[int(rng.random() * len(_PLANS))],
        },
        subject=f"customer-{subject}",
        session=f"session-{subject}-{time_us // (1800 * _SECOND_US)}",
    )
    return Event(id=_new_id(rng, time_us), source=_SOURCES[model], time_us=time_us, data=data)


def _write_output(rng: random.Random, model: str) -> Any:
    if model == "card-reader":
        month, year = int(rng.random() * 12) + 1, int(rng.random() * 8) + 26
        return {"number": f"{rng.getrandbits(52):016d}", "expiry": f"{month:02d}/{year}"}
    if model == "reply-writer":
        return " ".join(rng.choices(_WORDS, k=8 + int(rng.random() * 40)))
    return _LABELS[int(rng.random() * len(_LABELS))]


def _answer(rng: random.Random, prediction: Event) -> Event:
    assert isinstance(prediction.data, PredictionData)
    time_us = prediction.time_us + int(rng.lognormvariate(3.0, 1.2) * _SECOND_US)
    chance = rng.random()
    data = FeedbackData(
        prediction_id=prediction.id,
        action="accept" if chance < 0.7 else "edit" if chance < 0.95 else "reject",
        corrected=_correct(rng, prediction.data) if 0.7 <= chance < 0.95 else None,
        display_ms=round(rng.lognormvariate(5.5, 0.5), 3),
        who=Who(id=prediction.data.subject),
    )
    return Event(id=_new_id(rng, time_us), source=prediction.source, time_us=time_us, data=data)


def _correct(rng: random.Random, data: PredictionData) -> Any:
    """The output with a small mistake mended."""
    if data.model == "card-reader":
        digits, place = data.output["number"], int(rng.random() * 16)
        return {**data.output, "number": f"{digits[:place]}{int(rng.random() * 10)}{digits[place + 1 :]}"}
    if data.model == "reply-writer":
        words = data.output.split()
        words[int(rng.random() * len(words))] = _WORDS[int(rng.random() * len(_WORDS))]
        return " ".join(words)
    return _LABELS[int(rng.random() * len(_LABELS))]


def _new_id(rng: random.Random, time_us: int) -> str:
    """A UUIDv7 as errata/identity.py makes them, but with a seed."""
    head, random_bits = time_us // 1000, rng.getrandbits(74)
    number = head << 80 | 0x7 << 76 | (random_bits >> 62) << 64 | 0b10 << 62 | random_bits & (1 << 62) - 1
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
