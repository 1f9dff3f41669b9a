"""Runs the laboratory: prints JSON as its last line and writes docs/statistics.md.

SCALE multiplies the number of events (1: forty million at each base rate), SEED makes another draw, and DATA names the
directory of the real files (bench/statistics/real_data.py). River runs in .venv-bench.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.statistics import auditing, data_drifting, detecting, estimating
from bench.statistics.real_data import run_real
from bench.statistics.report import write_report

_ROOT: Final = Path(__file__).parents[2]
_OTHERS: Final = _ROOT / ".venv-bench" / "bin" / "python"


def main() -> None:
    """Run every part and report."""
    seed, scale = int(os.environ.get("SEED") or 1), float(os.environ.get("SCALE") or 1)

    def scaled(number: float, least: int = 20) -> int:
        return max(round(number * scale), least)

    parts: dict[str, Callable[[], Any]] = {
        "levels": lambda: detecting.run_levels(seed, scaled(40e6, 100_000)),
        "seasons": lambda: detecting.run_seasons(seed, scaled(40e6, 100_000)),
        "sessions": lambda: detecting.run_sessions(seed, scaled(40e6, 100_000)),
        "data_drift": lambda: data_drifting.run_data_drift(seed, scaled(10e6, 100_000), scaled(60, 4)),
        "intervals": lambda: estimating.run_intervals(seed, scaled(2000), 1_000_000),
        "fresh": lambda: estimating.run_fresh(seed, scaled(5e6, 100_000)),
        "late_labels": lambda: estimating.run_late_labels(seed, scaled(400)),
        "audits": lambda: estimating.run_audits(seed, scaled(1000)),
        "audit_drift": lambda: auditing.run_audit_drift(seed, scaled(40e6, 100_000), scaled(400)),
        "residuals": lambda: estimating.run_residuals(seed, scaled(40, 4)),
        "costs": lambda: estimating.run_costs(seed),
        "baselines": lambda: _run_baselines(seed, scaled(2e6, 50_000), scaled(60, 4)),
        "real": lambda: _run_real(seed),
    }
    found: dict[str, Any] = {"seed": seed, "scale": scale}
    for name, run in parts.items():
        started = time.monotonic()
        found[name] = run()
        sys.stderr.write(f"{name}: {time.monotonic() - started:.1f} s\n")
    write_report(found, _ROOT / "docs" / "statistics.md")
    sys.stdout.write(json.dumps(found) + "\n")


def _run_baselines(seed: int, n_null: int, n_streams: int) -> dict[str, Any]:
    arguments = [
        str(_OTHERS),
        str(Path(__file__).with_name("baselines.py")),
        *map(str, (seed, n_null, n_streams)),
    ]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def _run_real(seed: int) -> dict[str, Any]:
    directory = os.environ.get("DATA")
    if not directory:
        return {"skipped": "DATA names no directory with the real files"}
    return run_real(Path(directory), seed)


if __name__ == "__main__":
    main()
