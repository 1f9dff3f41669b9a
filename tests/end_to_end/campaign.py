"""`make chaos-model`: many random histories (tests/end_to_end/history.py), in several processes.

`python -m tests.end_to_end.campaign --steps 100000` prints as its last line what it came to; one seed and number of
processes make the same histories again.
"""

import argparse
import gc
import json
import os
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.end_to_end.history import IntakeHistory

#: Histories that are made of one seed: also how often is told how far it is.
HISTORIES_AT_ONCE = 100


@dataclass(frozen=True)
class Share:
    """What one process has to do, or has done."""

    seed: int
    steps: int
    histories: int = 0
    failures: int = 0


def run_share(share: Share) -> Share:
    """Run histories until there are enough steps, or one fails; that one is told on stderr, made short."""
    # A history makes and drops thousands of objects in cycles: looked for seldom, they take a sixth less of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    began = time.monotonic()
    n_histories, IntakeHistory.n_steps = 0, 0
    while IntakeHistory.n_steps < share.steps:
        seed(share.seed + n_histories)(IntakeHistory)
        try:
            run_state_machine_as_test(
                IntakeHistory,
                settings=settings(
                    max_examples=HISTORIES_AT_ONCE,
                    stateful_step_count=50,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except Exception:
            traceback.print_exc()
            return Share(share.seed, IntakeHistory.n_steps, n_histories, failures=1)
        n_histories += HISTORIES_AT_ONCE
        seconds = time.monotonic() - began
        sys.stderr.write(f"seed {share.seed}: {IntakeHistory.n_steps} steps in {seconds:.0f} s\n")
    return Share(share.seed, IntakeHistory.n_steps, n_histories)


def draw_seeds(first: int, n: int) -> list[int]:
    """One seed for each process, so far from each other that what they count up to never meets."""
    return [first + number * 1_000_000_007 for number in range(n)]


def work_below(directory: str) -> None:
    """Have this process make its files in `directory`: a worker of a pool ends without removing what it made."""
    tempfile.tempdir = directory


def main(arguments: Sequence[str]) -> int:
    """Run a campaign; 0 if no history failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(31))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args(arguments)
    began = time.monotonic()
    n_each = -(-options.steps // options.processes)
    shares = [Share(number, n_each) for number in draw_seeds(options.seed, options.processes)]
    with (
        tempfile.TemporaryDirectory(prefix="errata-campaign-") as directory,
        get_context("spawn").Pool(options.processes, work_below, (directory,)) as pool,
    ):
        done = pool.map(run_share, shares, chunksize=1)
    summary = {
        "steps": sum(share.steps for share in done),
        "histories": sum(share.histories for share in done),
        "failures": sum(share.failures for share in done),
        "seed": options.seed,
        "processes": options.processes,
        "seconds": round(time.monotonic() - began, 1),
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return int(summary["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
