from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from errata.errors import Malformed
from errata.settings import Task
from quality.distances import PPM
from quality.requirements import Requirement
from retrain.scorecard import AT_ONCE, check_offline, make_cases, make_scorecards, measure
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


LATENCY = Requirement("served_p95_ms", 10_000)
RATE = Requirement("edit_rate", 0.1)
DISTANCE = Requirement("edit_distance", 0.1)


def alone(n: int) -> Any:
    """Each example in a group of its own."""
    return np.array([f"group-{place}" for place in range(n)])


def judged(
    measured: Any, *required: Requirement, groups: Any = None, is_graded: bool = False
) -> dict[str, str]:
    groups = alone(len(measured.outputs)) if groups is None else groups
    found = check_offline(required, measured, groups, is_graded=is_graded, seed=7)
    return {each.requirement.name: each.judgement for each in found}


def test_a_version_is_held_to_what_frozen_examples_tell_about() -> None:
    examples = examples_of(*[("a", "a")] * 300, *[("b", "x")] * 100)
    measured = measure(Echo(), examples, Task(), clock_ns=ticking(2_000_000))
    required = (LATENCY, RATE, DISTANCE, Requirement("qps", 1), Requirement("shown_p95_ms", 1))
    assert judged(measured, *required) == {
        "served_p95_ms": "pass",
        "edit_rate": "fail",
        "edit_distance": "fail",
    }
    # Hardly any translation is equal to its label.
    assert "edit_rate" not in judged(measured, RATE, DISTANCE, is_graded=True)


def test_a_slow_version_fails_and_few_calls_are_not_enough() -> None:
    slow = measure(Echo(), examples_of(*[("a", "a")] * 80), Task(), clock_ns=ticking(20_000_000))
    few = measure(Echo(), examples_of(*[("a", "a")] * 50), Task(), clock_ns=ticking(20_000_000))
    assert judged(slow, LATENCY) == {"served_p95_ms": "fail"}
    assert judged(few, LATENCY) == {"served_p95_ms": "not enough evidence"}
    [checked] = check_offline([LATENCY], slow, alone(80), is_graded=False, seed=7)
    assert checked.sentence.startswith(
        "Latency of one call on this machine, p95: 20.0 ms (20.0 ms to 20.0 ms, n 80)"
    )


def test_examples_of_few_people_prove_less_than_those_of_many() -> None:
    examples = examples_of(*[("a", "a")] * 320, *[("b", "x")] * 80)
    measured = measure(Echo(), examples, Task())
    assert judged(measured, RATE) == {"edit_rate": "fail"}
    people = np.array([f"person-{place // 40}" for place in range(400)])
    assert judged(measured, RATE, groups=people) == {"edit_rate": "not enough evidence"}


def test_all_right_is_not_proof_of_no_mistake_and_nothing_measured_proves_nothing() -> None:
    measured = measure(Echo(), examples_of(*[("a", "a")] * 30), Task())
    assert judged(measured, Requirement("edit_rate", 0.01)) == {"edit_rate": "not enough evidence"}
    assert set(judged(measure(Echo(), [], Task()), RATE, LATENCY).values()) == {"not enough evidence"}
