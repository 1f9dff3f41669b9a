"""Errata as a contestant: real worker processes, composed and set as in production, and `errata verify` after."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import func, select

from bench.intake.events import MODELS
from errata.command.processes import Children, errata_command
from errata.errors import Stop, Unavailable
from errata.settings import Model
from storage.database import Database, open_database
from storage.tables import intake_ledger

_POLL_SECONDS: Final = 0.02
#: A worker that has not stored anything for this long will not.
_STALLED_SECONDS: Final = 120.0


class Measured(msgspec.Struct, frozen=True):
    """How many events were stored in how many seconds."""

    n_events: int
    seconds: float

    @property
    def per_s(self) -> float:
        """The rate."""
        return self.n_events / self.seconds


def measure_workers(
    directory: Path, bootstrap: str, url: str, *, n_workers: int, n_events: int, group: str
) -> Measured:
    """Let workers store into the migrated database at `url` until its ledger has `n_events` more than now.

    The clock runs from the moment at which the last of the workers began its first transaction, and what was
    stored before that is not counted. Raises Stop when a worker ends or stalls.
    """
    environ = worker_environ(directory, bootstrap, url, group)
    children = Children(directory / "log", environ)
    database = open_database(url)
    try:
        for number in range(n_workers):
            children.start(f"{group}-{number}", errata_command("worker"))
        _wait_until_stored(database, n_events, children)
        ended_us = time.time_ns() // 1000
        return _measure(database, ended_us, n_workers)
    finally:
        children.stop_all()
        database.close()


def check_numbers(directory: Path, bootstrap: str, url: str) -> dict[str, int]:
    """Run `errata verify`; return what it counted. Raises Stop if anything differs."""
    environ = worker_environ(directory, bootstrap, url, "verify")
    told = subprocess.run(
        errata_command("verify", "--json"), check=False, env=environ, capture_output=True, text=True
    )
    if told.returncode != 0:
        raise Stop(f"errata verify found differences: {told.stdout[:2000]}{told.stderr[-2000:]}")
    checked: dict[str, int] = json.loads(told.stdout)["checked"]
    return checked


def worker_environ(directory: Path, bootstrap: str, url: str, group: str) -> dict[str, str]:
    """The environment of a worker: all settings as they come but for addresses, models and metrics."""
    settings = directory / "errata.toml"
    settings.write_text(
        "".join(f"[models.{name}]\ntask = {_toml(model)}\n" for name, model in MODELS.items())
    )
    return dict(os.environ) | {
        "ERRATA_SETTINGS": str(settings),
        "ERRATA_BROKER__BOOTSTRAP": bootstrap,
        # Tansu takes half of it to let a worker join.
        "ERRATA_BROKER__REBALANCE_TIMEOUT_SECONDS": "10.0",
        "ERRATA_DATABASE__URL": url,
        "ERRATA_ARTIFACTS__DIRECTORY": str(directory / "artifacts"),
        "ERRATA_WORKER__GROUP": group,
        "ERRATA_WORKER__METRICS_PORT": "0",
    }


def _toml(model: Model) -> str:
    """The task of a model as an inline table of TOML."""

    def write(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {write(each)}" for name, each in value.items()) + " }"
        return json.dumps(value)

    return write(msgspec.to_builtins(model.task))


def _wait_until_stored(database: Database, n_events: int, children: Children) -> None:
    wanted = _count_events(database) + n_events
    stored, changed_at = 0, time.monotonic()
    while stored < wanted:
        time.sleep(_POLL_SECONDS)
        children.check()
        before, stored = stored, _count_events(database)
        if stored != before:
            changed_at = time.monotonic()
        elif time.monotonic() - changed_at > _STALLED_SECONDS:
            raise Unavailable(f"the workers stopped at {stored:,} of {wanted:,} events")


def _count_events(database: Database) -> int:
    with database.read() as c:
        return int(c.scalar(select(func.sum(intake_ledger.c.n))) or 0)


def _measure(database: Database, ended_us: int, n_workers: int) -> Measured:
    ledger = intake_ledger.c
    with database.read() as c:
        begun = [
            int(row.begun_us)
            for row in c.execute(select(func.min(ledger.stored_us).label("begun_us")).group_by(ledger.worker))
        ]
        if len(begun) != n_workers:
            raise Stop(f"{len(begun)} of {n_workers} workers stored anything: take more events")
        started_us = max(begun)
        n_counted = int(c.scalar(select(func.sum(ledger.n)).where(ledger.stored_us >= started_us)) or 0)
    return Measured(n_counted, (ended_us - started_us) / 1_000_000)
