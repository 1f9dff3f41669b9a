"""When the correction rate counts as drifted, as a whole and in slices."""

import math
import random
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from errata.errors import Malformed
from errata.settings import Detector
from quality.drift import (
    _ARRAYS,
    SLICE_CEILING_CONFIDENCE,
    Change,
    DetectorState,
    Matured,
    Notice,
    follow,
    reset_for_version,
)
from quality.evidence import HIGHEST_RATE
from quality.season import HOURS
from quality.windows import ALL, HOUR_US

DETECTOR = Detector(reference_predictions=100, events_per_false_alarm=1000.0)
IOS = "device=ios"

counts = st.integers(0, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
arrivals = st.lists(st.tuples(counts, counts, st.integers(0, 9)), max_size=30)


def a_step(n: int, k: int, start_us: int = 0, **slices: tuple[int, int]) -> Matured:
    return Matured(start_us, start_us, {ALL: (n, k), **slices})


def take_in(
    steps: list[Matured], state: DetectorState | None = None, detector: Detector = DETECTOR
) -> tuple[DetectorState, list[Notice]]:
    """Follow the whole alone."""
    states, notices = follow(
        {ALL: state or DetectorState()}, steps, detector, level=detector.events_per_false_alarm
    )
    return states[ALL], notices


def watch(
    rates: list[tuple[float, int]],
    detector: Detector,
    rng: np.random.Generator,
    n: int = 20,
    n_streams: int = 1,
) -> list[list[Notice]]:
    """Run detectors side by side over stretches of (rate, events) in steps of `n`, dated by the number of the step."""
    names = [f"stream={number}" for number in range(n_streams)]
    drawn = np.concatenate([rng.binomial(n, rate, (events // n, n_streams)) for rate, events in rates])
    steps = [
        Matured(number, number, {name: (n, k) for name, k in zip(names, row, strict=True)})
        for number, row in enumerate(drawn.tolist())
    ]
    begun = dict.fromkeys(names, DetectorState())
    _, notices = follow(begun, steps, detector, level=detector.events_per_false_alarm)
    return [[notice for notice in notices if notice.slice == name] for name in names]


def steps_of(arrived: list[tuple[tuple[int, int], tuple[int, int], int]]) -> list[Matured]:
    return [Matured(at, at, {ALL: whole, IOS: ios}) for whole, ios, at in arrived]


def test_false_alarms_are_rarer_than_promised() -> None:
    rng = np.random.default_rng(1)
    alarms = watch([(0.05, 50_000)], Detector(ceiling_rate=0.05), rng, n=50, n_streams=40)
    assert sum(notice.stage == "alarmed" for notices in alarms for notice in notices) <= 6


@pytest.mark.parametrize(
    ("detector", "drifted", "delay"),
    [
        (Detector(reference_predictions=10_000), 0.12, 400),
        (Detector(reference_predictions=10_000), 0.08, 2400),
        (Detector(), 0.12, 900),
        (Detector(ceiling_rate=0.05), 0.08, 1200),
    ],
    ids=["5 to 12 %", "5 to 8 %", "5 to 12 % with defaults", "5 to 8 % with a service level"],
)
def test_a_drift_is_seen_soon(detector: Detector, drifted: float, delay: int) -> None:
    rng = np.random.default_rng(2)
    delays = []
    for notices in watch([(0.05, 12_000), (drifted, 10_000)], detector, rng, n_streams=25):
        seen = [20 * (each.time_us - 599) for each in notices if each.stage == "alarmed"]
        delays.append(next((events for events in seen if events > 0), 10**6))
    assert np.median(delays) <= delay


def test_an_alarm_knows_since_when() -> None:
    rng = np.random.default_rng(3)
    starts, shares = [], []
    for notices in watch([(0.05, 8000), (0.2, 4000)], Detector(), rng, n_streams=20):
        alarm = notices[-1]
        assert alarm.stage == "alarmed"
        change = alarm.state.change
        assert change is not None
        starts.append(change.since_us)
        shares.append(change.k / change.n)
    # The drift came with step 400.
    assert abs(np.median(starts) - 400) <= 2
    assert np.median(shares) == pytest.approx(0.2, abs=0.06)


def test_a_drift_that_lasts_is_one_alarm() -> None:
    (notices,) = watch([(0.05, 4000), (0.4, 20_000)], Detector(), np.random.default_rng(4), n=40)
    assert [notice.stage for notice in notices] == ["alarmed"]


def test_a_rate_that_comes_back_ends_the_alarm_and_the_next_drift_is_another() -> None:
    stretches = [(0.05, 4000), (0.2, 2000), (0.05, 4000), (0.2, 2000)]
    (notices,) = watch(stretches, Detector(), np.random.default_rng(4))
    assert [notice.stage for notice in notices] == ["alarmed", "calm", "alarmed"]
    first, calm, second = notices
    assert calm.before == "alarmed"
    assert calm.state.stage_k < calm.state.stage_allowed
    assert first.state.change is not None
    assert second.state.change is not None
    assert abs((first.state.change.since_us or 0) - 200) <= 5
    assert abs((second.state.change.since_us or 0) - 500) <= 5


def test_a_state_remembers_which_predictions_the_latest_alarm_was_about() -> None:
    drift = [a_step(100, 5), a_step(50, 50, 1), a_step(50, 50, 2)]
    alarmed, _ = take_in(drift)
    assert (alarmed.alarm_since_us, alarmed.alarm_until_us) == (1, None)
    calm, (_, notice) = take_in([*drift, *[a_step(500, 0, 3)] * 2])
    assert (calm.stage, calm.alarm_since_us, calm.alarm_until_us) == ("calm", 1, 3)
    assert notice.time_us == 3
    again, _ = take_in([a_step(50, 50, 7)], calm)
    assert (again.stage, again.alarm_since_us, again.alarm_until_us) == ("alarmed", 7, None)


def test_a_warning_comes_before_the_alarm() -> None:
    steps = [a_step(100, 5), *(a_step(10, 3, number) for number in range(1, 12))]
    _, notices = follow({ALL: DetectorState()}, steps, DETECTOR, level=1e4, warning_share=0.01)
    assert [notice.stage for notice in notices] == ["warned", "alarmed"]
    warned, alarmed = notices
    assert math.log(100) <= warned.log_evidence < math.log(1e4) <= alarmed.log_evidence
    assert warned.time_us < alarmed.time_us
    assert alarmed.before == "warned"


def test_the_first_predictions_set_the_reference_and_nothing_else() -> None:
    state, _ = take_in([a_step(60, 3, 1)])
    assert state.ceiling is None
    state, notices = take_in([a_step(60, 5, 2)], state)
    assert (state.reference_n, state.reference_k, state.n, notices) == (120, 8, 0, [])
    assert state.ceiling == pytest.approx(beta.ppf(0.99, 9, 112))


def test_a_slice_has_a_reference_of_its_own_and_a_more_careful_ceiling() -> None:
    states, _ = follow(
        {ALL: DetectorState(), IOS: DetectorState()},
        [Matured(1, 1, {ALL: (200, 8), IOS: (100, 8)})],
        DETECTOR,
        level=1e3,
    )
    assert states[IOS].ceiling == pytest.approx(beta.ppf(SLICE_CEILING_CONFIDENCE, 9, 92))


def test_a_drift_of_one_slice_is_told_of_that_slice() -> None:
    begun = {name: DetectorState() for name in (ALL, IOS, "device=android")}
    rng = np.random.default_rng(8)
    steps = []
    for number in range(800):
        ios = int(rng.binomial(2, 0.05 if number < 400 else 0.5))
        android = int(rng.binomial(98, 0.05))
        steps.append(
            Matured(
                number, number, {ALL: (100, ios + android), IOS: (2, ios), "device=android": (98, android)}
            )
        )
    _, notices = follow(begun, steps, Detector(reference_predictions=500), level=1e6)
    assert [(notice.slice, notice.stage) for notice in notices] == [(IOS, "alarmed")]


def test_slices_that_are_not_watched_are_passed_over() -> None:
    states, _ = follow(
        {ALL: DetectorState()}, [Matured(1, 1, {ALL: (5, 1), IOS: (5, 1)})], DETECTOR, level=9.0
    )
    assert set(states) == {ALL}
    assert states[ALL].reference_n == 5


def test_a_reference_of_corrections_alone_leaves_nothing_to_detect() -> None:
    state, notices = take_in([a_step(100, 100), *[a_step(50, 50)] * 100])
    assert state.ceiling is not None
    assert state.ceiling >= HIGHEST_RATE
    assert state.n == state.k == 5000
    assert notices == []


def test_a_reference_without_corrections_is_no_reason_to_expect_none() -> None:
    state, _ = take_in([a_step(100, 0)])
    assert state.ceiling is not None
    assert 0.04 < state.ceiling < 0.06


def test_a_service_level_needs_no_reference_and_gives_way_to_one_when_it_is_taken_back() -> None:
    detector = Detector(ceiling_rate=0.1)
    state, _ = take_in([a_step(50, 4)], None, detector)
    assert (state.ceiling, state.n, state.reference_n) == (0.1, 50, 0)
    state, _ = take_in([a_step(60, 4)], state, DETECTOR)
    assert (state.ceiling, state.n, state.reference_n) == (None, 50, 60)


def test_evidence_restarts_after_an_alarm() -> None:
    state, notices = take_in([a_step(100, 5), a_step(50, 50, 1)])
    assert [notice.stage for notice in notices] == ["alarmed"]
    assert notices[0].log_evidence >= math.log(1000)
    assert state.log_evidence == -math.inf
    assert state.alarm_log_evidence == notices[0].log_evidence
    change = state.change
    assert change is not None
    assert (change.n, change.k, change.since_us) == (50, 50, 1)
    assert change.allowed == pytest.approx(state.ceiling)


def test_a_change_is_forgotten_when_the_rate_comes_back() -> None:
    state, _ = take_in([a_step(100, 5), a_step(10, 5, 1)])
    assert state.change is not None
    assert (state.change.n, state.change.k, state.change.since_us) == (10, 5, 1)
    state, _ = take_in([a_step(50, 2, 2)] * 20, state)
    assert state.change is None


def test_an_empty_step_changes_nothing() -> None:
    state, _ = take_in([a_step(100, 5), a_step(20, 4, 1)])
    assert take_in([a_step(0, 0, 5)], state) == (state, [])
    assert take_in([Matured(5, 5, {})], state) == (state, [])


def test_the_next_version_is_held_to_the_same_reference() -> None:
    state, _ = take_in([a_step(100, 5), a_step(20, 4, 1)])
    state = replace(state, season=(1.0,) * HOURS)
    fresh = reset_for_version(state)
    assert fresh == DetectorState(reference_n=100, reference_k=5, ceiling=state.ceiling, season=state.season)


def test_a_reference_never_mixes_two_versions() -> None:
    state, _ = take_in([a_step(99, 5)])
    assert state.reference_n == 99
    assert reset_for_version(state) == DetectorState()


class TestSessions:
    """Predictions of a session stand or fall together: its mean is one case."""

    DETECTOR = Detector(reference_predictions=100, by_session=True)

    @staticmethod
    def step(at: int, sessions: list[tuple[int, int]]) -> Matured:
        n, k = (sum(column) for column in zip(*sessions, strict=True)) if sessions else (0, 0)
        return Matured(at, at, {ALL: (n, k)}, sessions={ALL: sessions})

    @staticmethod
    def draw(
        rng: np.random.Generator, rate: float, n_sessions: int, correlation: float = 0.2
    ) -> list[tuple[int, int]]:
        shape = (1 - correlation) / correlation
        chances = rng.beta(rate * shape, (1 - rate) * shape, n_sessions)
        return [(10, int(k)) for k in rng.binomial(10, chances)]

    def test_sessions_whose_predictions_go_together_are_no_false_alarm_as_single_ones_would_be(self) -> None:
        rng = np.random.default_rng(10)
        steps = [self.step(at, self.draw(rng, 0.05, 20)) for at in range(1500)]
        alarms = {}
        for by_session in (True, False):
            detector = Detector(ceiling_rate=0.05, by_session=by_session)
            _, notices = follow({ALL: DetectorState()}, steps, detector, level=1e6)
            alarms[by_session] = sum(notice.stage == "alarmed" for notice in notices)
        assert alarms[True] <= 1
        assert alarms[False] >= 3

    def test_a_drift_is_seen_in_sessions_too(self) -> None:
        rng = np.random.default_rng(8)
        calm = [self.step(at, self.draw(rng, 0.05, 20)) for at in range(60)]
        drift = [self.step(at, self.draw(rng, 0.15, 20)) for at in range(60, 90)]
        detector = Detector(reference_predictions=10_000, by_session=True)
        state, notices = follow({ALL: DetectorState()}, calm + drift, detector, level=1e6)
        assert [notice.stage for notice in notices] == ["alarmed"]
        assert notices[0].time_us < 75
        assert state[ALL].reference_sessions == 1000

    def test_the_reference_is_worth_less_than_as_many_single_predictions(self) -> None:
        rng = np.random.default_rng(9)
        sessions = self.draw(rng, 0.1, 20)
        together, _ = take_in([self.step(1, sessions)], None, self.DETECTOR)
        alone, _ = take_in([self.step(1, sessions)])
        assert (together.ceiling or 0) > (alone.ceiling or 0) + 0.02

    def test_one_user_who_edits_everything_is_one_case(self) -> None:
        rng = np.random.default_rng(10)
        calm = self.step(1, self.draw(rng, 0.1, 200, correlation=0.05))
        for by_session, stages in ((True, []), (False, ["alarmed"])):
            detector = Detector(reference_predictions=100, by_session=by_session)
            user = self.step(2, [(10, 1)] * 50 + [(500, 500)])
            _, notices = follow({ALL: DetectorState()}, [calm, user], detector, level=1e4)
            assert [notice.stage for notice in notices] == stages

    @pytest.mark.parametrize("corrected", [0, 1])
    def test_sessions_of_silence_or_of_corrections_alone_are_no_error(self, corrected: int) -> None:
        steps = [self.step(at, [(5, 5 * corrected)] * 30) for at in range(20)]
        state, notices = take_in(steps, None, self.DETECTOR)
        assert state.n == 19 * 150
        assert notices == []

    @given(
        st.lists(
            st.lists(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))),
            max_size=12,
        ),
        st.integers(0, 12),
        st.randoms(use_true_random=False),
    )
    def test_neither_the_order_of_sessions_nor_where_a_replay_begins_changes_a_bit(
        self, drawn: list[list[tuple[int, int]]], stored: int, rng: random.Random
    ) -> None:
        detector = Detector(reference_predictions=20, by_session=True)
        steps = [self.step(at, sessions) for at, sessions in enumerate(drawn)]
        shuffled = [self.step(at, rng.sample(each, len(each))) for at, each in enumerate(drawn)]
        at_once, notices = follow({ALL: DetectorState()}, steps, detector, level=50.0)
        half, first = follow({ALL: DetectorState()}, shuffled[:stored], detector, level=50.0)
        restored = {ALL: DetectorState.from_json(half[ALL].to_json())}
        again, second = follow(restored, shuffled[stored:], detector, level=50.0)
        assert (again, first + second) == (at_once, notices)


class TestSeason:
    """Four weeks teach what each hour is allowed; an hour has one step here."""

    @staticmethod
    def weeks(n: int, rng: np.random.Generator, first: int = 0) -> list[Matured]:
        rates = 0.05 * (1 + 0.5 * np.sin(np.arange(HOURS) * 2 * np.pi / 24))
        return [
            a_step(1000, int(rng.binomial(1000, rates[hour % HOURS])), hour * HOUR_US)
            for hour in range(first, first + n * HOURS)
        ]

    def test_it_is_learnt_after_four_weeks_and_then_nothing_alarms(self) -> None:
        rng = np.random.default_rng(9)
        detector = Detector(reference_predictions=10_000, tolerance=1.0)
        state, _ = take_in(self.weeks(4, rng), None, detector)
        assert (state.season, sum(state.hours_n)) == ((), 4 * HOURS * 1000)
        state, notices = take_in(self.weeks(4, rng, 4 * HOURS), state, Detector(reference_predictions=10_000))
        assert len(state.season) == HOURS
        assert state.reference_n == 4 * HOURS * 1000
        assert state.hours_n == ()
        assert notices == []

    def test_a_flat_ceiling_would_alarm(self) -> None:
        detector = Detector(ceiling_rate=0.05)
        _, notices = take_in(self.weeks(2, np.random.default_rng(9)), None, detector)
        assert len(notices) > 5

    def test_slices_are_allowed_more_where_the_whole_is_and_never_less(self) -> None:
        season = tuple([0.5] * 84 + [2.0] * 84)
        known = DetectorState(reference_n=100, ceiling=0.1)
        states = {ALL: replace(known, season=season), IOS: known}
        steps = [Matured(hour * HOUR_US, hour * HOUR_US, {ALL: (10, 9), IOS: (10, 9)}) for hour in (0, 100)]
        low, high = (follow(states, [step], DETECTOR, level=1e9)[0] for step in steps)
        allowed = [
            {name: state.change.allowed for name, state in after.items() if state.change}
            for after in (low, high)
        ]
        assert allowed == [
            {ALL: pytest.approx(0.05), IOS: pytest.approx(0.1)},
            {ALL: pytest.approx(0.2), IOS: pytest.approx(0.2)},
        ]


@given(arrivals, st.integers(0, 30))
def test_a_replay_from_any_stored_state_gives_the_same_bits(
    arrived: list[tuple[tuple[int, int], tuple[int, int], int]], stored: int
) -> None:
    steps = steps_of(arrived)
    begun = {ALL: DetectorState(), IOS: DetectorState()}
    at_once, notices = follow(begun, steps, DETECTOR, level=1e3, warning_share=0.1)
    half, first = follow(begun, steps[:stored], DETECTOR, level=1e3, warning_share=0.1)
    restored = {name: DetectorState.from_json(state.to_json()) for name, state in half.items()}
    assert restored == half
    again, second = follow(restored, steps[stored:], DETECTOR, level=1e3, warning_share=0.1)
    assert again == at_once
    assert first + second == notices


@given(arrivals)
def test_a_slice_has_the_same_bits_whoever_is_watched_beside_it(
    arrived: list[tuple[tuple[int, int], tuple[int, int], int]],
) -> None:
    steps = steps_of(arrived)
    together, _ = follow({ALL: DetectorState(), IOS: DetectorState()}, steps, DETECTOR, level=1e3)
    alone, _ = follow({IOS: DetectorState()}, steps, DETECTOR, level=1e3)
    assert alone[IOS] == together[IOS]


@given(arrivals)
def test_every_prediction_is_counted_once(
    arrived: list[tuple[tuple[int, int], tuple[int, int], int]],
) -> None:
    states, _ = follow({ALL: DetectorState(), IOS: DetectorState()}, steps_of(arrived), DETECTOR, level=1e3)
    for place, name in enumerate((ALL, IOS)):
        state = states[name]
        assert state.n + state.reference_n == sum(each[place][0] for each in arrived)
        assert state.k + state.reference_k == sum(each[place][1] for each in arrived)


@settings(max_examples=50)
@given(arrivals, st.integers(1, 50), st.data())
def test_more_corrections_are_more_evidence(
    arrived: list[tuple[tuple[int, int], tuple[int, int], int]], n: int, data: st.DataObject
) -> None:
    endless = Detector(reference_predictions=100, events_per_false_alarm=1e300)
    state, _ = take_in([a_step(100, 5), *steps_of(arrived)], None, endless)
    k = data.draw(st.integers(0, n - 1))
    fewer, more = (take_in([a_step(n, each)], state, endless)[0].log_evidence for each in (k, k + 1))
    assert fewer < more


@pytest.mark.parametrize(("n", "k"), [(1, 2), (-1, -1), (1, -1)])
def test_impossible_steps_are_refused(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="0 <= k <= n"):
        take_in([a_step(n, k)])


def test_every_field_of_a_state_is_carried_along() -> None:
    carried = set(_ARRAYS) | {"stage", "told", "opened", "hours_since_us", "hours_n", "hours_k", "season"}
    assert carried == {each.name for each in fields(DetectorState)}


def test_a_state_from_before_there_were_stages_is_read() -> None:
    old = (
        '{"ceiling":0.1,"gain":[1.0,2.0,0.0],"gain_k":[3,3,0],"gain_n":[10,10,0],"gain_since_us":[5,5,null],'
        '"k":3,"log_r":[1.5,1.0,null],"n":10,"reference_k":4,"reference_n":100}'
    )
    state = DetectorState.from_json(old)
    assert state.change == Change(n=10, k=3, since_us=5, allowed=0.1)
    assert (state.stage, state.ceiling) == ("calm", 0.1)


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
        DetectorState().to_json().replace('"calm"', '"upset"'),
        '{"log_r":[],"x":1}',
    ],
)
def test_other_text_is_no_state(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        DetectorState.from_json(text)
    assert caught.value.reason == "bad_detector_state"


@given(arrivals, st.randoms())
def test_the_order_in_which_a_step_names_its_slices_changes_nothing(
    arrived: list[tuple[tuple[int, int], tuple[int, int], int]], rng: random.Random
) -> None:
    steps = steps_of(arrived)
    mixed = [
        replace(step, counts=dict(rng.sample(list(step.counts.items()), len(step.counts)))) for step in steps
    ]
    begun = {ALL: DetectorState(), IOS: DetectorState()}
    assert follow(begun, steps, DETECTOR, level=30.0) == follow(begun, mixed, DETECTOR, level=30.0)


def test_a_slice_that_has_no_predictions_is_not_written_again() -> None:
    states = {ALL: DetectorState(), IOS: DetectorState(n=5)}
    after, _ = follow(states, [a_step(10, 1)], DETECTOR, level=1000.0)
    assert after[IOS] is states[IOS]
    assert list(after) == [ALL, IOS]
