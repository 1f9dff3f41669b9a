"""Runs the laboratory: prints JSON as its last line and writes docs/statistics.md.

SCALE multiplies the number of events (1: forty million at each base rate), SEED makes another draw, WORKERS parts run
side by side, and DATA names the directory of the real files (bench/statistics/real_data.py). The libraries that the
detectors are compared with run in .venv-statistics.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.statistics import auditing, costing, data_drifting, detecting, estimating
from bench.statistics.real_data import run_real
from bench.statistics.report import RIVER, write_report

_ROOT: Final = Path(__file__).parents[2]
_OTHERS: Final = _ROOT / ".venv-statistics" / "bin" / "python"


def main() -> None:
    """Run every part and report."""
    seed, scale = int(os.environ.get("SEED") or 1), float(os.environ.get("SCALE") or 1)
    n_workers = int(os.environ.get("WORKERS") or 2)
    started = time.monotonic()
    # Costs are measured while nothing else runs.
    found: dict[str, Any] = {"seed": seed, "scale": scale, "costs": costing.run_costs(seed)}
    with ProcessPoolExecutor(n_workers) as pool:
        running = {pool.submit(_measure, part): name for name, part in _parts(seed, scale).items()}
        for done in as_completed(running):
            name = running[done]
            found[name], seconds = done.result()
            sys.stderr.write(f"{name}: {seconds:.1f} s\n")
    found["minutes"] = round((time.monotonic() - started) / 60, 1)
    found["workers"] = n_workers
    write_report(found, _ROOT / "docs" / "statistics.md")
    sys.stdout.write(json.dumps(found) + "\n")


def _parts(seed: int, scale: float) -> dict[str, Callable[[], Any]]:
    """Every part that is no matter of time, the longest first, so that they end at about the same time."""

    def scaled(number: float, least: int = 20) -> int:
        return max(round(number * scale), least)

    many, some = scaled(40e6, 100_000), scaled(10e6, 100_000)
    return {
        **{
            name: partial(_run_others, "baselines", seed, scaled(2e6, 50_000), scaled(60, 4), name)
            for name in RIVER
        },
        "numbers": partial(data_drifting.run_numbers, seed, some, scaled(60, 4)),
        "embeddings": partial(data_drifting.run_embeddings, seed, some // 5, scaled(60, 4)),
        "outputs": partial(data_drifting.run_outputs, seed, some, scaled(60, 4)),
        "unknown": partial(detecting.run_levels, seed, many, "level unknown"),
        "known": partial(detecting.run_levels, seed, many, "level known"),
        "seasons": partial(detecting.run_seasons, seed, many),
        "sessions": partial(detecting.run_sessions, seed, many),
        "audits": partial(estimating.run_audits, seed, scaled(1000)),
        "audit_drift": partial(auditing.run_audit_drift, seed, many, scaled(400)),
        "windows": partial(_run_others, "windows", seed, scaled(100)),
        "performance": partial(_run_others, "performance", seed, scaled(10, 2)),
        "intervals": partial(estimating.run_intervals, seed, scaled(2000), 1_000_000),
        "residuals": partial(estimating.run_residuals, seed, scaled(40, 4)),
        "fresh": partial(estimating.run_fresh, seed, scaled(5e6, 100_000)),
        "late_labels": partial(estimating.run_late_labels, seed, scaled(400)),
        "real": partial(_run_real, seed),
    }


def _measure(part: Callable[[], Any]) -> tuple[Any, float]:
    started = time.monotonic()
    return part(), time.monotonic() - started


def _run_others(name: str, *arguments: object) -> dict[str, Any]:
    """What a file beside this one prints, run by the libraries that it compares with."""
    file = str(Path(__file__).with_name(f"{name}.py"))
    # They would tell their makers that they are used.
    quiet = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
    told = subprocess.run(
        [str(_OTHERS), "-W", "ignore", file, *map(str, arguments)],
        env={**os.environ, **quiet},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def _run_real(seed: int) -> dict[str, Any]:
    directory = os.environ.get("DATA")
    if not directory:
        return {"skipped": "DATA names no directory with the real files"}
    return run_real(Path(directory), seed)


if __name__ == "__main__":
    main()
