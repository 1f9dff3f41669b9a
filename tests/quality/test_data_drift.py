"""Data drift: seen in numbers, outputs and embeddings, the same bits at a replay, and calm while nothing changes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.errors import Malformed
from errata.settings import DataDrift
from quality.conformal import bet_on_places
from quality.data_drift import (
    FEATURES,
    Course,
    EmbeddingState,
    Notice,
    NumberState,
    Observed,
    OldEmbedding,
    OutputsState,
    State,
    Step,
    count_pairs,
    follow,
    from_json,
    spread_of,
    to_json,
)
from quality.data_standing import call, say_calm, say_moved, stand_all
from tests.records import make_moved_confidence

SETTINGS = DataDrift(reference_predictions=400)
MINUTE_US = 60_000_000

#: Makes the fields of a prediction.
Draw = Callable[[np.random.Generator], dict[str, Any]]


class Stream:
    """Predictions in steps of a minute, and what is watched of them."""

    def __init__(self, settings: DataDrift = SETTINGS, seed: int = 1) -> None:
        self.settings = settings
        self.rng = np.random.default_rng(seed)
        self.states: dict[str, State] = {}
        self.steps: list[Step] = []
        self.notices: list[Notice] = []
        self._old: list[OldEmbedding] = []

    def send(self, draw: Draw, n_steps: int = 10, n: int = 100) -> list[Notice]:
        """Take in steps of `n` predictions; return what is noticed."""
        notices = []
        for _ in range(n_steps):
            start_us = len(self.steps) * MINUTE_US
            predictions = [
                replace(a_prediction(len(self.steps) * 1000 + at, start_us + at), **draw(self.rng))
                for at in range(n)
            ]
            step = Step(start_us + MINUTE_US, predictions)
            notices += self.take_in(step)
        return notices

    def take_in(self, step: Step) -> list[Notice]:
        """Follow one step, with the old embeddings that it needs."""
        embedding = self.states.get("embedding", EmbeddingState())
        assert isinstance(embedding, EmbeddingState)
        wanted = count_pairs(embedding, [step], self.settings)
        old = [each for each in self._old if (each.time_us, each.id) > (embedding.old_us, embedding.old_id)]
        self.states, notices = follow(self.states, [step], old[:wanted], self.settings, "m/1")
        self._old += [
            OldEmbedding(each.time_us, each.id, each.features)
            for each in step.predictions
            if isinstance(each.features, list)
        ]
        self.steps.append(step)
        self.notices += notices
        return notices


def a_prediction(number: int = 1, time_us: int = 1) -> Observed:
    """A prediction of which only the output is known."""
    return Observed(f"{number:032x}", time_us, None, None, None, 8, None, None)


def confident(mean: float) -> Draw:
    """Predictions with confidences around `mean`."""
    return lambda rng: {"confidence": float(np.clip(rng.normal(mean, 0.05), 0, 1))}


def answering(*shares: float) -> Draw:
    """Predictions whose outputs are the first letters, with these shares."""
    return lambda rng: {"output": f'"{chr(65 + int(rng.choice(len(shares), p=shares)))}"'}


def embedding(shift: float, n_dimensions: int = 16) -> Draw:
    """Embeddings of which the first dimension is shifted."""
    return lambda rng: {
        "features": [shift + float(rng.normal()), *rng.normal(size=n_dimensions - 1).tolist()]
    }


def watched(notices: list[Notice]) -> list[tuple[str, str]]:
    """What has moved and what is calm."""
    return [(notice.watched, notice.stage) for notice in notices]


class TestNumbers:
    def test_a_fall_is_noticed_once_with_its_time_and_medians_and_its_end_too(self) -> None:
        stream = Stream()
        assert stream.send(confident(0.9), 20) == []
        (moved,) = stream.send(confident(0.7), 20)
        assert (moved.watched, moved.stage, moved.time_us) == ("confidence", "moved", 21 * MINUTE_US)
        assert moved.state.course is not None
        assert moved.state.course.change is not None
        assert moved.state.course.change.since_us == 20 * MINUTE_US
        told = say_moved("confidence", moved.state, "card-reader 1")
        assert "The confidence of card-reader 1 has moved since 1970-01-01T00:20:00" in told
        assert "median 0.9 " in told or "median 0.90" in told or "median 0.89" in told
        assert "This alone opens no run" in told
        (calm,) = stream.send(confident(0.9), 10)
        assert (calm.watched, calm.stage) == ("confidence", "calm")
        assert "calm again: 400 values" in say_calm("confidence", calm.state, "card-reader 1", SETTINGS)
        assert stream.send(confident(0.9), 10) == []
        assert watched(stream.send(confident(0.7), 2)) == [("confidence", "moved")]

    def test_what_has_moved_stays_moved_and_what_it_is_held_to_stays_too(self) -> None:
        stream = Stream()
        stream.send(confident(0.9), 10)
        assert watched(stream.send(confident(0.7), 60)) == [("confidence", "moved")]
        (standing,) = [each for each in stand_all(stream.states, SETTINGS) if each.watched == "confidence"]
        assert standing.stage == "moved"
        assert standing.before is not None
        assert standing.since is not None
        assert standing.before[1] == pytest.approx(0.9, abs=0.02)
        assert standing.since[1] == pytest.approx(0.7, abs=0.02)
        assert standing.n_since == 6000

    def test_a_constant_that_changes_is_noticed_in_both_directions(self) -> None:
        for other in (4, 12):
            stream = Stream()
            assert stream.send(lambda _: {}, 10) == []
            (standing,) = [each for each in stand_all(stream.states, SETTINGS) if each.n and each.before]
            assert "always 8 characters so far" in standing.said
            assert watched(stream.send(lambda _, n=other: {"output_length": n}, 2)) == [
                ("output_length", "moved")
            ]

    def test_a_named_feature_is_watched_by_its_name_and_twenty_at_most(self) -> None:
        stream = Stream()
        names = [f"f{number:02}" for number in range(FEATURES + 5)]
        stream.send(lambda rng: {"features": {name: float(rng.normal()) for name in names}}, 8)
        features = [name for name in stream.states if name.startswith("features.")]
        assert features == [f"features.{name}" for name in names[:FEATURES]]
        assert call(features[0]) == "feature f00"
        moved = stream.send(lambda rng: {"features": {"f03": 5.0 + float(rng.normal())}}, 2)
        assert watched(moved) == [("features.f03", "moved")]

    def test_a_name_that_no_table_could_hold_is_not_watched(self) -> None:
        stream = Stream()
        stream.send(lambda _: {"features": {"a\x00b": 1.0, "x" * 300: 1.0, "ok": 1.0}}, 1)
        assert [name for name in stream.states if name.startswith("features.")] == ["features.ok"]

    def test_the_largest_numbers_leave_a_state_that_can_be_read(self) -> None:
        stream = Stream()
        stream.send(lambda rng: {"features": {"huge": float(rng.choice([-1.7e308, 1.7e308, 0.0]))}}, 10)
        state = stream.states["features.huge"]
        assert from_json("features.huge", to_json(state)) == state
        assert stand_all(stream.states, SETTINGS)

    def test_what_is_ignored_is_not_looked_at_and_says_so(self) -> None:
        stream = Stream(DataDrift(reference_predictions=400, ignored=["confidence"]))
        assert stream.send(confident(0.9), 10) + stream.send(confident(0.5), 10) == []
        said = {each.watched: each.said for each in stand_all(stream.states, stream.settings)}
        assert said["confidence"] == "Not watched: the settings say so (data_drift)."


class TestOutputs:
    def test_an_output_that_comes_more_often_is_noticed_without_its_text(self) -> None:
        stream = Stream()
        assert stream.send(answering(0.6, 0.3, 0.1), 20) == []
        (moved,) = stream.send(answering(0.45, 0.15, 0.4), 10)
        assert (moved.watched, moved.stage) == ("outputs", "moved")
        told = say_moved("outputs", moved.state, "m 1")
        assert "The outputs of m 1 have moved" in told
        assert "the one that was number 3 by frequency, 1" in told
        assert '"A"' not in to_json(moved.state)

    def test_an_output_that_was_never_there_is_noticed(self) -> None:
        stream = Stream()
        stream.send(answering(0.6, 0.3, 0.1), 10)
        (moved,) = stream.send(answering(0.4, 0.2, 0.1, 0.3), 10)
        assert "others than the 3 that came often, 0.0% -> " in say_moved("outputs", moved.state, "m 1")

    def test_outputs_that_never_repeat_are_followed_by_their_length_alone(self) -> None:
        stream = Stream()
        assert stream.send(lambda rng: {"output": f'"{rng.random()}"'}, 20) == []
        said = {each.watched: each.said for each in stand_all(stream.states, SETTINGS)}
        assert said["outputs"] == (
            "No output comes often enough to be followed: only how long outputs are is watched."
        )

    def test_long_outputs_are_one_category(self) -> None:
        stream = Stream()
        stream.send(lambda _: {"output": None}, 10)
        state = stream.states["outputs"]
        assert isinstance(state, OutputsState)
        assert state.categories == ()


class TestEmbeddings:
    SETTINGS = DataDrift(reference_predictions=200, tolerance=0.0)

    def test_a_shift_is_noticed_and_each_old_one_is_used_once(self) -> None:
        stream = Stream(self.SETTINGS)
        assert stream.send(embedding(0.0), 20) == []
        state = stream.states["embedding"]
        assert isinstance(state, EmbeddingState)
        # The first thousand wait, and the second thousand were each compared with one of them.
        assert (state.n, state.old_us) == (2000, 9 * MINUTE_US + 99)
        (moved,) = stream.send(embedding(1.0), 6)
        assert (moved.watched, moved.stage) == ("embedding", "moved")
        assert "new ones are told from earlier ones in" in say_moved("embedding", moved.state, "m 1")

    def test_another_length_is_left_out_and_counted(self) -> None:
        stream = Stream(self.SETTINGS)
        stream.send(embedding(0.0), 12)
        assert stream.send(embedding(9.0, n_dimensions=8), 3) == []
        assert stream.send(lambda _: {"features": []}, 1) == []
        said = {each.watched: each.said for each in stand_all(stream.states, self.SETTINGS)}
        assert "400 of another length than 16 were left out." in said["embedding"]

    def test_old_ones_that_are_gone_are_told(self) -> None:
        stream = Stream(self.SETTINGS)
        stream.send(embedding(0.0), 10)
        step = Step(11 * MINUTE_US, [replace(a_prediction(), features=[0.0] * 16)])
        states, _ = follow(stream.states, [step], [], self.SETTINGS, "m/1")
        said = {each.watched: each.said for each in stand_all(states, self.SETTINGS)}
        assert "1 were not compared: what they would be held to is not stored any more." in said["embedding"]

    def test_too_many_dimensions_are_not_watched(self) -> None:
        stream = Stream(self.SETTINGS)
        stream.send(lambda _: {"features": [0.0] * 5000}, 1, n=3)
        said = {each.watched: each.said for each in stand_all(stream.states, self.SETTINGS)}
        assert said["embedding"] == "Not watched: none of 3 has 1 to 4,096 dimensions."


class TestWhatIsMissing:
    def test_it_is_said_of_everything_why_there_is_no_number(self) -> None:
        assert {each.said for each in stand_all({}, SETTINGS)} == {"No prediction was looked at yet."}
        stream = Stream()
        stream.send(lambda _: {}, 1)
        said = {each.watched: each.said for each in stand_all(stream.states, SETTINGS)}
        assert said["confidence"] == "None of the 100 predictions that were looked at has a confidence."
        assert said["embedding"].endswith("has features that are a list of numbers.")
        assert said["output_length"] == "Learns what is usual: 100 of 400."

    def test_what_comes_no_more_says_since_when(self) -> None:
        stream = Stream()
        stream.send(confident(0.9), 10)
        late = replace(a_prediction(), time_us=3 * 86_400_000_000)
        stream.take_in(Step(3 * 86_400_000_000 + 1, [late]))
        said = {each.watched: each.said for each in stand_all(stream.states, SETTINGS)}
        assert "None came after 1970-01-01T00:09" in said["confidence"]

    def test_nothing_is_watched_where_the_settings_say_so(self) -> None:
        off = DataDrift(predictions_per_minute=0)
        assert {each.stage for each in stand_all({"confidence": NumberState(n=5)}, off)} == {None}


def mixed(rng: np.random.Generator) -> dict[str, Any]:
    """Fields of every kind, some of them missing."""
    return {
        "confidence": float(rng.choice([0.2, 0.9, 1.0])) if rng.random() < 0.8 else None,
        "latency_us": int(rng.lognormal(8, 1)),
        "output": f'"{rng.integers(3)}"',
        "features": rng.normal(size=4).tolist() if rng.random() < 0.5 else {"age": float(rng.normal())},
    }


@given(st.integers(0, 10**6), st.lists(st.integers(1, 90), min_size=3, max_size=6))
def test_a_replay_of_the_same_steps_gives_the_same_bits(seed: int, sizes: list[int]) -> None:
    settings = DataDrift(reference_predictions=100, events_per_false_alarm=10)
    first, second = Stream(settings, seed), Stream(settings, seed)
    for size in sizes:
        first.send(mixed, 1, size)
        second.send(mixed, 1, size)
        # What is stored in between changes nothing.
        second.states = {name: from_json(name, to_json(state)) for name, state in second.states.items()}
    assert {name: to_json(state) for name, state in first.states.items()} == {
        name: to_json(state) for name, state in second.states.items()
    }
    assert watched(first.notices) == watched(second.notices)


@given(st.integers(0, 10**6), st.sampled_from(["normal", "cauchy", "few values", "constant"]))
def test_what_is_exchangeable_hardly_ever_moves_whatever_its_distribution(seed: int, kind: str) -> None:
    draws: dict[str, Callable[[np.random.Generator], float]] = {
        "normal": lambda rng: float(rng.normal()),
        "cauchy": lambda rng: float(rng.standard_cauchy()),
        "few values": lambda rng: float(rng.choice([0.0, 1.0, 2.0], p=[0.9, 0.05, 0.05])),
        "constant": lambda _: 3.0,
    }
    stream = Stream(DataDrift(reference_predictions=100, events_per_false_alarm=1e9, tolerance=0.0), seed)
    # Forty examples with a thousand values of three things: a false alarm in all of them has a chance of 1 in 8,000.
    stream.send(lambda rng: {"features": {"x": draws[kind](rng)}, "output": f'"{rng.integers(4)}"'}, 4, 250)
    assert [name for name, _ in watched(stream.notices)] == []


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=200))
def test_quartiles_of_bins_lie_within_the_values_and_in_order(values: list[float]) -> None:
    edges = sorted(set(values))[: len(values) // 2]
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    low, median, high = spread_of(edges, counts.tolist(), min(values), max(values))
    assert min(values) <= low <= median <= high <= max(values)


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(Malformed, match="not the state of outputs"):
        from_json("outputs", to_json(NumberState(first=(1.0,))))
    with pytest.raises(Malformed, match="not the state of confidence"):
        from_json("confidence", "{")
    other = replace(make_moved_confidence(), course=Course.begin(3, 2))
    with pytest.raises(Malformed, match="it has other bets"):
        from_json("confidence", to_json(other))


def test_a_shorter_reference_is_taken_up_where_a_longer_one_was_begun() -> None:
    stream = Stream(DataDrift(reference_predictions=2000))
    stream.send(confident(0.9), 3)
    stream.settings = SETTINGS
    stream.send(confident(0.9), 3)
    state = stream.states["confidence"]
    assert isinstance(state, NumberState)
    # Those that were kept to choose the bins are enough by now; what came after them is counted.
    assert (state.n, state.first, sum(state.counts)) == (600, (), 300)
    assert watched(stream.send(confident(0.7), 3)) == [("confidence", "moved")]


def count_moves(settings: DataDrift, n_steps: int, seed: int) -> tuple[int, int]:
    """How often outputs that stay as they are moved, and how many of them were bet on while they were calm."""
    stream, n_moved, n_bet_on = Stream(settings, seed), 0, 0
    for _ in range(n_steps):
        before = stream.states.get("outputs", OutputsState())
        n_moved += ("outputs", "moved") in watched(stream.send(answering(0.5, 0.3, 0.15, 0.05), 1, 20))
        is_calm = before.course is None or before.course.stage == "calm"
        if is_calm and sum(before.counts) >= settings.reference_predictions * 0.75:
            n_bet_on += 20
    return n_moved, n_bet_on


def test_alarms_are_as_rare_as_the_level_after_the_first_one_too() -> None:
    settings = DataDrift(
        reference_predictions=100,
        events_per_false_alarm=300,
        tolerance=0.0,
        ignored=["confidence", "output_length"],
    )
    n_moved, n_bet_on = (
        sum(each) for each in zip(*(count_moves(settings, 250, seed) for seed in range(10)), strict=True)
    )
    # Held to what the bets had left of their past, they moved twice as often as the level says.
    assert n_bet_on > 20_000
    assert 5 < n_moved <= n_bet_on / 300


def test_what_is_calm_again_sets_a_new_reference_and_says_so() -> None:
    stream = Stream()
    stream.send(confident(0.9), 10)
    assert watched(stream.send(confident(0.7), 5)) == [("confidence", "moved")]
    while not any(notice.stage == "calm" for notice in stream.notices):
        stream.send(confident(0.9), 1)
    state = stream.states["confidence"]
    assert isinstance(state, NumberState)
    assert sum(state.counts) == 0
    stream.send(confident(0.6), 2)
    said = {each.watched: each.said for each in stand_all(stream.states, SETTINGS)}
    assert said["confidence"].startswith("Calm again; learns what is usual now: 200 of 300.")
    # That is what it is held to from now on.
    assert stream.send(confident(0.6), 10) == []
    assert watched(stream.send(confident(0.9), 2)) == [("confidence", "moved")]


@given(st.integers(0, 10**6), st.floats(0.0, 0.05))
def test_bets_are_fair_for_whatever_lies_within_the_tolerance(seed: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    places = (np.arange(1000) + 0.5) / 1000
    made = np.exp(bet_on_places(places, tolerance))
    # Any distribution whose total variation from a uniform one is the tolerance: mass goes from some places to others.
    others = rng.dirichlet(np.full(1000, 0.01))
    moved = 0.5 * np.abs(others - 1 / 1000).sum()
    near = 1 / 1000 + (others - 1 / 1000) * min(1.0, tolerance / moved)
    # The extremes are the worst.
    worst = np.full(1000, 1 / 1000)
    worst[: int(1000 * tolerance)] = 0
    worst[-1] += 1 - worst.sum()
    assert (near @ made <= 1 + 1e-4).all()
    assert (worst @ made <= 1 + 1e-4).all()
    assert (worst[::-1] @ made <= 1 + 1e-4).all()
