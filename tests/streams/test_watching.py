"""Watching: the rate of each champion is followed once, and an alarm opens a run or says why not."""

import math
import random
import re

import msgspec
import numpy as np
import pytest

from errata.identity import NewId
from errata.settings import Detector, Model, Settings, Task, Training, Trigger
from errata.topics import DRIFT_NOTICED
from quality.drift import DetectorState, Matured
from quality.windows import DAY_US
from storage.alerts import list_alerts, list_open
from storage.database import Database
from storage.errors import Conflict
from storage.intake import apply
from storage.outbox import read_unsent
from storage.records import Signal
from storage.releases import put_release
from storage.runs import list_runs, open_run, read_steps, update_run
from storage.signals import StoredState, forget_detector_states, read_detector_states, read_signals
from storage.slices import ALL
from streams.watching import (
    Alarm,
    alarm_level,
    begin_states,
    decide,
    drift_key,
    request_run,
    watch,
    why_no_run,
)
from tests.builders import MINUTE_US, SECOND_US, START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.records import MODEL, make_release, make_run
from tests.streams.replacing import Replacing

HOUR_US = 3600 * SECOND_US
DETECTOR = Detector(horizons_seconds=(60,), reference_predictions=400, events_per_false_alarm=1e5)
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

    def wait_until(self, time_us: int) -> None:
        """Send nothing until then."""
        self._n = (time_us - START_US) // SECOND_US

    def send(
        self,
        n: int,
        edited: float,
        version: str = "1",
        edited_on_ios: float | None = None,
        delay_us: int = SECOND_US,
        clock_us: int = 0,
        confidence: float | None = 0.9,
    ) -> None:
        """Store `n` predictions, one in three of them of an iPhone; a share `edited` of them are edited.

        Edits come after `delay_us`; the clock of the service is off by `clock_us`.
        """
        events = []
        for number in range(self._n, self._n + n):
            time_us = START_US + number * SECOND_US + clock_us
            is_ios = number % 3 == 0
            tags = {"device": "ios" if is_ios else "android"}
            given = {
                "version": version,
                "tags": tags,
                "confidence": confidence,
                "input": f"picture {number}",
            }
            events.append(a_prediction_event(number, time_us=time_us, **given))
            share = edited_on_ios if is_ios and edited_on_ios is not None else edited
            if self._rng.random() < share:
                events.append(
                    a_feedback_event(10_000_000 + number, prediction=number, time_us=time_us + delay_us)
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
        (opening,) = [signal for signal in signals if signal.decision == "opened"]
        assert {signal.decision for signal in signals} == {"warned", "opened", "suppressed"}
        assert (opening.slice, opening.rule, opening.level) == ("all", "drift", pytest.approx(math.log(2e5)))
        assert opening.change_us is not None
        assert abs(opening.change_us - change_us) <= 3 * MINUTE_US
        with db.read() as c:
            (run,) = list_runs(c)
            (step,) = read_steps(c, run.id)
            stored = read_signals(c, model=MODEL)
            messages = [each for each in read_unsent(c, 20) if each.type == DRIFT_NOTICED]
            alerts = list_open(c)
        assert (run.status, run.champion, run.signal_id) == ("waiting", "1", opening.id)
        assert run.reason == opening.reason
        assert "predictions were corrected within 1 minute since 2026-11-23T06:4" in run.reason
        assert (step.step, step.evidence["log_evidence"]) == ("opened", opening.log_evidence)
        assert {signal.id for signal in stored} == {signal.id for signal in signals}
        data = [msgspec.json.decode(message.data) for message in messages]
        assert {each["id"] for each in data} == {signal.id for signal in signals}
        assert [each["run_id"] for each in data if each["run_id"] is not None] == [run.id]
        alert = next(alert for alert in alerts if alert.key == drift_key(MODEL, ALL))
        assert (alert.model, alert.severity) == (MODEL, "warning")
        assert f"{run.id} " in alert.sentence

    def test_a_version_that_another_replaces_meanwhile_is_told_of_no_more(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        traffic.send(600, edited=0.4)
        replacing = Replacing(db, make_release("2", 2, time_us=traffic.now_us))
        assert watch(replacing, SETTINGS, traffic.now_us + HORIZON_US, new_id) == []
        with db.read() as c:
            assert (list_open(c), list_runs(c), read_detector_states(c, MODEL, "1")) == ([], [], {})

    def test_people_are_told_of_a_drift_once_and_when_it_is_over(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        for _ in range(2):
            traffic.send(600, edited=0.4)
            watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
            with db.read() as c:
                (alert,) = [each for each in list_alerts(c) if each.key == drift_key(MODEL, ALL)]
            assert alert.resolved_us is None
        traffic.send(900, edited=0.0)
        watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        with db.read() as c:
            assert list_open(c) == []
            (alert,) = [each for each in list_alerts(c) if each.key == drift_key(MODEL, ALL)]
        assert (alert.resolution or "").startswith("All predictions are calm again: ")

    def test_the_same_drift_is_told_once_however_long_it_lasts(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        traffic.send(600, edited=0.4)
        first = watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        traffic.send(600, edited=0.6)
        assert watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id) == []
        with db.read() as c:
            assert {signal.id for signal in read_signals(c)} == {signal.id for signal in first}
            assert len(list_runs(c)) == 1

    def test_predictions_are_read_once_and_only_when_they_are_old_enough(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(100, edited=0.5)
        watch(db, SETTINGS, START_US + 59 * SECOND_US + HORIZON_US, new_id)
        with db.read() as c:
            assert read_detector_states(c, MODEL, "1") == {}
        for _ in range(3):
            watch(db, SETTINGS, START_US + 60 * SECOND_US + HORIZON_US, new_id)
        assert read_state(db).reference_n == 60
        watch(db, SETTINGS, START_US + 120 * SECOND_US + HORIZON_US, new_id)
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
            assert read_detector_states(c, MODEL, "1") == {}

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
        watch(db, SETTINGS, traffic.now_us + HOUR_US, new_id)
        after = read_state(db, "2")
        assert (after.ceiling, after.n) == (ceiling, 50)

    def test_a_drift_of_one_slice_opens_a_run_about_that_slice(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1800, edited=0.3)
        traffic.send(240, edited=0.0, edited_on_ios=0.9)
        signals = watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        (opening,) = [signal for signal in signals if signal.decision == "opened"]
        assert opening.slice == "device=ios"
        assert "predictions with device=ios were corrected within 1 minute since" in opening.reason
        assert opening.reason.endswith("Its batch is chosen from device=ios.")

    def test_an_alarm_that_was_suppressed_opens_its_run_when_nothing_speaks_against_it_any_more(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        earlier = make_run(77, status="kept", decided_us=START_US, opened_us=START_US - 1)
        with db.write() as c:
            open_run(c, earlier)
        patient = with_trigger(cooldown_seconds=2400)
        traffic.send(1000, edited=0.05)
        traffic.send(600, edited=0.4)
        decided = of_whole(watch(db, patient, traffic.now_us + HORIZON_US, new_id))
        assert decided == [("suppressed", "cooldown")]
        traffic.send(600, edited=0.4)
        assert of_whole(watch(db, patient, START_US + 2300 * SECOND_US, new_id)) == []
        traffic.send(600, edited=0.4)
        assert of_whole(watch(db, patient, START_US + 2500 * SECOND_US, new_id)) == [("opened", "drift")]

    def test_a_drift_goes_on_after_its_run_has_failed_and_waits_for_the_cooldown(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        quick = with_trigger(cooldown_seconds=60)
        traffic.send(1000, edited=0.05)
        traffic.send(600, edited=0.4)
        watch(db, quick, traffic.now_us + HORIZON_US, new_id)
        with db.write() as c:
            (run,) = list_runs(c)
            update_run(c, run.id, status="kept", verdict="keep", decided_us=traffic.now_us + HORIZON_US)
        # One candidate failed its gate: the cooldown is 120 seconds.
        traffic.send(60, edited=0.4)
        assert of_whole(watch(db, quick, traffic.now_us + HORIZON_US, new_id)) == [("suppressed", "cooldown")]
        traffic.send(120, edited=0.4)
        assert of_whole(watch(db, quick, traffic.now_us + HORIZON_US, new_id)) == [("opened", "drift")]

    def test_a_rate_that_comes_back_is_told_and_arms_the_detector_anew(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.1)
        traffic.send(180, edited=0.5)
        watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        traffic.send(600, edited=0.02)
        signals = watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        calmed = next(signal for signal in signals if signal.slice == "all" and signal.decision == "calmed")
        assert calmed.reason.startswith("All predictions are calm again: since the latest evidence ")
        assert (read_state(db).stage, read_state(db).change) == ("calm", None)

    def test_a_run_is_due_after_so_many_days_without_one(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        monthly = with_trigger(trainer="shop.trainer:trainer")
        traffic.send(600, edited=0.05)
        due_us = START_US + 30 * DAY_US
        assert watch(db, monthly, traffic.now_us + HORIZON_US, new_id) == []
        traffic.send(120, edited=0.05)
        (signal,) = watch(db, monthly, due_us, new_id)
        assert (signal.decision, signal.rule, signal.n_events) == ("opened", "schedule", 0)
        assert signal.reason == "There was no run and no release for 30 days."
        with db.read() as c:
            (run,) = list_runs(c)
        assert (run.signal_id, run.reason) == (signal.id, signal.reason)

    def test_without_a_trainer_no_run_is_scheduled(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, edited=0.05)
        assert watch(db, SETTINGS, START_US + 31 * DAY_US, new_id) == []

    def test_the_level_follows_from_the_false_alarms_allowed_in_a_week(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        detector = Detector(horizons_seconds=(60,), reference_predictions=400, false_alarms_per_week=0.1)
        settings = Settings(models={MODEL: Model(task=Task(kind="text"), detector=detector)})
        traffic.send(1000, edited=0.05)
        traffic.wait_until(START_US + DAY_US)
        assert watch(db, settings, traffic.now_us, new_id) == []
        traffic.send(60, edited=1.0)
        signals = watch(db, settings, traffic.now_us + HOUR_US, new_id)
        signal = next(signal for signal in signals if signal.slice == "all")
        # 1,000 predictions a day make 7,000 a week, seen as a whole and by device.
        assert signal.level == pytest.approx(math.log(2 * 2 * 7000 / 0.1))

    def test_a_slice_that_is_not_seen_for_a_week_is_forgotten(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, edited=0.05)
        watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        traffic.wait_until(START_US + 8 * DAY_US)
        traffic.send(1, edited=0.0)
        watch(db, SETTINGS, traffic.now_us + HOUR_US, new_id)
        with db.read() as c:
            forgotten = {"device=ios", "device=android"} - set(read_detector_states(c, MODEL, "1")["1min"])
        assert len(forgotten) == 1


class TestOddInput:
    def test_slices_that_never_repeat_take_the_places_that_there_are_and_no_more(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        few = msgspec.structs.replace(SEVERAL.models[MODEL].detector, slices=3)
        settings = Settings(models={MODEL: Model(detector=few)})
        events = [
            a_prediction_event(number, time_us=START_US + number * SECOND_US, tags={"order": f"{number}"})
            for number in range(9)
        ]
        arrival = an_arrival(events)
        apply(db, arrival, models=SETTINGS.models, slice_values_per_hour=100, worker="w", now_us=START_US)
        assert watch(db, settings, START_US + 2 * HOUR_US, new_id) == []
        with db.read() as c:
            states = read_detector_states(c, MODEL, "1")
        assert {detector: len(each) for detector, each in states.items()} == {
            "1min": 4,
            "1min/past": 4,
            "1h": 4,
        }

    @pytest.mark.parametrize("edited", [0.0, 1.0], ids=["silence alone", "corrections alone"])
    def test_neither_silence_nor_corrections_alone_are_a_drift(
        self, db: Database, traffic: Traffic, new_id: NewId, edited: float
    ) -> None:
        traffic.send(1500, edited=edited)
        assert watch(db, SEVERAL, traffic.now_us + HOUR_US, new_id) == []
        assert read_state(db).n + read_state(db).reference_n == 1500

    def test_a_version_that_appears_and_vanishes_leaves_the_one_before_where_it_was(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, edited=0.1)
        watch(db, SEVERAL, traffic.now_us + HORIZON_US, new_id)
        with db.write() as c:
            put_release(c, make_release("2", number=2, time_us=traffic.now_us))
        traffic.send(30, edited=0.1, version="2")
        with db.write() as c:
            put_release(c, make_release("1", number=3, time_us=traffic.now_us))
        traffic.send(600, edited=0.1)
        assert watch(db, SEVERAL, traffic.now_us + HOUR_US + MINUTE_US, new_id) == []
        with db.read() as c:
            assert read_detector_states(c, MODEL, "2") == {}
        for detector in ("1min", "1h"):
            state = read_state(db, detector=detector)
            assert state.n + state.reference_n == 1200


class TestSessions:
    @staticmethod
    def send_sessions(db: Database, n: int, rate: float, correlation: float) -> int:
        """Store `n` sessions of twenty predictions, one a second; return when the last was made."""
        rng = np.random.default_rng(5)
        shape = (1 - correlation) / correlation
        chances = rng.beta(rate * shape, (1 - rate) * shape, n)
        events = []
        for number in range(20 * n):
            session = number // 20
            time_us = START_US + number * SECOND_US
            events.append(a_prediction_event(number, time_us=time_us, session=f"session-{session}", tags={}))
            if rng.random() < chances[session]:
                events.append(a_feedback_event(10_000_000 + number, prediction=number, time_us=time_us + 1))
        apply(
            db,
            an_arrival(events),
            models=SETTINGS.models,
            slice_values_per_hour=10,
            worker="w",
            now_us=START_US,
        )
        return START_US + 20 * n * SECOND_US

    @pytest.mark.parametrize("by_session", [False, True])
    def test_users_whose_predictions_go_together_are_no_drift(
        self, db: Database, new_id: NewId, by_session: bool
    ) -> None:
        with db.write() as c:
            put_release(c, make_release("1", time_us=START_US))
        until_us = self.send_sessions(db, 400, rate=0.1, correlation=0.2)
        detector = msgspec.structs.replace(DETECTOR, ceiling_rate=0.1, by_session=by_session)
        settings = Settings(models={MODEL: Model(detector=detector)})
        signals = watch(db, settings, until_us + HORIZON_US, new_id)
        alarms = [signal for signal in signals if signal.decision in ("opened", "suppressed")]
        # As the rate does not change, each alarm would be false.
        assert bool(alarms) is not by_session


class TestWithoutALevel:
    def test_a_rise_before_the_reference_is_complete_is_a_warning_and_opens_nothing(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        learning = msgspec.structs.replace(DETECTOR, reference_predictions=5000)
        settings = Settings(models={MODEL: Model(detector=learning)})
        traffic.send(1800, edited=0.05)
        change_us = traffic.now_us
        traffic.send(600, edited=0.5)
        signals = watch(db, settings, traffic.now_us + HORIZON_US, new_id)
        whole = next(each for each in signals if each.slice == "all")
        assert {(each.decision, each.rule, each.detector) for each in signals} == {
            ("warned", "past", "1min/past")
        }
        assert abs((whole.change_us or 0) - change_us) <= 2 * MINUTE_US
        assert re.match(r"\d+ of \d+ predictions were corrected within 1 minute since 2026", whole.reason)
        with db.read() as c:
            assert list_runs(c) == []
            assert list_alerts(c) == []
            assert read_signals(c)[-1] in signals
        traffic.send(600, edited=0.5)
        assert watch(db, settings, traffic.now_us + HORIZON_US, new_id) == []

    def test_where_the_level_is_known_that_detector_speaks(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        traffic.send(600, edited=0.4)
        signals = watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        assert {each.detector for each in signals} == {"1min"}


SEVERAL = Settings(
    models={
        MODEL: msgspec.structs.replace(
            SETTINGS.models[MODEL],
            detector=msgspec.structs.replace(DETECTOR, horizons_seconds=(60, 3600)),
        )
    }
)


class TestHorizons:
    def test_each_has_a_reference_and_evidence_of_its_own(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1200, edited=0.2, delay_us=10 * MINUTE_US)
        assert watch(db, SEVERAL, traffic.now_us + HORIZON_US, new_id) == []
        with db.read() as c:
            assert set(read_detector_states(c, MODEL, "1")) == {"1min", "1min/past"}
        watch(db, SEVERAL, traffic.now_us + HOUR_US, new_id)
        short, long = read_state(db), read_state(db, detector="1h")
        # Nobody answers within a minute here.
        assert (short.n + short.reference_n, short.k + short.reference_k) == (1200, 0)
        assert long.n + long.reference_n == 1200
        assert (short.ceiling or 0) < 0.05 < 0.15 < (long.ceiling or 0)

    def test_the_first_that_sees_a_drift_opens_its_run_and_the_others_say_so_once(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        traffic.send(600, edited=0.4)
        first = watch(db, SEVERAL, traffic.now_us + HORIZON_US, new_id)
        (opening,) = [each for each in first if each.decision == "opened"]
        assert (opening.detector, opening.level) == ("1min", pytest.approx(math.log(3e5)))
        second = watch(db, SEVERAL, traffic.now_us + HOUR_US, new_id)
        (late,) = [each for each in second if each.slice == "all" and each.detector == "1h"]
        assert (late.decision, late.rule) == ("suppressed", "horizon")
        assert "were corrected within 1 hour since" in late.reason
        assert late.reason.endswith("within 1 minute already, which opened a run for it.")
        with db.write() as c:
            (run,) = list_runs(c)
            update_run(c, run.id, status="kept", verdict="promote", decided_us=traffic.now_us)
        traffic.send(300, edited=0.4)
        later = watch(db, SEVERAL, traffic.now_us + HOUR_US, new_id)
        assert [each for each in later if each.detector == "1h"] == []

    def test_what_users_correct_late_is_seen_by_the_long_one_alone(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05, delay_us=10 * MINUTE_US)
        traffic.send(600, edited=0.4, delay_us=10 * MINUTE_US)
        signals = watch(db, SEVERAL, traffic.now_us + HOUR_US, new_id)
        assert {each.detector for each in signals} == {"1h"}
        (opening,) = [each for each in signals if each.decision == "opened"]
        assert "predictions were corrected within 1 hour since" in opening.reason

    def test_an_alert_lasts_until_no_horizon_is_alarmed(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05)
        traffic.send(600, edited=0.4)
        watch(db, SEVERAL, traffic.now_us + HOUR_US, new_id)
        traffic.send(900, edited=0.0)
        calmed = watch(db, SEVERAL, traffic.now_us + HORIZON_US, new_id)
        assert ("1min", "all", "calmed") in [(each.detector, each.slice, each.decision) for each in calmed]
        with db.read() as c:
            assert drift_key(MODEL, ALL) in {alert.key for alert in list_open(c)}
        watch(db, SEVERAL, traffic.now_us + HOUR_US, new_id)
        with db.read() as c:
            assert list_open(c) == []

    def test_a_replay_gives_the_same_bits_whenever_it_looks(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.1)
        traffic.send(300, edited=0.15, delay_us=10 * MINUTE_US)
        for minute in range(1, 90, 7):
            watch(db, SEVERAL, START_US + minute * MINUTE_US, new_id)
        watch(db, SEVERAL, START_US + 90 * MINUTE_US, new_id)
        with db.write() as c:
            live = read_detector_states(c, MODEL, "1")
            for detector, states in live.items():
                forget_detector_states(c, MODEL, "1", detector, list(states))
        watch(db, SEVERAL, START_US + 90 * MINUTE_US, new_id)
        with db.read() as c:
            assert read_detector_states(c, MODEL, "1") == live
        assert set(live) == {"1min", "1min/past", "1h"}

    def test_predictions_of_a_clock_that_is_an_hour_behind_reach_the_long_one_alone(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        several = msgspec.structs.replace(DETECTOR, horizons_seconds=(60, 3 * 3600))
        settings = Settings(models={MODEL: Model(detector=several)})
        traffic.send(600, edited=0.1)
        watch(db, settings, traffic.now_us + HORIZON_US, new_id)
        traffic.send(100, edited=0.1, clock_us=-HOUR_US)
        watch(db, settings, traffic.now_us + 4 * HOUR_US, new_id)
        short, long = read_state(db), read_state(db, detector="3h")
        assert short.n + short.reference_n == 600
        assert long.n + long.reference_n == 700

    def test_predictions_of_a_clock_that_is_an_hour_ahead_are_read_an_hour_later(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(120, edited=0.1, clock_us=HOUR_US)
        watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        with db.read() as c:
            assert read_detector_states(c, MODEL, "1") == {}
        watch(db, SETTINGS, traffic.now_us + HORIZON_US + HOUR_US, new_id)
        assert read_state(db).reference_n == 120


def of_whole(signals: list[Signal]) -> list[tuple[str, str]]:
    return [(signal.decision, signal.rule) for signal in signals if signal.slice == "all"]


def with_trigger(trainer: str = "", **given: float) -> Settings:
    floors = {"minimum_corrections": 20, "minimum_predictions": 20, "minimum_seconds": 10}
    model = Model(
        task=Task(kind="text"),
        detector=DETECTOR,
        trigger=msgspec.convert(floors | given, Trigger),
        training=Training(trainer=trainer),
    )
    return Settings(models={MODEL: model})


def read_state(db: Database, version: str = "1", detector: str = "1min") -> DetectorState:
    with db.read() as c:
        return DetectorState.from_json(read_detector_states(c, MODEL, version)[detector]["all"].state)


def ask_nobody(since_us: int) -> int:
    raise AssertionError("subjects were counted though something else speaks against a run")


class TestDecision:
    def test_subjects_are_counted_only_where_nothing_else_speaks_against_a_run(self) -> None:
        model = SETTINGS.models[MODEL]
        state = DetectorState(
            ceiling=0.06, gain=(3.0, 2.0, 1.0), gain_n=(300,) * 3, gain_k=(90,) * 3, gain_allowed=(18.0,) * 3,
            gain_since_us=(START_US,) * 3,
        )  # fmt: skip
        alarm, until_us = Alarm("all", state, 1e5, HORIZON_US), START_US + HOUR_US
        decided = make_run(1, status="kept", decided_us=START_US)
        suppressed = why_no_run(model, alarm, ask_nobody, until_us, [decided], until_us)
        assert suppressed is not None
        assert suppressed.rule == "cooldown"
        asked: list[int] = []
        suppressed = why_no_run(
            model, alarm, lambda since_us: len(asked.append(since_us) or asked), until_us, [], until_us
        )
        assert suppressed is not None
        assert (suppressed.rule, asked) == ("subjects", [START_US])

    def test_an_alarm_without_a_change_opens_nothing(self, new_id: NewId) -> None:
        alarm = Alarm("all", DetectorState(ceiling=0.06, alarm_log_evidence=12.0), 1e5, HORIZON_US)
        suppressed = why_no_run(SETTINGS.models[MODEL], alarm, ask_nobody, START_US, [], START_US)
        signal, run = decide(make_release("1"), alarm, "", suppressed, START_US, new_id)
        assert run is None
        assert (signal.decision, signal.rule, signal.n_events, signal.change_us, signal.ceiling) == (
            "suppressed",
            "corrections",
            0,
            None,
            0.06,
        )

    def test_the_whole_decides_for_its_slices_while_it_is_not_calm(self, new_id: NewId) -> None:
        alarm = Alarm("device=ios", DetectorState(ceiling=0.06, alarm_log_evidence=12.0), 1e5, HORIZON_US)
        whole = DetectorState(stage="warned")
        suppressed = why_no_run(
            SETTINGS.models[MODEL], alarm, ask_nobody, START_US, [], START_US, whole=whole
        )
        signal, run = decide(make_release("1"), alarm, "It rained.", suppressed, START_US, new_id)
        assert run is None
        assert (signal.rule, signal.reason.split(". ")[-2:]) == (
            "whole",
            ["It rained", "All predictions are warned of too, and decide for it."],
        )


class TestCause:
    """Predictions are sure (0.9) or not (0.5), and those that are not are wrong more often."""

    @staticmethod
    def send(traffic: Traffic, n: int, sure: float, edited_sure: float, edited_unsure: float) -> None:
        for confidence, share, edited in ((0.9, sure, edited_sure), (0.5, 1 - sure, edited_unsure)):
            traffic.send(round(n * share), edited=edited, confidence=confidence)

    @pytest.mark.parametrize(
        ("sure", "edited_sure", "said"),
        [(0.8, 0.4, "the model got worse."), (0.1, 0.05, "the inputs got harder.")],
        ids=["wrong as often where it is sure", "unsure more often"],
    )
    def test_an_alarm_says_which_of_the_two_it_looks_like(
        self, db: Database, traffic: Traffic, new_id: NewId, sure: float, edited_sure: float, said: str
    ) -> None:
        for _ in range(10):
            self.send(traffic, 120, 0.8, 0.05, 0.5)
        for _ in range(6):
            self.send(traffic, 120, sure, edited_sure, 0.5)
        signals = watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        opening = next(each for each in signals if each.decision == "opened")
        assert said in opening.reason
        assert "By confidence " in opening.reason

    def test_without_confidence_it_cannot_be_told(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1000, edited=0.05, confidence=None)
        traffic.send(600, edited=0.4, confidence=None)
        signals = watch(db, SETTINGS, traffic.now_us + HORIZON_US, new_id)
        opening = next(each for each in signals if each.decision == "opened")
        assert "cannot be told: the model gives no confidence." in opening.reason


class TestBeginning:
    KNOWN = DetectorState(reference_n=400, reference_k=20, ceiling=0.08, n=50, k=9)
    STEPS = (Matured(1, 1, {"all": (9, 0), "a=1": (2, 0), "a=2": (7, 0), "b=1": (2, 0)}),)

    def test_a_new_champion_is_held_to_the_references_of_the_one_before(self) -> None:
        before = {
            "all": StoredState(self.KNOWN.to_json(), 5),
            "a=1": StoredState(self.KNOWN.to_json(), 5),
            "a=2": StoredState(DetectorState(reference_n=10).to_json(), 5),
        }
        inherited = DetectorState(reference_n=400, reference_k=20, ceiling=0.08)
        assert begin_states({}, before, [], 10) == {"all": inherited, "a=1": inherited}

    def test_of_new_slices_those_with_most_predictions_have_room(self) -> None:
        assert list(begin_states({}, {}, self.STEPS, 2)) == ["all", "a=2", "a=1"]
        assert list(begin_states({}, {}, self.STEPS, 0)) == ["all"]

    def test_slices_that_are_watched_keep_their_place(self) -> None:
        stored = {name: StoredState(self.KNOWN.to_json(), 5) for name in ("all", "b=1")}
        assert list(begin_states(stored, {}, self.STEPS, 2)) == ["all", "b=1", "a=2"]


@pytest.mark.parametrize(
    ("allowed", "traffic", "level"),
    [(None, 1e6, 3 * 1e5), (0.5, None, 3 * 1e5), (0.5, 1e6, 3 * 3 * 2e6)],
    ids=["given", "unknown traffic", "whole and two tags"],
)
def test_the_level_of_an_alarm_is_shared_by_the_horizons_and_the_audits(
    allowed: float | None, traffic: float | None, level: float
) -> None:
    detector = Detector(
        horizons_seconds=(60, 3600), events_per_false_alarm=1e5, false_alarms_per_week=allowed
    )
    assert alarm_level(Model(detector=detector), traffic, ["all", "a=1", "a=2", "b=1"]) == level


class TestByHand:
    def test_with_a_batch_it_waits(self, db: Database, traffic: Traffic, new_id: NewId) -> None:
        run = request_run(db, MODEL, reason="New cards.", collect=True, now_us=START_US, new_id=new_id)
        with db.read() as c:
            assert list_runs(c) == [run]
            assert [step.step for step in read_steps(c, run.id)] == ["opened"]
            assert read_unsent(c, 10) == []
            (signal,) = read_signals(c)
        assert (run.status, run.champion, run.reason) == ("waiting", "1", "New cards.")
        assert (signal.decision, signal.rule, signal.reason) == ("opened", "person", "New cards.")
        assert (signal.run_id, run.signal_id) == (run.id, None)

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
