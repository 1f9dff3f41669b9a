"""One of river's detectors on the same kinds of streams; prints JSON. Runs in .venv-statistics."""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from river import drift

SEED, N_NULL, N_STREAMS = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
DETECTORS: dict[str, Callable[[], Any]] = {
    "ADWIN": drift.ADWIN,
    "Page-Hinkley": lambda: drift.PageHinkley(mode="up"),
    "DDM": drift.binary.DDM,
    "HDDM_A": drift.binary.HDDMA,
}


def count_alarms(detector: Any, values: list[int]) -> int:
    """How often a detector alarms."""
    alarms = 0
    for value in values:
        detector.update(value)
        alarms += detector.drift_detected
    return alarms


def first_alarm(make: Callable[[], Any], values: list[int], change_at: int) -> float:
    """Events after the change; an alarm before it starts the detector anew."""
    detector = make()
    for number, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            if number >= change_at:
                return float(number + 1 - change_at)
            detector = make()
    return float("inf")


def run(name: str) -> dict[str, Any]:
    """False alarms at every base rate and in a season, and delays, of one detector."""
    make = DETECTORS[name]
    alarms = {}
    for number, base in enumerate((0.01, 0.05, 0.2, 0.4)):
        rng = np.random.default_rng([SEED, number])
        values = (rng.random(N_NULL) < base).astype(int).tolist()
        alarms[f"{base:.0%}"] = 1e6 * count_alarms(make(), values) / N_NULL
    delays = {}
    for number, after in enumerate((0.06, 0.08, 0.12)):
        rng = np.random.default_rng([SEED, 100 + number])
        seen = []
        for _ in range(N_STREAMS):
            rate = np.where(np.arange(60_000) < 20_000, 0.05, after)
            seen.append(first_alarm(make, (rng.random(60_000) < rate).astype(int).tolist(), 20_000))
        median = float(np.median(seen))
        delays[f"5 to {100 * after:.0f} %"] = {
            "median": median if np.isfinite(median) else None,
            "missed": float(np.mean(np.isinf(seen))),
        }
    rng = np.random.default_rng([SEED, 200])
    swinging = 0.05 * (1 + 0.3 * np.sin(2 * np.pi * np.arange(N_NULL) / 48_000))
    values = (rng.random(N_NULL) < swinging).astype(int).tolist()
    return {
        "false_alarms_per_million": alarms,
        "delay_events": delays,
        "season": 1e6 * count_alarms(make(), values) / N_NULL,
    }


if __name__ == "__main__":
    json.dump(run(sys.argv[4]), sys.stdout)
