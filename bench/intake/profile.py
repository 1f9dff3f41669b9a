"""Where the time of the intake goes, per stage and event: `make bench-intake-profile`.

Decodes and applies prepared fetched runs in this process, without a broker, on each database in turn. EVENTS sets
how many.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from bench.intake.events import MODELS, make_batches, make_events, share_out
from bench.intake.runs import make_runs
from bench.intake.servers import fresh_database, running_durable_postgres
from bench.intake.stages import Stopwatch, watched
from storage.database import migrate, open_database
from storage.intake import apply
from streams.decoding import decode_run
from streams.driver import FetchedRun

_SEED: Final = 1


def profile(url: str, runs: Sequence[FetchedRun], now_us: int) -> tuple[int, float, Stopwatch, list[str]]:
    """Apply `runs` to the empty database at `url`; return events, seconds, the stopwatch, and what it missed."""
    migrate(url)
    database, stopwatch, n_events = open_database(url), Stopwatch(), 0
    try:
        with watched(stopwatch) as missing:
            started = time.perf_counter()
            for run in runs:
                arrival = decode_run(run, now_us)
                n_events += apply(
                    database,
                    arrival,
                    models=MODELS,
                    slice_values_per_hour=200,
                    worker="bench",
                    now_us=now_us,
                ).n
            seconds = time.perf_counter() - started
    finally:
        database.close()
    return n_events, seconds, stopwatch, missing


def main() -> None:
    """Print a table for each database, and as the last line the same numbers as JSON."""
    n_events = int(os.environ.get("EVENTS", "200000"))
    now_us = time.time_ns() // 1000
    runs = list(make_runs(make_batches(make_events(share_out(n_events, seed=_SEED, end_us=now_us)))))
    sys.stderr.write(f"{n_events} events in {len(runs)} fetched runs\n")
    found = {}
    with running_durable_postgres() as postgres_url:
        for kind in ("postgresql", "sqlite"):
            with fresh_database(kind, postgres_url) as url:
                n, seconds, stopwatch, missing = profile(url, runs, now_us)
            stages = {
                stage: round(1e6 * spent / n, 3)
                for stage, spent in sorted(stopwatch.seconds.items(), key=lambda item: -item[1])
            }
            sys.stdout.write(f"\n{kind}: {n / seconds:,.0f} events/s, {1e6 * seconds / n:.2f} us an event\n")
            for stage, spent_us in stages.items():
                sys.stdout.write(f"{spent_us:9.3f} us  {stopwatch.calls[stage]:>8} calls  {stage}\n")
            for path in missing:
                sys.stdout.write(f"    not found, its time is its caller's: {path}\n")
            found[kind] = {"events_per_s": round(n / seconds), "us_per_event": stages}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
