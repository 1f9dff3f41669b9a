"""Whether corrections are like those before: no level, no reference, the same bits at every replay."""

import math
import random
import uuid
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.errors import Malformed
from quality.conformal import chance_of
from quality.drift import Matured, Singles
from quality.evidence import ALTERNATIVES, HIGHEST_RATE
from quality.past import PastState, Rise, follow_past
from quality.windows import ALL

IOS = "device=ios"
SALT = "1h/past"

steps_drawn = st.lists(st.lists(st.tuples(st.uuids(), st.booleans(), st.booleans()), max_size=20), max_size=8)


def a_step(at: int, found: Iterable[tuple[uuid.UUID, bool, bool]]) -> Matured:
    """A step of predictions: id, of an iPhone, corrected."""
    rows = [(str(id_), (IOS,) if is_ios else (), corrected) for id_, is_ios, corrected in found]
    return Matured(at, at, {}, Singles(*zip(*rows, strict=True)) if rows else Singles())


def draw(rng: random.Random, stretches: list[tuple[float, int]], n: int = 100) -> list[Matured]:
    rates = [rate for rate, events in stretches for _ in range(events // n)]
    return [
        a_step(at, [(uuid.UUID(int=rng.getrandbits(128)), False, rng.random() < rate) for _ in range(n)])
        for at, rate in enumerate(rates)
    ]


def begun(*names: str) -> dict[str, PastState]:
    return dict.fromkeys(names, PastState())


def rises_of(steps: list[Matured], level: float = 1e6) -> list[Rise]:
    return follow_past(begun(ALL), steps, level=level, salt=SALT)[1]


def test_a_rise_is_seen_at_a_level_that_nobody_knew_and_dated() -> None:
    (rise,) = rises_of(draw(random.Random(1), [(0.02, 1500), (0.12, 1500)]))
    assert rise.slice == ALL
    assert rise.time_us <= 15 + 6
    assert rise.rate_before == pytest.approx(0.02, abs=0.01)
    assert rise.state.gain_since_us is not None
    assert abs(rise.state.gain_since_us - 15) <= 1
    assert rise.state.gain_k / rise.state.gain_n == pytest.approx(0.12, abs=0.06)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2, 0.4, 1.0])
def test_a_rate_that_stays_raises_nothing_whatever_it_is(rate: float) -> None:
    assert rises_of(draw(random.Random(2), [(rate, 20_000)])) == []


def test_a_change_that_lasts_is_one_rise_and_the_next_another() -> None:
    steps = draw(random.Random(3), [(0.02, 3000), (0.15, 6000), (0.5, 2000)])
    assert [rise.time_us // 30 for rise in rises_of(steps)] == [1, 3]


def test_false_alarms_are_as_rare_as_the_level() -> None:
    steps = draw(random.Random(4), [(0.1, 60_000)], n=500)
    assert len(rises_of(steps, level=1e4)) <= 12


@given(steps_drawn, st.integers(0, 8))
def test_a_replay_from_any_stored_state_gives_the_same_bits(
    drawn: list[list[tuple[uuid.UUID, bool, bool]]], stored: int
) -> None:
    steps = [a_step(at, found) for at, found in enumerate(drawn)]
    at_once, rises = follow_past(begun(ALL, IOS), steps, level=20.0, salt=SALT)
    half, first = follow_past(begun(ALL, IOS), steps[:stored], level=20.0, salt=SALT)
    restored = {name: PastState.from_json(state.to_json()) for name, state in half.items()}
    again, second = follow_past(restored, steps[stored:], level=20.0, salt=SALT)
    assert (again, first + second) == (at_once, rises)


@given(steps_drawn)
def test_a_slice_takes_in_its_own_predictions_whoever_is_watched_beside_it(
    drawn: list[list[tuple[uuid.UUID, bool, bool]]],
) -> None:
    steps = [a_step(at, found) for at, found in enumerate(drawn)]
    together, _ = follow_past(begun(ALL, IOS), steps, level=1e9, salt=SALT)
    alone, _ = follow_past(begun(IOS), steps, level=1e9, salt=SALT)
    own = [a_step(at, [each for each in found if each[1]]) for at, found in enumerate(drawn)]
    as_whole, _ = follow_past(begun(ALL), own, level=1e9, salt=SALT)
    assert alone[IOS].n == together[IOS].n == sum(each[1] for found in drawn for each in found)
    assert alone[IOS].log_r == pytest.approx(together[IOS].log_r)
    assert as_whole[ALL].log_r == pytest.approx(together[IOS].log_r)


@pytest.mark.parametrize("text", ["", "null", "{}", "[]", '{"log_r":[null]}', '{"log_r":[1,1,1],"x":1}'])
def test_other_text_is_no_state(text: str) -> None:
    with pytest.raises(Malformed, match="not the state"):
        PastState.from_json(text)


def test_a_fresh_state_has_no_evidence() -> None:
    state = PastState.from_json(PastState().to_json())
    assert state == PastState()
    assert state.log_r == (-math.inf,) * 3


def by_a_plain_loop(
    steps: list[Matured], name: str, level: float
) -> tuple[PastState, list[float], list[tuple[int, int, int]]]:
    """What becomes of one slice, prediction for prediction: its state, R of each bet, and the rises."""
    r, state, rises = [0.0] * 3, PastState(), []
    for step in steps:
        chances = chance_of(step.singles.ids, SALT).tolist() if step.singles.ids else []
        n = k = 0
        for slices, corrected, chance in zip(
            step.singles.slices, step.singles.corrected, chances, strict=True
        ):
            if name != ALL and name not in slices:
                continue
            all_n, all_k = state.n + n, state.k + k
            tied = (all_k if corrected else all_n - all_k) + 1
            p_value = ((0 if corrected else all_k) + chance * tied) / (all_n + 1)
            rate = min(max((all_k + 0.5) / (all_n + 1.0), 1e-6), HIGHEST_RATE / max(ALTERNATIVES))
            for place, multiple in enumerate(ALTERNATIVES):
                factor = multiple if p_value <= rate else (1 - multiple * rate) / (1 - rate)
                r[place] = (r[place] + 1) * factor
            n, k = n + 1, k + corrected
        if not n:
            continue
        usual = (state.k - state.gain_k + 0.5) / (state.n - state.gain_n + 1.0)
        gain = 0.0
        if usual < HIGHEST_RATE:
            higher = min(1.6 * usual, HIGHEST_RATE)
            won = k * math.log(higher / usual) + (n - k) * (math.log1p(-higher) - math.log1p(-usual))
            gain = max(state.gain + won, 0.0)
        since_us = step.start_us if state.gain <= 0 else state.gain_since_us
        state = PastState(
            (),
            state.n + n,
            state.k + k,
            gain,
            *((state.gain_n + n, state.gain_k + k, since_us) if gain > 0 else ()),
        )
        if sum(r) / 3 >= level:
            rises.append((step.end_us, state.n, state.gain_n))
            r, state = [0.0] * 3, PastState()
    return state, r, rises


@given(steps_drawn)
def test_all_slices_at_once_are_a_plain_loop_over_each(
    drawn: list[list[tuple[uuid.UUID, bool, bool]]],
) -> None:
    steps = [a_step(at, found) for at, found in enumerate(drawn)]
    states, rises = follow_past(begun(ALL, IOS, "device=none"), steps, level=20.0, salt=SALT)
    for name, state in states.items():
        plain, r, plain_rises = by_a_plain_loop(steps, name, 20.0)
        told = [(each.time_us, each.state.n, each.state.gain_n) for each in rises if each.slice == name]
        assert told == plain_rises
        assert (state.n, state.k, state.gain_n, state.gain_k, state.gain_since_us) == (
            plain.n, plain.k, plain.gain_n, plain.gain_k, plain.gain_since_us
        )  # fmt: skip
        assert state.gain == pytest.approx(plain.gain, abs=1e-9)
        assert [math.exp(each) for each in state.log_r] == pytest.approx(r)


def test_a_slice_that_has_no_predictions_is_not_written_again() -> None:
    states = begun(ALL, IOS)
    after, _ = follow_past(states, [a_step(0, [(uuid.uuid4(), False, False)])], level=1e6, salt=SALT)
    assert after[IOS] is states[IOS]
    assert after[ALL].n == 1
