"""Measures versions on the same frozen examples: how far answers are off, how long they take, case by case.

It also holds them to what is required of the model, as far as that can be told before a release.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from errata.errors import Malformed
from errata.settings import Task
from quality.comparison import mean_difference_interval
from quality.distances import PPM, measure_distance
from quality.intervals import mean_interval, quantile_ranks
from quality.rates import Number
from quality.requirements import Checked, Requirement, check
from retrain.trainer import Network
from storage.records import Case, Change, Example, Portion, Scorecard

AT_ONCE: Final = 64
#: Single calls that are timed, after some that warm up.
TIMED_CALLS: Final = 100
WARM_UP_CALLS: Final = 3
#: What is measured offline for a requirement, and how it is called.
OFFLINE: Final = {
    "served_p95_ms": "Latency of one call on this machine, p95",
    "edit_rate": "Wrong, which stands for edited",
    "edit_distance": "Mean distance from the label",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a version answers to some examples, in their order."""

    outputs: list[Any]
    #: Distance of each output from its label.
    distance_ppm: npt.NDArray[np.int64]
    latency_us_p50: int | None
    latency_us_p95: int | None
    #: Every call that was timed.
    latencies_us: list[float]
    #: Examples per second answered AT_ONCE at a time.
    per_second: float | None


def measure(
    network: Network,
    examples: Sequence[Example],
    task: Task,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Measurement:
    """Ask `network` all `examples` in batches, and some of them one by one for the latency of a call.

    What it cannot answer, or answers with something that is no output of `task`, is wrong altogether.
    """
    if not examples:
        return Measurement([], np.zeros(0, np.int64), None, None, [], None)
    latencies_us = _time_calls(network, [example.input for example in examples[:TIMED_CALLS]], clock_ns)
    start_ns = clock_ns()
    outputs: list[Any] = []
    for first in range(0, len(examples), AT_ONCE):
        outputs += _answer(network, [example.input for example in examples[first : first + AT_ONCE]])
    seconds = max(clock_ns() - start_ns, 1) / 1e9
    distances = [
        _distance(task, output, example.label) for output, example in zip(outputs, examples, strict=True)
    ]
    return Measurement(
        outputs,
        np.array(distances, np.int64),
        round(float(np.quantile(latencies_us, 0.5))) if latencies_us else None,
        round(float(np.quantile(latencies_us, 0.95))) if latencies_us else None,
        latencies_us,
        len(examples) / seconds,
    )


def check_offline(
    requirements: Sequence[Requirement],
    measured: Measurement,
    groups: npt.NDArray[np.str_],
    *,
    is_graded: bool,
    seed: int,
) -> list[Checked]:
    """Hold a version to the requirements that frozen examples tell about.

    What users would edit is not known; an output that is wrong stands for it, except where answers are graded, as
    hardly any is equal to its label there. Predictions per second depend on how many machines serve.
    """
    distances = measured.distance_ppm / PPM
    found = {
        "served_p95_ms": _latency(measured.latencies_us),
        "edit_distance": _mean(distances, groups, seed),
    }
    if not is_graded:
        found["edit_rate"] = _mean((distances > 0).astype(np.float64), groups, seed)
    return [
        check(requirement, found[requirement.name], OFFLINE[requirement.name])
        for requirement in requirements
        if requirement.name in found
    ]


def make_scorecards(
    run_id: str, version: str, measured: Measurement, is_new: npt.NDArray[np.bool_]
) -> list[Scorecard]:
    """The scorecards of all examples, of those from before the change and of those from after it."""
    parts: list[tuple[Portion, npt.NDArray[np.bool_]]] = [
        ("all", np.ones(len(is_new), bool)),
        ("before", ~is_new),
        ("after", is_new),
    ]
    return [
        Scorecard(
            run_id=run_id,
            version=version,
            part=part,
            n=int(chosen.sum()),
            n_wrong=int((measured.distance_ppm[chosen] > 0).sum()),
            distance_ppm=int(measured.distance_ppm[chosen].sum()),
            latency_us_p50=measured.latency_us_p50,
            latency_us_p95=measured.latency_us_p95,
            per_second=measured.per_second,
        )
        for part, chosen in parts
    ]


def make_cases(
    run_id: str, examples: Sequence[Example], champion: Measurement, candidate: Measurement
) -> list[Case]:
    """Every example with both answers, and what the candidate changes."""
    return [
        Case(
            run_id=run_id,
            example_id=example.id,
            change=_name_change(int(before), int(after)),
            champion_output=champion.outputs[place],
            candidate_output=candidate.outputs[place],
            champion_ppm=int(before),
            candidate_ppm=int(after),
        )
        for place, (example, before, after) in enumerate(
            zip(examples, champion.distance_ppm, candidate.distance_ppm, strict=True)
        )
    ]


def _name_change(champion_ppm: int, candidate_ppm: int) -> Change:
    if champion_ppm:
        return "still_wrong" if candidate_ppm else "fixed"
    return "broken" if candidate_ppm else "still_right"


def _latency(latencies_us: Sequence[float]) -> Number:
    """The 95th percentile of the calls, with its interval where they are enough for one."""
    n = len(latencies_us)
    if not n:
        return Number(None, 0)
    ordered = np.sort(latencies_us)
    ranks = quantile_ranks(n, 0.95)
    low, high = (None, None) if ranks is None else (float(ordered[rank - 1]) for rank in ranks)
    return Number(float(np.quantile(ordered, 0.95)), n, low, high)


def _mean(values: npt.NDArray[np.float64], groups: npt.NDArray[np.str_], seed: int) -> Number:
    """The mean of values in 0..1, with the wider of two intervals: whole groups drawn anew, and each value by itself.

    Groups are what varies, but those that are all alike, such as all right, would seem to vary by nothing.
    """
    n = len(values)
    interval = mean_interval(n, float(values.sum()), float((values**2).sum()))
    if interval is None:
        return Number(None, 0)
    mean, low, high = mean_difference_interval(np.zeros(n), values, groups, seed=seed)
    return Number(mean, n, max(min(low, interval[0]), 0.0), min(max(high, interval[1]), 1.0))


def _time_calls(network: Network, inputs: Sequence[Any], clock_ns: Callable[[], int]) -> list[float]:
    """The time of each call with one input, in microseconds; refused inputs are not timed."""
    latencies_us = []
    for place, one in enumerate([*inputs[:WARM_UP_CALLS], *inputs]):
        start_ns = clock_ns()
        try:
            network.predict([one])
        except Malformed:
            continue
        if place >= WARM_UP_CALLS:
            latencies_us.append((clock_ns() - start_ns) / 1000)
    return latencies_us


def _answer(network: Network, inputs: Sequence[Any]) -> list[Any]:
    """The output of each input; None for those that the network refuses."""
    try:
        return [answer.output for answer in network.predict(inputs)]
    except Malformed:
        if len(inputs) == 1:
            return [None]
    return [output for one in inputs for output in _answer(network, [one])]


def _distance(task: Task, output: Any, label: Any) -> int:
    if output is None:
        return PPM
    try:
        return measure_distance(task, output, label)
    except Malformed:
        return PPM
