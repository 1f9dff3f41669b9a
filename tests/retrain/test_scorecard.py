from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from errata.errors import Malformed
from errata.settings import Task
from quality.distances import PPM
from retrain.scorecard import AT_ONCE, make_cases, make_scorecards, measure
from retrain.trainer import Output
from storage.records import Example
from tests.records import make_example, number_id

RUN = number_id(1)


class Echo:
    """Answers with its input, refuses "refused", and remembers how it was asked."""

    def __init__(self, answers: dict[Any, Any] | None = None) -> None:
        self.answers = answers or {}
        self.sizes: list[int] = []

    def predict(self, inputs: Sequence[Any]) -> list[Output]:
        self.sizes.append(len(inputs))
        if "refused" in inputs:
            raise Malformed("refused", "cannot be read")
        return [Output(self.answers.get(each, each), 0.9, None) for each in inputs]


def examples_of(*pairs: tuple[Any, Any]) -> list[Example]:
    return [make_example(n, input=shown, label=label) for n, (shown, label) in enumerate(pairs)]


def ticking(step_ns: int) -> Any:
    def tick() -> Iterator[int]:
        now = 0
        while True:
            now += step_ns
            yield now

    ticks = tick()
    return lambda: next(ticks)


def test_each_answer_is_measured_by_the_task() -> None:
    measured = measure(Echo(), examples_of(("abcd", "abcd"), ("abcx", "abcd")), Task(kind="text"))
    assert measured.outputs == ["abcd", "abcx"]
    assert measured.distance_ppm.tolist() == [0, PPM // 4]


def test_a_refused_input_and_an_answer_of_a_wrong_type_are_wrong_altogether() -> None:
    examples = examples_of(("a", "a"), ("refused", "b"), ("c", "c"), ("d", "d"))
    measured = measure(Echo({"d": 17}), examples, Task(kind="text"))
    assert measured.outputs == ["a", None, "c", 17]
    assert measured.distance_ppm.tolist() == [0, PPM, 0, PPM]


def test_examples_are_asked_in_batches() -> None:
    network = Echo()
    measured = measure(network, examples_of(*[("a", "a")] * (2 * AT_ONCE + 5)), Task())
    assert [size for size in network.sizes if size > 1] == [AT_ONCE, AT_ONCE, 5]
    assert len(measured.outputs) == 2 * AT_ONCE + 5


def test_latency_is_of_one_call_and_throughput_of_batches() -> None:
    examples = examples_of(*[("a", "a")] * 10)
    measured = measure(Echo(), examples, Task(), clock_ns=ticking(2_000_000))
    assert (measured.latency_us_p50, measured.latency_us_p95) == (2000, 2000)
    assert measured.per_second == pytest.approx(10 / 0.002)


def test_nothing_to_measure_is_measured() -> None:
    measured = measure(Echo(), [], Task())
    assert (measured.outputs, measured.latency_us_p50, measured.per_second) == ([], None, None)
    cards = make_scorecards(RUN, "2", measured, np.zeros(0, bool))
    assert [card.n for card in cards] == [0, 0, 0]


def test_scorecards_split_before_from_after() -> None:
    measured = measure(Echo(), examples_of(("a", "a"), ("b", "x"), ("c", "x")), Task())
    cards = {card.part: card for card in make_scorecards(RUN, "2", measured, np.array([False, False, True]))}
    assert [(cards[part].n, cards[part].n_wrong) for part in ("all", "before", "after")] == [
        (3, 2),
        (2, 1),
        (1, 1),
    ]
    assert cards["all"].distance_ppm == 2 * PPM
    assert {(card.run_id, card.version) for card in cards.values()} == {(RUN, "2")}


def test_cases_show_what_is_fixed_and_what_is_broken() -> None:
    examples = examples_of(("fixed", "x"), ("broken", "broken"), ("wrong", "x"), ("right", "right"))
    champion = measure(Echo(), examples, Task())
    candidate = measure(Echo({"fixed": "x", "broken": "?"}), examples, Task())
    cases = make_cases(RUN, examples, champion, candidate)
    assert [case.change for case in cases] == ["fixed", "broken", "still_wrong", "still_right"]
    assert (cases[1].champion_output, cases[1].candidate_output, cases[1].candidate_ppm) == (
        "broken",
        "?",
        PPM,
    )
    assert [case.example_id for case in cases] == [example.id for example in examples]
