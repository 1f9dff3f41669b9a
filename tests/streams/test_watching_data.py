"""Watching what a champion is given and answers: read once, told once, and never a reason for a run."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from errata.identity import NewId
from errata.settings import DataDrift, Model, Settings, Task
from errata.topics import DATA_SHIFT_NOTICED
from quality.data_drift import EmbeddingState, NumberState
from quality.data_standing import NO_RUN
from storage.alerts import list_alerts, list_open
from storage.data_shifts import read_data_drift_states, read_data_shifts, read_until
from storage.database import Database
from storage.intake import apply
from storage.observed import read_observed
from storage.outbox import read_unsent
from storage.releases import put_release
from storage.runs import list_runs
from storage.signals import read_signals
from streams.watching_data import data_drift_key, watch_data
from tests.builders import MINUTE_US, SECOND_US, START_US, a_prediction_event, an_arrival
from tests.records import MODEL, make_release, number_id
from tests.streams.replacing import Replacing


def settings_with(**given: Any) -> Settings:
    """Settings with a short reference; `given` are fields of DataDrift."""
    return Settings(
        models={
            MODEL: Model(task=Task(kind="text"), data_drift=DataDrift(reference_predictions=200, **given))
        }
    )


SETTINGS = settings_with()


class Traffic:
    """Predictions, two a second; continues where it ended."""

    def __init__(self, db: Database) -> None:
        self.rng = random.Random(11)
        self._db = db
        self._n = 0
        self._next_offset = 0

    @property
    def now_us(self) -> int:
        return START_US + self._n * SECOND_US // 2

    @property
    def read_us(self) -> int:
        """When all that was sent is read."""
        return self.now_us + 2 * MINUTE_US

    def send(self, n: int, make: Callable[[random.Random], dict[str, Any]], version: str = "1") -> None:
        """Store `n` predictions with the fields that `make` gives them."""
        events = [
            a_prediction_event(
                number, time_us=START_US + number * SECOND_US // 2, version=version, **make(self.rng)
            )
            for number in range(self._n, self._n + n)
        ]
        arrival = an_arrival(events, first_offset=self._next_offset)
        apply(
            self._db, arrival, models=SETTINGS.models, slice_values_per_hour=10, worker="w", now_us=START_US
        )
        self._n += n
        self._next_offset = arrival.next_offset


@pytest.fixture
def traffic(db: Database) -> Traffic:
    """Traffic of a model whose champion is version 1."""
    with db.write() as c:
        put_release(c, make_release("1", time_us=START_US))
    return Traffic(db)


def confident(mean: float) -> Callable[[random.Random], dict[str, Any]]:
    """Predictions with confidences around `mean`."""
    return lambda rng: {"confidence": min(max(rng.gauss(mean, 0.05), 0), 1)}


class TestWatchData:
    def test_what_stays_is_told_to_nobody(self, db: Database, traffic: Traffic, new_id: NewId) -> None:
        traffic.send(1200, confident(0.9))
        assert watch_data(db, SETTINGS, traffic.read_us, new_id) == []
        with db.read() as c:
            states = read_data_drift_states(c, MODEL, "1")
            assert list_alerts(c) == []
        assert sorted(states) == ["confidence", "latency", "output_length", "outputs"]
        assert {state.n for state in states.values()} == {1200}

    def test_what_moves_is_a_row_an_alert_and_an_event_and_opens_no_run(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, confident(0.9))
        change_us = traffic.now_us
        traffic.send(600, confident(0.6))
        (shift,) = watch_data(db, SETTINGS, traffic.read_us, new_id)
        assert (shift.watched, shift.stage, shift.change_us) == ("confidence", "moved", change_us)
        assert shift.log_evidence > shift.level
        assert shift.reason.startswith(
            f"The confidence of {MODEL} 1 has moved since 2026-11-23T06:35:00.000000Z: median 0.898 (half from "
        )
        assert " -> median 0.601 (half from 0.568 to 0.631), in 120 values. " in shift.reason
        assert shift.reason.endswith(NO_RUN)
        with db.read() as c:
            assert read_data_shifts(c, model=MODEL) == [shift]
            (alert,) = list_open(c)
            told = [each for each in read_unsent(c, 20) if each.type == DATA_SHIFT_NOTICED]
            assert (list_runs(c), read_signals(c)) == ([], [])
        assert (alert.key, alert.kind, alert.severity) == (
            data_drift_key(MODEL, "confidence"),
            "data_drift",
            "info",
        )
        assert alert.sentence == shift.reason
        assert [msgspec.json.decode(each.data)["id"] for each in told] == [shift.id]

    def test_it_is_told_once_and_its_end_resolves_the_alert(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, confident(0.9))
        traffic.send(600, confident(0.6))
        watch_data(db, SETTINGS, traffic.read_us, new_id)
        traffic.send(600, confident(0.6))
        assert watch_data(db, SETTINGS, traffic.read_us, new_id) == []
        traffic.send(600, confident(0.9))
        (calm,) = watch_data(db, SETTINGS, traffic.read_us, new_id)
        assert (calm.watched, calm.stage) == ("confidence", "calm")
        with db.read() as c:
            (alert,) = list_alerts(c)
        assert alert.resolution == calm.reason

    def test_each_prediction_is_read_once_in_minutes_that_are_over(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(150, confident(0.9))
        watch_data(db, SETTINGS, START_US + MINUTE_US + 9 * SECOND_US, new_id)
        with db.read() as c:
            assert read_data_drift_states(c, MODEL, "1") == {}
        for _ in range(2):
            watch_data(db, SETTINGS, START_US + MINUTE_US + 10 * SECOND_US, new_id)
            with db.read() as c:
                assert read_data_drift_states(c, MODEL, "1")["confidence"].n == 120
                assert read_until(c, MODEL, "1") == START_US + MINUTE_US
        watch_data(db, SETTINGS, START_US + 3 * MINUTE_US, new_id)
        with db.read() as c:
            assert read_data_drift_states(c, MODEL, "1")["confidence"].n == 150

    def test_of_a_minute_the_first_ones_are_read_and_the_rest_never(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(360, confident(0.9))
        few = settings_with(predictions_per_minute=50)
        watch_data(db, few, traffic.read_us, new_id)
        watch_data(db, few, traffic.read_us, new_id)
        with db.read() as c:
            assert read_data_drift_states(c, MODEL, "1")["confidence"].n == 150

    def test_a_round_is_bounded_and_the_next_goes_on(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(6000, confident(0.9))
        watch_data(db, SETTINGS, traffic.read_us, new_id)
        with db.read() as c:
            first = read_data_drift_states(c, MODEL, "1")["confidence"].n
        assert 5000 <= first < 6000
        watch_data(db, SETTINGS, traffic.read_us, new_id)
        with db.read() as c:
            assert read_data_drift_states(c, MODEL, "1")["confidence"].n == 6000

    def test_rounds_of_any_length_lead_to_the_same_bits(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, lambda rng: {**confident(0.9)(rng), "features": [rng.gauss(0, 1)] * 3})
        for minute in range(1, 9):
            watch_data(db, SETTINGS, START_US + minute * MINUTE_US, new_id)
        with db.read() as c:
            by_minutes = read_data_drift_states(c, MODEL, "1")
        with db.write() as c:
            put_release(c, make_release("0", number=2, time_us=START_US + 1))
            put_release(c, make_release("1", number=3, time_us=START_US + 2))
            forget_all(c)
        watch_data(db, SETTINGS, traffic.read_us, new_id)
        with db.read() as c:
            assert read_data_drift_states(c, MODEL, "1") == by_minutes

    def test_a_new_champion_sets_its_own_reference(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, confident(0.9))
        watch_data(db, SETTINGS, traffic.read_us, new_id)
        with db.write() as c:
            put_release(c, make_release("2", number=2, time_us=traffic.now_us))
        traffic.send(1200, confident(0.6), version="2")
        assert watch_data(db, SETTINGS, traffic.read_us, new_id) == []
        with db.read() as c:
            assert read_data_drift_states(c, MODEL, "1")["confidence"].n == 600
            assert read_data_drift_states(c, MODEL, "2")["confidence"].n == 1200

    def test_a_version_that_another_replaces_meanwhile_is_told_of_no_more(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, confident(0.9))
        traffic.send(600, confident(0.6))
        replacing = Replacing(db, make_release("2", number=2, time_us=traffic.now_us))
        assert watch_data(replacing, SETTINGS, traffic.read_us, new_id) == []
        with db.read() as c:
            assert (list_open(c), read_data_drift_states(c, MODEL, "1")) == ([], {})

    def test_a_version_that_vanishes_is_told_of_no_more(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(30, confident(0.9))
        assert watch_data(db, SETTINGS, traffic.read_us, new_id) == []
        for day in range(1, 4):
            assert watch_data(db, SETTINGS, traffic.read_us + day * 86_400 * SECOND_US, new_id) == []
        with db.read() as c:
            assert read_data_drift_states(c, MODEL, "1")["confidence"].n == 30

    def test_a_model_without_a_champion_or_switched_off_is_not_read(
        self, db: Database, new_id: NewId
    ) -> None:
        traffic = Traffic(db)
        traffic.send(300, confident(0.9))
        assert watch_data(db, SETTINGS, traffic.read_us, new_id) == []
        with db.write() as c:
            put_release(c, make_release("1", time_us=START_US))
        assert watch_data(db, settings_with(predictions_per_minute=0), traffic.read_us, new_id) == []
        with db.read() as c:
            assert read_data_drift_states(c, MODEL, "1") == {}

    def test_a_model_without_confidence_is_watched_by_what_it_has(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(600, lambda _: {"confidence": None, "latency_ms": None, "input": "x" * 40})
        traffic.send(600, lambda _: {"confidence": None, "latency_ms": None, "input": "x" * 90})
        (shift,) = watch_data(db, SETTINGS, traffic.read_us, new_id)
        assert (shift.watched, shift.stage) == ("input_length", "moved")
        assert "median 42 characters (half from 42 characters to 42 characters) -> median" in shift.reason
        with db.read() as c:
            assert sorted(read_data_drift_states(c, MODEL, "1")) == [
                "input_length",
                "output_length",
                "outputs",
            ]

    def test_embeddings_are_compared_with_those_before_and_a_new_length_is_left_out(
        self, db: Database, traffic: Traffic, new_id: NewId
    ) -> None:
        traffic.send(1440, lambda rng: {"features": [rng.gauss(0, 1) for _ in range(4)]})
        assert watch_data(db, SETTINGS, traffic.read_us, new_id) == []
        with db.read() as c:
            state = read_data_drift_states(c, MODEL, "1")["embedding"]
        assert isinstance(state, EmbeddingState)
        # A thousand wait; the others were compared with the first of them, each once.
        assert (state.n, state.n_unpaired, state.old_id) == (1440, 0, number_id(439))
        traffic.send(600, lambda rng: {"features": [rng.gauss(2, 1) for _ in range(4)]})
        (shift,) = watch_data(db, SETTINGS, traffic.read_us, new_id)
        assert (shift.watched, shift.stage) == ("embedding", "moved")
        traffic.send(120, lambda _: {"features": [0.0] * 5})
        watch_data(db, SETTINGS, traffic.read_us, new_id)
        with db.read() as c:
            state = read_data_drift_states(c, MODEL, "1")["embedding"]
        assert isinstance(state, EmbeddingState)
        assert (state.n, state.n_other) == (2040, 120)


def forget_all(c: Any) -> None:
    """Forget where everything stands."""
    from storage.tables import data_drift_states

    c.execute(data_drift_states.delete())


def test_a_step_that_was_cut_off_is_not_read_by_halves(db: Database, traffic: Traffic) -> None:
    traffic.send(300, confident(0.9))
    with db.read() as c:
        steps = read_observed(
            c,
            model=MODEL,
            version="1",
            since_us=0,
            until_us=traffic.now_us,
            step_us=MINUTE_US,
            most_per_step=130,
            most=10_000,
        )
    assert [(step.start_us, step.end_us, len(step.predictions)) for step in steps] == [
        (START_US, START_US + MINUTE_US, 120),
        (START_US + MINUTE_US, START_US + 2 * MINUTE_US, 120),
        (START_US + 2 * MINUTE_US, START_US + 3 * MINUTE_US, 60),
    ]
    first = steps[0].predictions[0]
    assert (first.id, first.time_us, first.latency_us) == (number_id(0), START_US, 12_500)
    assert (first.output, first.output_length, first.input_length) == ('"4111 1111"', 11, None)


def test_a_number_state_is_what_is_stored_of_a_confidence(
    db: Database, traffic: Traffic, new_id: NewId
) -> None:
    traffic.send(240, confident(0.9))
    watch_data(db, SETTINGS, traffic.read_us, new_id)
    with db.read() as c:
        state = read_data_drift_states(c, MODEL, "1")["confidence"]
    assert isinstance(state, NumberState)
    # A quarter of the reference chose the bins, and is not counted in them.
    assert (state.n, sum(state.counts)) == (240, 190)
