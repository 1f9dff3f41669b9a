"""`python -m bench.chaos --kills 50`: run a campaign and print what it came to as one line of JSON."""

import argparse
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.chaos.cell import CellReport, run_cell
from bench.chaos.databases import PostgresServer
from bench.chaos.processes import Starter, import_everything
from bench.chaos.schedule import DATABASES, CellPlan, Database, plan_campaign, plan_control
from errata.command.processes import raising_on_sigterm


def main(arguments: Sequence[str]) -> int:
    """Run a campaign; 0 if every promise was kept and the control failed."""
    options = _read(arguments)
    seed = options.seed if options.seed is not None else secrets.randbits(31)
    databases: tuple[Database, ...] = DATABASES if options.database == "both" else (options.database,)
    plans = plan_campaign(seed, options.kills, options.pauses, options.restores, databases)
    if options.cell is not None:
        plans = [plan for plan in plans if plan.seed == options.cell]
    control = plan_control(seed)
    options.directory.mkdir(parents=True, exist_ok=True)
    schedule = options.directory / f"schedule-{seed}.json"
    schedule.write_text(json.dumps([asdict(plan) for plan in [control, *plans]], indent=1))
    _say(f"seed {seed}: {len(plans)} cells; the schedule is in {schedule}")
    began = time.monotonic()
    reports = _run_all([control, *plans], options.at_once, options.directory)
    summary = summarise(reports, seed, time.monotonic() - began)
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0 if is_kept(reports) else 1


def summarise(reports: Sequence[CellReport], seed: int, seconds: float) -> dict[str, Any]:
    """The last line of a campaign."""
    ours = [report for report in reports if not report.is_control]
    failovers = sorted(each for report in ours for each in report.failovers_seconds)

    def total(name: str) -> int:
        return sum(getattr(report, name) for report in ours)

    def totals(name: str) -> dict[str, int]:
        return dict(sum((Counter(getattr(report, name)) for report in ours), Counter()))

    return {
        "kills": total("kills"),
        "sent": total("sent"),
        "lost": total("lost"),
        "double": total("double"),
        "wrong_windows": total("wrong_windows"),
        "dead_letters": total("dead_letters"),
        "dead_letters_missing": total("dead_letters_missing"),
        "dead_letters_wrong": total("dead_letters_wrong"),
        "ledger_wrong": total("ledger_wrong"),
        "verify_differences": total("verify_differences"),
        "failover_p50_s": _quantile(failovers, 0.5),
        "failover_p99_s": _quantile(failovers, 0.99),
        "failovers": len(failovers),
        "control_lost": sum(report.lost for report in reports if report.is_control),
        "control_double": sum(report.double for report in reports if report.is_control),
        "pauses": total("pauses"),
        "restores": total("restores"),
        "erasures": total("erasures"),
        "purged": total("purged"),
        "remaining": total("remaining"),
        "troubles": totals("troubles"),
        "failpoints": totals("failpoints"),
        "ended_by_themselves": totals("ended"),
        "swept": total("swept"),
        "errors": [report.error for report in reports if report.error],
        "seed": seed,
        "seconds": round(seconds, 1),
        "kills_per_minute": round(total("kills") / seconds * 60, 1),
    }


def is_kept(reports: Sequence[CellReport]) -> bool:
    """Whether nothing of ours differs, and the control shows that the faults were hard enough."""
    ours = [report for report in reports if not report.is_control]
    controls = [report for report in reports if report.is_control]
    return all(report.is_right() for report in ours) and all(
        report.lost + report.double > 0 and not report.error for report in controls
    )


def _quantile(values: Sequence[float], share: float) -> float | None:
    return round(values[min(len(values) - 1, int(share * len(values)))], 2) if values else None


def _run_all(plans: list[CellPlan], at_once: int, directory: Path) -> list[CellReport]:
    """Run the cells in lanes side by side, each lane in a process of its own."""
    import_everything()
    context = get_context("fork")
    results = context.Queue()
    lanes = [
        context.Process(target=_run_lane, args=(plans[lane::at_once], directory, results))
        for lane in range(min(at_once, len(plans)))
    ]
    for lane in lanes:
        lane.start()
    reports: list[CellReport] = []
    try:
        with raising_on_sigterm():
            while len(reports) < len(plans):
                report = results.get()
                reports.append(report)
                _say(f"{len(reports)}/{len(plans)} {json.dumps(asdict(report))}")
    except BaseException:
        for lane in lanes:
            lane.terminate()
        raise
    finally:
        for lane in lanes:
            lane.join()
    return reports


def _run_lane(plans: list[CellPlan], directory: Path, results: Any) -> None:
    starter = Starter()
    servers: list[PostgresServer] = []

    def server() -> PostgresServer:
        if not servers:
            servers.append(PostgresServer())
        return servers[0]

    try:
        with raising_on_sigterm():
            for plan in plans:
                results.put(run_cell(plan, starter, server, directory))
    finally:
        for each in servers:
            each.close()
        starter.close()


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pauses", type=int, default=None)
    parser.add_argument("--restores", type=int, default=None)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--database", choices=["both", "sqlite", "postgresql"], default="both")
    parser.add_argument("--at-once", type=int, default=4, help="cells that run side by side")
    parser.add_argument("--cell", type=int, help="only the cell with this seed, as it is in the schedule")
    parser.add_argument("--directory", type=Path, default=Path("var/chaos"))
    options = parser.parse_args(arguments)
    options.pauses = options.kills // 10 if options.pauses is None else options.pauses
    options.restores = options.kills // 10 if options.restores is None else options.restores
    return options


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
