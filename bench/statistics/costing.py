"""What watching corrections costs: all that a worker computes of a step, for a thousand slices."""

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from errata.settings import Detector
from quality.drift import DetectorState, Matured, Singles, follow
from quality.evidence import add_counts, no_evidence, restart
from quality.past import PastState, follow_past
from quality.windows import ALL, MINUTE_US

N_SLICES: Final = 1000
#: Predictions of a minute.
STEP: Final = 1000
#: Horizons at which corrections are watched against a ceiling; without a level they are at the shortest alone.
N_HORIZONS: Final = 4
_N_DEVICES: Final = 10
_LEVEL: Final = 1e6


def run_costs(seed: int, n_steps: int = 60) -> dict[str, Any]:
    """Microseconds of the processor an event, and whether a replay gives the same bits.

    A backlog is taken in at once, a minute by itself: what is stored of a slice is read and written once in each.
    """
    names, steps = draw_steps(np.random.default_rng([seed, 1000]), n_steps)
    costs: dict[str, Any] = {"evidence alone": _measure_evidence(steps, names)}
    detector = Detector()

    def take_in_ceiling(
        states: dict[str, DetectorState], some: Sequence[Matured]
    ) -> dict[str, DetectorState]:
        return follow(states, some, detector, level=_LEVEL, warning_share=0.01)[0]

    def take_in_past(states: dict[str, PastState], some: Sequence[Matured]) -> dict[str, PastState]:
        return follow_past(states, some, level=_LEVEL, salt="1h/past")[0]

    is_identical = True
    for name, at_once in (("a backlog", n_steps), ("minute by minute", 1)):
        ceiling, first = _measure(dict.fromkeys(names, DetectorState()), take_in_ceiling, steps, at_once)
        past, second = _measure(dict.fromkeys(names, PastState()), take_in_past, steps, at_once)
        is_identical = is_identical and first and second
        costs[name] = {
            "with a ceiling": ceiling,
            "without a level": past,
            "all that watches corrections": round(N_HORIZONS * ceiling + past, 3),
        }
    return {"us_per_event": costs, "replay_is_identical": is_identical}


def draw_steps(rng: np.random.Generator, n_steps: int) -> tuple[list[str], list[Matured]]:
    """Names of all slices, and minutes of predictions: each of one of ten devices and one of many customers."""
    n_customers = N_SLICES - _N_DEVICES - 1
    devices = [f"device={number}" for number in range(_N_DEVICES)]
    customers = [f"customer={number}" for number in range(n_customers)]
    # A few customers send most of it.
    share = 1 / np.arange(1, n_customers + 1)
    slices: dict[tuple[int, int], tuple[str, str]] = {}
    steps = []
    for number in range(n_steps):
        of_device = rng.integers(0, _N_DEVICES, STEP).tolist()
        of_customer = rng.choice(n_customers, STEP, p=share / share.sum()).tolist()
        corrected = (rng.random(STEP) < 0.05).tolist()
        each = [
            slices.setdefault((device, customer), (devices[device], customers[customer]))
            for device, customer in zip(of_device, of_customer, strict=True)
        ]
        counts: dict[str, tuple[int, int]] = {}
        for names, is_corrected in zip(each, corrected, strict=True):
            for name in (ALL, *names):
                n, k = counts.get(name, (0, 0))
                counts[name] = n + 1, k + is_corrected
        ids = [str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(STEP)]
        start_us = number * MINUTE_US
        steps.append(Matured(start_us, start_us + MINUTE_US - 1, counts, Singles(ids, each, corrected)))
    return [ALL, *devices, *customers], steps


def _measure(
    begun: dict[str, Any],
    take_in: Callable[[dict[str, Any], Sequence[Matured]], dict[str, Any]],
    steps: Sequence[Matured],
    at_once: int,
) -> tuple[float, bool]:
    """The least of three times, and whether all three gave the same states."""
    seconds, ends = [], []
    for _ in range(3):
        states = begun
        started = time.process_time()
        for first in range(0, len(steps), at_once):
            states = take_in(states, steps[first : first + at_once])
        seconds.append(time.process_time() - started)
        ends.append([state.to_json() for state in states.values()])
    return round(1e6 * min(seconds) / (STEP * len(steps)), 3), ends[0] == ends[1] == ends[2]


def _measure_evidence(steps: Sequence[Matured], names: Sequence[str]) -> float:
    """The same for the detector with a level alone, from arrays to arrays."""
    n, k = (
        np.array([[step.counts.get(name, (0, 0))[at] for name in names] for step in steps]) for at in (0, 1)
    )
    seconds = []
    for _ in range(3):
        log_r = no_evidence(len(names))
        started = time.process_time()
        for events, corrections in zip(n, k, strict=True):
            log_r, _ = restart(add_counts(log_r, events, corrections, np.full(len(names), 0.05)), _LEVEL)
        seconds.append(time.process_time() - started)
    return round(1e6 * min(seconds) / (STEP * len(steps)), 3)
