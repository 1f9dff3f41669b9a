"""Whether corrections are like those before: no level, no reference, the same bits at every replay."""

import math
import random
import uuid
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.errors import Malformed
from quality.drift import Matured, Singles
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
