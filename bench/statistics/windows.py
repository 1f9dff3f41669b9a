"""Evidently's tests of windows of a fixed size, of a number that stays and of one that shifts; prints JSON.

Runs in .venv-statistics. The columns are the test that Evidently chooses by itself for a reference of this size, and
two that it is often told to use, each at its own threshold.
"""

import json
import sys
from typing import Any

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

SEED, N_WINDOWS = int(sys.argv[1]), int(sys.argv[2])
N_REFERENCE = 5000
TESTS = {"default": None, "PSI": "psi", "KS": "ks"}
#: Of this one the value is a p-value, of the others a distance.
_BY_P_VALUE = "KS"


def as_dataset(values: Any) -> Dataset:
    """A data set of one number."""
    return Dataset.from_pandas(
        pd.DataFrame({"x": values}), data_definition=DataDefinition(numerical_columns=["x"])
    )


def run() -> dict[str, Any]:
    """The share of windows that each test flags, and how many false alarms a million values that makes."""
    rng = np.random.default_rng([SEED, 300])
    reference = as_dataset(rng.normal(size=N_REFERENCE))
    report = Report(
        [ValueDrift(column="x", **({"method": method} if method else {})) for method in TESTS.values()]
    )
    found: dict[str, Any] = {}
    for name, shift in (("nothing", 0.0), ("0.2 sd", 0.2)):
        for n in (100, 1000, 5000):
            flags = dict.fromkeys(TESTS, 0)
            for _ in range(N_WINDOWS):
                told = report.run(as_dataset(rng.normal(shift, size=n)), reference).dict()["metrics"]
                for test, each in zip(TESTS, told, strict=True):
                    value, threshold = each["value"], each["config"]["threshold"]
                    flags[test] += bool(value < threshold if test == _BY_P_VALUE else value >= threshold)
            found[f"{name}, {n} values"] = {
                test: {
                    "flagged": flag / N_WINDOWS,
                    "per_million": round(1e6 * flag / N_WINDOWS / n) if shift == 0.0 else None,
                }
                for test, flag in flags.items()
            }
    return found


if __name__ == "__main__":
    json.dump(run(), sys.stdout)
