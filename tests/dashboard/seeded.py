"""A database in which one loop went round: version 1 of card-reader drifted, a run replaced it by version 2.

    -90 min  version 1 serves; 5 % of its predictions are corrected
    -45 min  a new camera comes; 38 % are corrected
    -38 min  signal, run opened, labels ordered
    -12 min  version 2 is released; 5 % are corrected

All of it is drawn from a seed, so that numbers are known; times end at `now_us`.
"""

import hashlib
import random
import uuid
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from errata.events import Event, FeedbackData, PredictionData, VocData
from errata.identity import new_id
from errata.settings import Mining, Model, Settings, Task
from errata.topics import FEEDBACK, PREDICTIONS, VOC
from examples.card_reader.cards import draw_card, encode_image
from examples.card_reader.digits import share_out
from labeling.orders import deliver, draft_batch, order_batch
from storage import batches, examples, predictions, releases, runs, signals
from storage.alerts import (
    News,
    claim_deliveries,
    mark_delivered,
    note_failure,
    raise_alert,
    resolve_alert,
    route,
)
from storage.database import Database, migrate, open_database
from storage.facts import fact_of
from storage.intake import Arrival, apply
from storage.records import (
    Batch,
    BatchItem,
    Case,
    Dataset,
    DeadLetter,
    Example,
    Label,
    Part,
    Release,
    Run,
    RunStep,
    Scorecard,
    Signal,
    Step,
    Version,
)

MODEL = "card-reader"
MODELS = {
    MODEL: Model(task=Task(kind="fields", fields={"number": Task(kind="text"), "expiry": Task()})),
    "translator": Model(task=Task(kind="text")),
}
MINUTE_US = 60_000_000

XSS = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script> [link](javascript:pwned) **bold**'
KOREAN = "숫자 8이 자꾸 3으로 읽혀요. 어제 업데이트 이후로 결제가 두 번 실패했습니다."
FORMULA = '=HYPERLINK("http://example.com/?"&A1,"결제 오류")'

VOCS = (
    (KOREAN, 2, "app store", "ko"),
    ("결제오류가 나서 카드 번호를 직접 입력했어요", 3, "survey", "ko"),
    ("Reads my card at once, even in the dark.", 9, "survey", "en"),
    (XSS, 1, "support", "en"),
    (FORMULA, None, "support", "ko"),
    ("만료일 인식이 빨라졌네요. 감사합니다!", 10, "app store", "ko"),
    (
        "The expiry is wrong on every card of my wife's bank.\nSecond line: 08/27 becomes 03/27.",
        4,
        None,
        "en",
    ),
)


def add_voc(url: str, text: str, time_us: int) -> None:
    """One more comment, in a partition of its own."""
    event = Event(id=str(uuid.uuid4()), source="/app", time_us=time_us, data=VocData(text=text, model=MODEL))
    arrival = Arrival(
        topic=VOC,
        partition=7,
        first_offset=0,
        next_offset=1,
        topic_id="",
        n_records=1,
        events=[(0, 0, fact_of(event))],
        dead=[],
    )
    database = open_database(url)
    try:
        apply(database, arrival, models=MODELS, slice_values_per_hour=200, worker="seed", now_us=time_us)
    finally:
        database.close()


def add_audit(url: str, now_us: int) -> None:
    """A batch of the champion, all of it audits, of which every tenth output turns out to be wrong."""
    settings = Settings(
        models={
            MODEL: msgspec.structs.replace(
                MODELS[MODEL],
                mining=Mining(quantity=40, audit_share=0.98, evaluation_share=0.01, diverse_share=0),
            )
        }
    )
    database = open_database(url)
    try:
        batch = draft_batch(database, settings, MODEL, now_us, new_id)
        order_batch(database, batch.id, "For the numbers.", now_us, new_id)
        with database.read() as c:
            shown = [
                predictions.get_prediction(c, item.prediction_id) for item in batches.read_items(c, batch.id)
            ]
        labels = [
            Label(
                prediction_id=each.id,
                label={**each.output, "expiry": "01/30"} if place % 10 == 0 else each.output,
                labeler="auditor-1",
                labeled_us=now_us,
            )
            for place, each in enumerate(shown)
        ]
        deliver(database, batch.id, labels, now_us)
    finally:
        database.close()


@dataclass(frozen=True)
class Seeded:
    """What the tests need to know of the database."""

    url: str
    run_id: str
    batch_id: str
    voc_ids: list[str]
    n_predictions: int
    n_corrected: int
    n_dead: int


def seed_empty(url: str) -> None:
    """Tables without rows."""
    migrate(url)


def seed(url: str, now_us: int) -> Seeded:
    """Fill the empty database at `url`."""
    migrate(url)
    database = open_database(url)
    try:
        return _Seeder(database, url, now_us).seed()
    finally:
        database.close()


class _Seeder:
    def __init__(self, database: Database, url: str, now_us: int) -> None:
        self.database, self.url, self.now_us = database, url, now_us
        self.rng = random.Random(7)
        self.writers = share_out(7)["first"]
        self.numpy_rng = np.random.default_rng(7)
        self.n_corrected = 0
        self.next_offset: dict[tuple[str, int], int] = {}

    def seed(self) -> Seeded:
        predictions = self.predict()
        feedback = self.correct(predictions)
        vocs = self.complain(predictions)
        dead = self.spoil()
        self.arrive(PREDICTIONS, predictions, dead)
        self.arrive(FEEDBACK, feedback)
        self.arrive(FEEDBACK, feedback[:25])  # Sent twice.
        self.arrive(VOC, vocs)
        run_id, batch_id = self.improve(predictions)
        self.warn()
        return Seeded(
            url=self.url,
            run_id=run_id,
            batch_id=batch_id,
            voc_ids=[voc.id for voc in vocs],
            n_predictions=sum(event.data.model == MODEL for event in predictions),
            n_corrected=self.n_corrected,
            n_dead=len(dead),
        )

    def ago(self, minutes: float) -> int:
        return self.now_us - int(minutes * MINUTE_US)

    def id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def predict(self) -> list[Event]:
        made = []
        for place in range(900):
            minutes = 90 - place / 10
            card = (
                draw_card(self.writers[place % len(self.writers)], self.numpy_rng) if place % 3 == 0 else None
            )
            made.append(
                self.event(
                    minutes,
                    PredictionData(
                        model=MODEL,
                        version="1" if minutes > 12 else "2",
                        output={"number": card.number if card else "4111 1111 1111 1111", "expiry": "08/27"},
                        confidence=round(self.rng.uniform(0.4, 1), 3),
                        input=encode_image(card.image) if card else None,
                        latency_ms=round(self.rng.lognormvariate(3.2, 0.4), 2),
                        tags={
                            "device": self.rng.choice(["ios", "android"]),
                            "camera": "new" if minutes < 45 and place % 2 else "old",
                        },
                        subject=f"customer-{place % 97}",
                    ),
                )
            )
        translated = [
            self.event(
                60 - place,
                PredictionData(
                    model="translator",
                    version="2026-11",
                    output="결제가 완료되었습니다.",
                    input="Your payment is complete.",
                    latency_ms=120.0 + place,
                    tags={"pair": "en-ko"},
                ),
            )
            for place in range(60)
        ]
        return made + translated

    def correct(self, predictions: list[Event]) -> list[Event]:
        made = []
        for event in predictions:
            minutes = (self.now_us - event.time_us) / MINUTE_US
            shown = event.data.output
            rate = 0.38 if 12 < minutes <= 45 else 0.05
            if isinstance(shown, str):
                if self.rng.random() < 0.2:
                    edited = FeedbackData(
                        prediction_id=event.id,
                        action="edit",
                        corrected="결제가 끝났습니다.",
                        display_ms=310.0,
                    )
                    made.append(self.event(minutes - 0.05, edited))
                continue
            draw = self.rng.random()
            display_ms = round(self.rng.lognormvariate(4.6, 0.35), 1)
            if draw < rate * 0.85:
                corrected = {**shown, "number": shown["number"][:-2] + "83"}
                data = FeedbackData(
                    prediction_id=event.id, action="edit", corrected=corrected, display_ms=display_ms
                )
                self.n_corrected += corrected != shown
            elif draw < rate:
                data = FeedbackData(prediction_id=event.id, action="reject", display_ms=display_ms)
                self.n_corrected += 1
            elif draw < 0.8:
                data = FeedbackData(prediction_id=event.id, action="accept", display_ms=display_ms)
            else:
                continue
            made.append(self.event(minutes - 0.05, data))
        return made

    def complain(self, predictions: list[Event]) -> list[Event]:
        return [
            self.event(
                40 - 5 * place,
                VocData(
                    text=text,
                    rating=rating,
                    channel=channel,
                    language=language,
                    model=MODEL,
                    prediction_id=predictions[600 + 3 * place].id if place != 2 else None,
                    tags={"app": "3.2.1"},
                ),
            )
            for place, (text, rating, channel, language) in enumerate(VOCS)
        ]

    def spoil(self) -> list[DeadLetter]:
        spoiled = (
            (
                "not_json",
                "the record is not JSON: write CloudEvents as JSON",
                b"\x00\xffnot json \xea\xb2\xb0",
            ),
            ("missing_field", "data.output is missing: send what was shown", b'{"model": "card-reader"}'),
            ("unknown_model", "model card-raeder is unknown: did you mean card-reader?", b"<b>raw</b>"),
        )
        return [
            DeadLetter(
                topic=PREDICTIONS,
                partition=place % 2,
                offset=5000 + place,
                position=0,
                reason=reason,
                detail=detail,
                raw=raw,
                stored_us=self.ago(30 - place),
            )
            for place, (reason, detail, raw) in enumerate(spoiled)
        ]

    def event(self, minutes: float, data: PredictionData | FeedbackData | VocData) -> Event:
        return Event(id=self.id(), source="/app", time_us=self.ago(max(minutes, 0.02)), data=data)

    def arrive(self, topic: str, events: list[Event], dead: list[DeadLetter] | None = None) -> None:
        """Half of the events are in each of two partitions, after what was there before."""
        for partition in range(2):
            first_offset = self.next_offset.get((topic, partition), 0)
            own = [event for event in events if _partition_of(event) == partition]
            own_dead = [letter for letter in dead or [] if letter.partition == partition]
            last = max([first_offset + len(own), *(letter.offset + 1 for letter in own_dead)])
            self.next_offset[topic, partition] = last
            arrival = Arrival(
                topic=topic,
                partition=partition,
                first_offset=first_offset,
                next_offset=last,
                topic_id="",
                n_records=last - first_offset,
                events=[(first_offset + place, 0, fact_of(event)) for place, event in enumerate(own)],
                dead=own_dead,
            )
            apply(
                self.database,
                arrival,
                models=MODELS,
                slice_values_per_hour=200,
                worker="seed",
                now_us=self.now_us - 20_000_000,
            )

    def improve(self, predictions: list[Event]) -> tuple[str, str]:
        run_id, batch_id, signal_id = self.id(), self.id(), self.id()
        with self.database.write() as c:
            for version, minutes in (("1", 600.0), ("2", 15.0)):
                releases.put_version(
                    c,
                    Version(
                        model=MODEL,
                        version=version,
                        artifact=f"{MODEL}/{version}",
                        sha256=hashlib.sha256(version.encode()).hexdigest(),
                        run_id=None if version == "1" else run_id,
                        dataset_hash=None,
                        created_us=self.ago(minutes),
                    ),
                )
            self.release(c, "1", "register", "The first version.", "min.kim", 595)
            signals.put_signal(
                c,
                Signal(
                    id=signal_id,
                    model=MODEL,
                    version="1",
                    slice="all",
                    time_us=self.ago(38),
                    change_us=self.ago(45),
                    n_events=71,
                    n_corrections=27,
                    log_evidence=15.2,
                    ceiling=0.056,
                    decision="opened",
                    reason="27 corrections since the change are enough to learn from.",
                    run_id=run_id,
                ),
            )
            self.order(c, batch_id, run_id, predictions)
            frozen = self.freeze(c, predictions, batch_id)
            self.carry_out(c, run_id, signal_id, batch_id, frozen)
            self.release(c, "2", "promote", "It fixes 12 and breaks 2 of 60 frozen examples.", "gate", 12)
        return run_id, batch_id

    def release(self, c: Any, version: str, action: Any, reason: str, who: str, minutes: float) -> None:
        releases.put_release(
            c,
            Release(
                id=self.id(),
                model=MODEL,
                version=version,
                action=action,
                reason=reason,
                who=who,
                time_us=self.ago(minutes),
            ),
        )

    def order(self, c: Any, batch_id: str, run_id: str, predictions: list[Event]) -> None:
        parts: tuple[Part, ...] = ("corrected", "corrected", "uncertain", "evaluation", "audit", "diverse")
        why = {
            "corrected": "a user corrected it by 12 % of its characters",
            "uncertain": "the confidence 0.41 is among the lowest 5 %",
            "evaluation": "drawn at random from held-out customers",
            "audit": "drawn at random from all predictions",
            "diverse": "far from everything that is labelled",
        }
        items = [
            BatchItem(
                prediction_id=event.id,
                part=parts[place % len(parts)],
                reasons=[why[parts[place % len(parts)]]],
                score=round(self.rng.random(), 3),
                inclusion=None,
                group=event.data.subject or event.id,
            )
            for place, event in enumerate(predictions[480:540])
        ]
        draft = Batch(
            id=batch_id,
            model=MODEL,
            status="draft",
            run_id=run_id,
            quantity=len(items),
            unit_price="0.05",
            currency="USD",
            guide="Write down what is really in the input.\n읽을 수 없으면 bad_data 로 표시하세요.",
            guide_version="3",
            policy={"seed": 7, "mining": {"evaluation_groups_percent": 30}},
            reason=f"Ordered for run {run_id[-4:]} after the correction rate rose.",
            created_us=self.ago(37),
        )
        batches.create_batch(c, draft, items)
        batches.set_status(c, batch_id, "ordered", draft.reason, self.ago(36))
        audited = [replace(item, part="audit") for item in items[:20]]
        audit = replace(draft, id=self.id(), run_id=None, quantity=len(audited), created_us=self.ago(5))
        batches.create_batch(c, replace(audit, reason="Composed by hand."), audited)
        labels = [
            Label(
                prediction_id=item.prediction_id,
                label=None if place % 20 == 19 else {"number": "4111 1111 1111 1183", "expiry": "08/27"},
                flags=["bad_data"] if place % 20 == 19 else [],
                labeler="labeler-2",
                labeled_us=self.ago(30 - place / 10),
            )
            for place, item in enumerate(items)
        ]
        batches.put_labels(c, batch_id, labels)
        batches.set_status(c, batch_id, "delivered", "All items are labelled or flagged.", self.ago(24.5))
        batches.set_status(c, batch_id, "accepted", "Auditors agree with 97 % of 30 labels.", self.ago(24))

    def freeze(self, c: Any, predictions: list[Event], batch_id: str) -> list[Example]:
        frozen = [
            Example(
                id=event.id,
                model=MODEL,
                input=event.data.input,
                label={"number": event.data.output["number"], "expiry": "08/27"},
                group=event.data.subject or event.id,
                role="evaluation",
                part="evaluation" if place % 2 else "founding",
                batch_id=batch_id if place % 2 else None,
                created_us=self.ago(24),
            )
            for place, event in enumerate(predictions[0:900:15])
        ]
        examples.put_examples(c, frozen)
        examples.put_dataset(
            c,
            Dataset(
                hash="9f" * 32, model=MODEL, n_training=0, n_evaluation=len(frozen), created_us=self.ago(23)
            ),
            [(example.id, "evaluation", example.batch_id is not None) for example in frozen],
        )
        return frozen

    def carry_out(self, c: Any, run_id: str, signal_id: str, batch_id: str, frozen: list[Example]) -> None:
        runs.open_run(
            c,
            Run(
                id=run_id,
                model=MODEL,
                status="promoted",
                reason="The correction rate of version 1 rose to 38 % where 5.6 % was allowed.",
                signal_id=signal_id,
                batch_id=batch_id,
                champion="1",
                candidate="2",
                dataset_hash="9f" * 32,
                verdict="promote",
                verdict_reason=(
                    "Version 2 fixes 12 and breaks 2 of 60 frozen examples (p = 0.013), and is not worse on"
                    " those from before the change."
                ),
                seed=7,
                opened_us=self.ago(38),
                decided_us=self.ago(15),
            ),
        )
        steps: tuple[tuple[Step, float, dict[str, Any]], ...] = (
            ("opened", 38, {"n_events": 71, "n_corrections": 27}),
            ("ordered", 36, {"quantity": 60, "cost": "3.00 USD"}),
            ("labelled", 24, {"labelled": 57, "flagged": 3}),
            ("requested", 24, {"topic": "errata.retrain"}),
            ("frozen", 23, {"dataset": "9f" * 32, "training": 640, "evaluation": 60}),
            ("trained", 16, {"steps": 1500, "seconds": 402.1, "device": "cpu"}),
            ("scored", 15.5, {"champion_wrong": 16, "candidate_wrong": 6, "n": 60}),
            ("judged", 15, {"verdict": "promote", "p": 0.013}),
            ("released", 12, {"version": "2"}),
        )
        for step, minutes, evidence in steps:
            runs.put_step(c, RunStep(run_id=run_id, step=step, evidence=evidence, time_us=self.ago(minutes)))
        cases = [self.compare(run_id, place, example) for place, example in enumerate(frozen)]
        runs.put_cases(c, cases)
        runs.put_scorecards(c, [*_score(run_id, "1", 4100, cases), *_score(run_id, "2", 4300, cases)])

    def warn(self) -> None:
        """The drift was told and is over; a failed run of the other model is open, and one channel is away."""
        drift = News(
            key=f"drift/{MODEL}/all",
            kind="drift",
            severity="warning",
            title=f"Drift of {MODEL} 1",
            sentence=f"27 of 71 predictions were corrected. {XSS}",
            model=MODEL,
        )
        failure = News(
            key="failure/translator",
            kind="failure",
            severity="warning",
            title="A run of translator failed",
            sentence="At the step trained: RuntimeError: no space left on device.",
            model="translator",
        )
        with self.database.write() as c:
            raise_alert(c, drift, self.ago(38), new_id)
            raise_alert(c, failure, self.ago(20), new_id)
        route(self.database, lambda _: ["team-chat", "oncall"], self.ago(20), 0)
        for channel in ("team-chat", "oncall"):
            claimed = claim_deliveries(
                self.database, channel, self.ago(20), lambda _: 10**12, only_urgent=False
            )
            deliveries = [delivery for delivery, _ in claimed]
            if channel == "oncall":
                note_failure(self.database, deliveries, "no answer from smtp.example.com")
            else:
                mark_delivered(self.database, deliveries, self.ago(20))
        with self.database.write() as c:
            resolve_alert(c, drift.key, "Version 2 is live.", self.ago(12))

    def compare(self, run_id: str, place: int, example: Example) -> Case:
        """Of sixty, twelve are fixed, two broken, four stay wrong."""
        right = example.label
        wrong = {**right, "number": right["number"][:-1] + ("3" if right["number"][-1] != "3" else "8")}
        change = "fixed" if place % 5 == 1 else {4: "broken", 34: "broken"}.get(place, "still_right")
        if place % 15 == 10:
            change = "still_wrong"
        champion_wrong = change in ("fixed", "still_wrong")
        candidate_wrong = change in ("broken", "still_wrong")
        return Case(
            run_id=run_id,
            example_id=example.id,
            change=change,  # type: ignore[arg-type]
            champion_output=wrong if champion_wrong else right,
            candidate_output=wrong if candidate_wrong else right,
            champion_ppm=50_000 if champion_wrong else 0,
            candidate_ppm=50_000 if candidate_wrong else 0,
        )


def _score(run_id: str, version: str, p50_us: int, cases: list[Case]) -> list[Scorecard]:
    """The scorecards of a version; even places are from before the change, odd ones from after it."""
    distances = [case.champion_ppm if version == "1" else case.candidate_ppm for case in cases]
    return [
        Scorecard(
            run_id=run_id,
            version=version,
            part=part,  # type: ignore[arg-type]
            n=len(own),
            n_wrong=sum(distance > 0 for distance in own),
            distance_ppm=sum(own),
            latency_us_p50=p50_us,
            latency_us_p95=2 * p50_us,
            per_second=8_000_000 / p50_us,
        )
        for part, own in (("all", distances), ("before", distances[0::2]), ("after", distances[1::2]))
    ]


def _partition_of(event: Event) -> int:
    data = event.data
    key = event.id if isinstance(data, PredictionData) else data.prediction_id or event.id
    return int(key[:2], 16) % 2
