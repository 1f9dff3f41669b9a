"""River's detectors and fixed-size window tests on the same kinds of streams; prints JSON. Runs in .venv-bench."""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from river import drift
from scipy.stats import ks_2samp

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


def run() -> dict[str, Any]:
    """Everything."""
    found: dict[str, Any] = {}
    for name, make in DETECTORS.items():
        alarms = {}
        for number, base in enumerate((0.01, 0.05, 0.2, 0.4)):
            rng = np.random.default_rng([SEED, number])
            alarms[f"{base:.0%}"] = (
                1e6 * count_alarms(make(), (rng.random(N_NULL) < base).astype(int).tolist()) / N_NULL
            )
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
        found[name] = {"false_alarms_per_million": alarms, "delay_events": delays}
    rng = np.random.default_rng([SEED, 200])
    swinging = 0.05 * (1 + 0.3 * np.sin(2 * np.pi * np.arange(N_NULL) / 48_000))
    values = (rng.random(N_NULL) < swinging).astype(int).tolist()
    found["season"] = {name: 1e6 * count_alarms(make(), values) / N_NULL for name, make in DETECTORS.items()}
    found["windows"] = compare_windows()
    return found


def compare_windows() -> dict[str, Any]:
    """The share of windows flagged by tests of a fixed size, of a number that stays and of one that shifts."""
    rng = np.random.default_rng([SEED, 300])
    reference = rng.normal(size=5000)
    edges = np.quantile(reference, np.arange(1, 10) / 10)
    expected = np.bincount(np.searchsorted(edges, reference), minlength=10) / len(reference)

    def psi(values: Any) -> float:
        share = np.maximum(np.bincount(np.searchsorted(edges, values), minlength=10) / len(values), 1e-4)
        return float(np.sum((share - expected) * np.log(share / expected)))

    found: dict[str, Any] = {}
    for name, shift in (("nothing", 0.0), ("0.2 sd", 0.2)):
        for n in (100, 1000, 5000):
            windows = [rng.normal(shift, size=n) for _ in range(100)]
            found[f"{name}, {n} values"] = {
                "PSI > 0.1": float(np.mean([psi(each) > 0.1 for each in windows])),
                "KS p < 0.05": float(np.mean([ks_2samp(reference, each).pvalue < 0.05 for each in windows])),
            }
    return found


if __name__ == "__main__":
    json.dump(run(), sys.stdout)
