"""When the correction rate counts as drifted."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from errata.errors import Malformed
from errata.settings import Detector
from quality.drift import (
    ALTERNATIVES,
    HIGHEST_RATE,
    Change,
    DetectorState,
    Update,
    reset_for_version,
    update,
)

DETECTOR = Detector(reference_predictions=100, events_per_false_alarm=1000.0)
spans = st.lists(
    st.integers(0, 50).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(0, n), st.none() | st.integers(0, 9))
    ),
    max_size=30,
)


def watch(
    rates: list[tuple[float, int]], detector: Detector, rng: np.random.Generator, n: int = 20
) -> list[Update]:
    """Run a detector over stretches of (rate, events) in spans of `n`, dated by the number of the span."""
    state, updates = DetectorState(), []
    for rate, events in rates:
        for k in rng.binomial(n, rate, events // n).tolist():
            updates.append(update(state, n, k, detector, start_us=len(updates)))
            state = updates[-1].state
    return updates


def run(arrived: list[tuple[int, int, int | None]], state: DetectorState) -> list[Update]:
    updates = []
    for n, k, start_us in arrived:
        updates.append(update(state, n, k, DETECTOR, start_us=start_us))
        state = updates[-1].state
    return updates


def test_false_alarms_are_rarer_than_promised() -> None:
    rng = np.random.default_rng(1)
    alarms = sum(each.alarm for _ in range(4) for each in watch([(0.05, 500_000)], Detector(), rng, n=50))
    assert alarms <= 5


def test_evidence_at_the_ceiling_grows_by_one_per_prediction_on_average() -> None:
    # This equality is what makes the promise: E[M after a span] = M + n for a rate at the ceiling.
    state = DetectorState(log_r=(1.0, 2.0, 3.0), reference_n=100, ceiling=0.2)
    before = sum(map(math.exp, state.log_r)) / len(ALTERNATIVES)
    detector = Detector(events_per_false_alarm=math.inf)
    after = sum(
        binom.pmf(k, 30, 0.2) * math.exp(update(state, 30, k, detector).log_evidence) for k in range(31)
    )
    assert after == pytest.approx(before + 30)


@pytest.mark.parametrize(
    ("detector", "drifted", "delay"),
    [
        (Detector(reference_predictions=10_000, tolerance=0.0), 0.12, 400),
        (Detector(reference_predictions=10_000, tolerance=0.0), 0.08, 2000),
        (Detector(), 0.12, 700),
    ],
    ids=["5 to 12 %", "5 to 8 %", "5 to 12 % with defaults"],
)
def test_a_drift_is_seen_soon(detector: Detector, drifted: float, delay: int) -> None:
    rng = np.random.default_rng(2)
    delays = []
    for _ in range(25):
        updates = watch([(0.05, 12_000), (drifted, 10_000)], detector, rng)[600:]
        delays.append(20 * next((place + 1 for place, each in enumerate(updates) if each.alarm), 10**6))
    assert np.median(delays) <= delay


def test_an_alarm_knows_since_when() -> None:
    rng = np.random.default_rng(3)
    starts, shares = [], []
    for _ in range(20):
        alarm = next(each for each in watch([(0.05, 8000), (0.2, 4000)], Detector(), rng) if each.alarm)
        assert alarm.change is not None
        assert alarm.change.since_us is not None
        starts.append(alarm.change.since_us)
        shares.append(alarm.change.k / alarm.change.n)
    # The drift came with span 400.
    assert abs(np.median(starts) - 400) <= 2
    assert np.median(shares) == pytest.approx(0.2, abs=0.06)


def test_alarms_of_one_drift_share_its_start() -> None:
    updates = watch([(0.05, 4000), (0.4, 2000)], Detector(), np.random.default_rng(4))
    alarms = [each.change for each in updates if each.alarm]
    assert len(alarms) > 3
    assert len({change.since_us for change in alarms if change}) == 1


def test_the_first_predictions_set_the_reference_and_nothing_else() -> None:
    first, second = run([(60, 3, 1), (60, 5, 2)], DetectorState())
    assert first.state.ceiling is None
    assert (first.log_evidence, first.alarm, first.change) == (-math.inf, False, None)
    assert (second.state.reference_n, second.state.reference_k, second.state.n) == (120, 8, 0)
    assert second.state.ceiling == pytest.approx(beta.ppf(0.99, 9, 112))
    assert second.state.ceiling > 8 / 120


def test_a_reference_of_corrections_alone_leaves_nothing_to_detect() -> None:
    updates = run([(100, 100, None)] + [(50, 50, None)] * 100, DetectorState())
    assert updates[-1].state.ceiling is not None
    assert updates[-1].state.ceiling >= HIGHEST_RATE
    assert updates[-1].state.n == updates[-1].state.k == 5000
    assert not any(each.alarm for each in updates)


def test_a_reference_without_corrections_is_no_reason_to_expect_none() -> None:
    state = run([(100, 0, None)], DetectorState())[-1].state
    assert state.ceiling is not None
    assert 0.04 < state.ceiling < 0.06


def test_evidence_restarts_after_an_alarm() -> None:
    updates = run([(100, 5, 0), (50, 50, 1), (0, 0, 2)], DetectorState())
    assert [each.alarm for each in updates] == [False, True, False]
    assert updates[1].log_evidence >= math.log(1000)
    assert updates[2].log_evidence == -math.inf
    assert updates[2].change == Change(n=50, k=50, since_us=1)


def test_a_change_is_forgotten_when_the_rate_comes_back() -> None:
    updates = run([(100, 5, 0), (10, 5, 1), *[(50, 2, 2)] * 20], DetectorState())
    assert updates[1].change == Change(n=10, k=5, since_us=1)
    assert updates[-1].change is None


def test_an_empty_span_changes_nothing() -> None:
    state = run([(100, 5, 0), (20, 4, 1)], DetectorState())[-1].state
    assert update(state, 0, 0, DETECTOR, start_us=5).state == state
    assert update(DetectorState(), 0, 0, Detector(reference_predictions=0)).state == DetectorState()


def test_the_next_version_is_held_to_the_same_reference() -> None:
    state = run([(100, 5, 0), (20, 4, 1)], DetectorState())[-1].state
    fresh = reset_for_version(state)
    assert (fresh.reference_n, fresh.reference_k, fresh.ceiling) == (100, 5, state.ceiling)
    assert fresh == replace(DetectorState(), reference_n=100, reference_k=5, ceiling=state.ceiling)


def test_a_reference_never_mixes_two_versions() -> None:
    state = run([(99, 5, 0)], DetectorState())[-1].state
    assert state.reference_n == 99
    assert reset_for_version(state) == DetectorState()


@given(spans, st.integers(0, 30))
def test_a_replay_from_any_stored_state_gives_the_same_bits(
    arrived: list[tuple[int, int, int | None]], stored: int
) -> None:
    updates = run(arrived, DetectorState())
    stored = min(stored, len(arrived))
    state = updates[stored - 1].state if stored else DetectorState()
    restored = DetectorState.from_json(state.to_json())
    assert restored == state
    assert restored.to_json() == state.to_json()
    assert run(arrived[stored:], restored) == updates[stored:]


@given(spans)
def test_every_prediction_is_counted_once(arrived: list[tuple[int, int, int | None]]) -> None:
    state = (run(arrived, DetectorState()) or [Update(DetectorState(), -math.inf, False, None)])[-1].state
    assert state.n + state.reference_n == sum(n for n, _, _ in arrived)
    assert state.k + state.reference_k == sum(k for _, k, _ in arrived)


@settings(max_examples=50)
@given(spans, st.integers(1, 50), st.data())
def test_more_corrections_are_more_evidence(
    arrived: list[tuple[int, int, int | None]], n: int, data: st.DataObject
) -> None:
    state = run([(100, 5, 0), *arrived], DetectorState())[-1].state
    k = data.draw(st.integers(0, n - 1))
    assert update(state, n, k, DETECTOR).log_evidence < update(state, n, k + 1, DETECTOR).log_evidence


@pytest.mark.parametrize(("n", "k"), [(1, 2), (-1, -1), (1, -1)])
def test_impossible_spans_are_refused(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="0 <= k <= n"):
        update(DetectorState(), n, k, DETECTOR)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[]",
        '{"log_r":[null]}',
        DetectorState(gain=(0.0,)).to_json(),
        DetectorState().to_json().replace('"gain":[0.0,0.0,0.0]', '"gain":5'),
        '{"log_r":[],"x":1}',
    ],
)
def test_other_text_is_no_state(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        DetectorState.from_json(text)
    assert caught.value.reason == "bad_detector_state"
