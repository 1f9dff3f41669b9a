"""Watching: the rate of each champion is followed once, and an alarm opens a run or says why not."""

import itertools
import random
from collections.abc import Callable

import msgspec
import pytest

from errata.settings import Detector, Model, Settings, Task, Trigger
from quality.drift import DetectorState, Update
from storage.database import Database
from storage.errors import Conflict
from storage.intake import apply
from storage.outbox import read_unsent
from storage.predictions import Matured
from storage.releases import put_release
from storage.runs import list_runs, open_run, read_steps, update_run
from storage.signals import StoredState, get_detector_state, read_signals
from streams.watching import decide, first_state, follow, request_run, watch
from tests.builders import MINUTE_US, SECOND_US, START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.records import MODEL, make_release, make_run, number_id

HOUR_US = 3600 * SECOND_US
DETECTOR = Detector(horizon_seconds=60, reference_predictions=400, events_per_false_alarm=1e5)
SETTINGS = Settings(
    models={
        MODEL: Model(
            task=Task(kind="text"),
            detector=DETECTOR,
            trigger=Trigger(minimum_corrections=20, minimum_predictions=20, minimum_seconds=10),
        )
    }
)
HORIZON_US = 60 * SECOND_US

NewId = Callable[[int], str]


@pytest.fixture
def new_id() -> NewId:
    """Ids that no event of a test has."""
    numbers = itertools.count(10**9)
    return lambda _: number_id(next(numbers))


class Traffic:
    """Predictions, one a second, some of them edited at once; continues where it ended."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._rng = random.Random(11)
        self._n = 0
        self._next_offset = 0

    @property
    def now_us(self) -> int:
        return START_US + self._n * SECOND_US

    def send(self, n: int, edited: float, version: str = "1") -> None:
        """Store `n` predictions, a share `edited` of which are edited."""
        events = []
        for number in range(self._n, self._n + n):
            time_us = START_US + number * SECOND_US
            events.append(a_prediction_event(number, time_us=time_us, version=version))
            if self._rng.random() < edited:
                events.append(
                    a_feedback_event(100_000 + number, prediction=number, time_us=time_us + SECOND_US)
                )
        arrival = an_arrival(events, first_offset=self._next_offset)
        apply(
            self._db,
            arrival,
            models=SETTINGS.models,
            slice_values_per_hour=10,
            worker="w",
            now_us=START_US,
        )
        self._n += n
        self._next_offset = arrival.next_offset


@pytest.fixture
def traffic(db: Database) -> Traffic:
    """Traffic of a model whose champion is version 1."""
    with db.write() as c:
        put_release(c, make_release("1", time_us=START_US))
    return Traffic(db)


class TestWatch:
    def test_a_steady_rate_gives_no_signal(self, db: Database, traffic: Traffic, new_id: NewId) -> None:
        traffic.send(2000, edited=0.05)
        assert watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id) == []
        with db.read() as c:
            assert list_runs(c) == []

    def test_a_risen_rate_opens_one_run_with_its_evidence(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        change_us = traffic.now_us
        traffic.send(600, edited=0.4)
        signals = watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        assert signals[0].decision == "opened"
        assert {signal.decision for signal in signals[1:]} <= {"suppressed"}
        assert signals[0].change_us is not None
        assert abs(signals[0].change_us - change_us) <= 3 * MINUTE_US
        with db.read() as c:
            (run,) = list_runs(c)
            (step,) = read_steps(c, run.id)
            stored = read_signals(c, model=MODEL)
            messages = read_unsent(c, 10)
        assert (run.status, run.champion, run.signal_id) == ("waiting", "1", signals[0].id)
        assert run.reason == signals[0].reason
        assert "predictions were corrected since 2026-11-23T06:4" in run.reason
        assert (step.step, step.evidence["log_evidence"]) == ("opened", signals[0].log_evidence)
        assert {signal.id for signal in stored} == {signal.id for signal in signals}
        assert [message.type for message in messages] == ["errata.drift.noticed.v1"] * len(signals)
        assert msgspec.json.decode(messages[0].data)["run_id"] == run.id

    def test_the_same_drift_is_told_once_however_long_it_lasts(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        traffic.send(600, edited=0.4)
        first = watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        traffic.send(600, edited=0.6)
        assert watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id) == []
        with db.read() as c:
            assert [signal.id for signal in read_signals(c)] == [signal.id for signal in reversed(first)]
            assert len(list_runs(c)) == 1

    def test_predictions_are_read_once_and_only_when_they_are_old_enough(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(100, edited=0.5)
        for _ in range(3):
            watch(db, SETTINGS, START_US + 49 * SECOND_US + HORIZON_US, new_id)
        assert read_state(db).reference_n == 50
        watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        assert read_state(db).reference_n == 100

    def test_a_backlog_is_followed_as_it_comes_in(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        for portion in range(8):
            traffic.send(100, edited=0.1 if portion < 5 else 0.2)
            watch(db, SETTINGS, START_US + HOUR_US, new_id)
        state = read_state(db)
        assert state.reference_n + state.n == 800

    def test_without_a_champion_nothing_is_watched(self, db: Database, new_id: NewId) -> None:
        Traffic(db).send(100, edited=0.5)
        assert watch(db, SETTINGS, START_US + HOUR_US, new_id) == []
        with db.read() as c:
            assert get_detector_state(c, MODEL, "1", "all") is None

    def test_only_the_champion_is_watched_and_held_to_the_reference_of_the_one_before(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        ceiling = read_state(db).ceiling
        with db.write() as c:
            put_release(c, make_release("2", number=2, time_us=traffic.now_us))
        traffic.send(50, edited=0.05, version="2")
        traffic.send(50, edited=0.05, version="1")
        watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        after = read_state(db, "2")
        assert (after.ceiling, after.n) == (ceiling, 50)


def read_state(db: Database, version: str = "1") -> DetectorState:
    with db.read() as c:
        stored = get_detector_state(c, MODEL, version, "all")
    assert stored is not None
    return DetectorState.from_json(stored.state)


class TestDecision:
    def test_an_alarm_without_a_change_opens_nothing(self, new_id: NewId) -> None:
        alarm = Update(DetectorState(ceiling=0.06), 12.0, True, None)
        signal, run = decide(
            make_release("1"), SETTINGS.models[MODEL], alarm, 0, START_US, [], START_US, new_id
        )
        assert run is None
        assert (signal.decision, signal.n_events, signal.change_us, signal.ceiling) == (
            "suppressed",
            0,
            None,
            0.06,
        )

    def test_spans_are_followed_one_by_one(self) -> None:
        model = SETTINGS.models[MODEL]
        calm = [Matured(START_US + n * MINUTE_US, START_US, 60, 3) for n in range(10)]
        loud = [Matured(START_US + n * MINUTE_US, START_US, 60, 40) for n in range(10, 20)]
        state, alarms = follow(DetectorState(), calm, model)
        assert alarms == []
        _, alarms = follow(state, loud, model)
        assert alarms
        assert alarms[0].change is not None
        assert alarms[0].change.since_us == START_US + 10 * MINUTE_US

    def test_the_first_state_of_a_champion(self) -> None:
        known = DetectorState(reference_n=400, reference_k=20, ceiling=0.08, n=50, k=9)
        inherited = DetectorState(reference_n=400, reference_k=20, ceiling=0.08)
        incomplete = DetectorState(reference_n=10)
        assert first_state(None) == DetectorState()
        assert first_state(StoredState(known.to_json(), 5)) == inherited
        assert first_state(StoredState(incomplete.to_json(), 5)) == DetectorState()


class TestByHand:
    def test_with_a_batch_it_waits(self, db: Database, traffic: Traffic, new_id: NewId) -> None:
        run = request_run(db, MODEL, reason="New cards.", collect=True, now_us=START_US, new_id=new_id)
        with db.read() as c:
            assert list_runs(c) == [run]
            assert [step.step for step in read_steps(c, run.id)] == ["opened"]
            assert read_unsent(c, 10) == []
        assert (run.status, run.champion, run.reason) == ("waiting", "1", "New cards.")

    def test_without_a_batch_it_goes_to_a_trainer(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        run = request_run(db, MODEL, reason="New cards.", collect=False, now_us=START_US, new_id=new_id)
        with db.read() as c:
            assert [step.step for step in read_steps(c, run.id)] == ["opened", "requested"]
            (message,) = read_unsent(c, 10)
        assert run.status == "requested"
        assert (message.topic, message.key, message.type) == (
            "errata.retrain",
            MODEL,
            "errata.run.requested.v1",
        )
        assert msgspec.json.decode(message.data) == {"run_id": run.id, "model": MODEL}

    def test_one_run_at_a_time(self, db: Database, traffic: Traffic, new_id: NewId) -> None:
        run = request_run(db, MODEL, reason="New cards.", collect=True, now_us=START_US, new_id=new_id)
        with pytest.raises(Conflict, match="wait for its verdict"):
            request_run(db, MODEL, reason="Again.", collect=True, now_us=START_US, new_id=new_id)
        with db.write() as c:
            update_run(c, run.id, status="kept", decided_us=START_US)
        assert (
            request_run(db, MODEL, reason="Again.", collect=True, now_us=START_US, new_id=new_id).id != run.id
        )

    def test_there_must_be_a_champion_to_beat(self, db: Database, new_id: NewId) -> None:
        with pytest.raises(Conflict, match="register its first version"):
            request_run(db, MODEL, reason="New cards.", collect=True, now_us=START_US, new_id=new_id)

    def test_a_run_opened_elsewhere_blocks_too(self, db: Database, traffic: Traffic, new_id: NewId) -> None:
        with db.write() as c:
            open_run(c, make_run(status="training"))
        with pytest.raises(Conflict, match="is training"):
            request_run(db, MODEL, reason="New cards.", collect=True, now_us=START_US, new_id=new_id)
