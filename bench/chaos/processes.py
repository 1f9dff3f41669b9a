"""The processes of a campaign: the composed worker as it is, a naive one, and verbs of the command, made to die.

They are forked from a process that has imported everything, so that a worker runs a tenth of a second after it
was asked for, and the campaign can kill many.
"""

import logging
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from bench.chaos.failpoints import Failpoints
from bench.chaos.schedule import Life
from errata.redaction import hide_patterns
from errata.settings import Settings

_NO_LIMIT_PAGES = 4_294_967_294


@dataclass(frozen=True, slots=True)
class Start:
    """What a process is to be: `kind` is worker, naive, replay, verify, or erase, which is of `subject`, or again."""

    kind: str
    settings: Settings
    life: Life
    directory: Path
    subject: str = ""


class Starter:
    """Forks processes on demand. It has to be made before this process has any thread."""

    def __init__(self) -> None:
        ours, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                ours.close()
                _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._pipe = ours
        self._ended: dict[int, int] = {}

    def start(self, start: Start) -> int:
        """Start a process and return its id."""
        self._pipe.send(start)
        while True:
            kind, pid, status = self._pipe.recv()
            if kind == "started":
                return int(pid)
            self._ended[pid] = status

    def poll(self, pid: int) -> int | None:
        """How the process ended, as waitpid tells it; None while it runs."""
        while self._pipe.poll():
            _, ended, status = self._pipe.recv()
            self._ended[ended] = status
        return self._ended.get(pid)

    def close(self) -> None:
        """End the starter, and every process of it that still runs."""
        self._pipe.close()
        os.waitpid(self._pid, 0)


def _serve(pipe: Connection) -> None:
    # It ends when the pipe does, and all that it started with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    running: set[int] = set()
    try:
        while True:
            if select.select([pipe], [], [], 0.05)[0]:
                start: Start = pipe.recv()
                pid = os.fork()
                if pid == 0:
                    _become(start, pipe)
                running.add(pid)
                pipe.send(("started", pid, 0))
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    running.discard(pid)
                    pipe.send(("ended", pid, status))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        for pid in running:
            os.kill(pid, signal.SIGKILL)


def _become(start: Start, pipe: Connection) -> None:
    """Run as a process of its own, and never return."""
    code = 1
    try:
        pipe.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        log = os.open(start.directory / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        logging.basicConfig(
            level=logging.WARNING, format=f"%(asctime)s {os.getpid()} %(name)s %(levelname)s %(message)s"
        )
        code = _RUN[start.kind](start)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run_worker(start: Start) -> int:
    """The composed worker as it is; only what it is put together from is wrapped."""
    import storage.intake
    import streams.driver
    import streams.worker
    from errata.command import compose
    from errata.command.session import now_us

    failpoints = _arm(start)
    run_worker = streams.worker.run_worker
    skew_us = int(start.life.skew_seconds * 1_000_000)

    def run_watched(settings: Settings, *, store_run: Callable[[Any], bool], **kwargs: Any) -> int:
        def store_and_perhaps_die(run: Any) -> bool:
            with failpoints.within("store"):
                is_to_pause = store_run(run)
            failpoints.reach("store: after commit")
            return is_to_pause

        return run_worker(settings, store_run=store_and_perhaps_die, **kwargs)

    compose.now_us = lambda: now_us() + skew_us  # type: ignore[attr-defined]
    storage.intake.sweep_orphans = failpoints.scoped("sweep", storage.intake.sweep_orphans)
    streams.worker.run_worker = run_watched
    failpoints.watch_kafka(streams.driver.ConsumerThread)
    _fill_disk_on_demand(start.directory / "disk full")
    return compose.run_composed_worker(start.settings, hide_patterns)


def _run_replay(start: Start) -> int:
    """`errata dead-letters replay`, until nothing is left to be sent."""
    from errata.command import replaying
    from errata.command.session import now_us
    from storage.database import open_database

    failpoints = _arm(start)
    send = replaying.Outlet.send

    def send_and_perhaps_die(outlet: Any, *args: Any) -> None:
        send(outlet, *args)
        outlet.wait()
        failpoints.reach("replay: after sending")

    replaying.Outlet.send = send_and_perhaps_die  # type: ignore[assignment,method-assign]
    database = open_database(start.settings.database.url)
    with failpoints.within("replay"):
        replaying.replay_dead_letters(start.settings, database, reason=None, limit=10_000, now_us=now_us())
    return 0


def _run_verify(start: Start) -> int:
    """`errata verify`."""
    from storage.database import open_database
    from storage.verify import verify

    failpoints = _arm(start)
    with failpoints.within("verify"):
        verify(open_database(start.settings.database.url), start.settings.models)
    return 0


def _run_erase(start: Start) -> int:
    """`errata erase SUBJECT`, or `errata erase --again` without a subject."""
    from errata.command.erase import erase_everybody_again, erase_everywhere
    from errata.command.session import now_us
    from storage.database import open_database

    failpoints = _arm(start)
    database, file = open_database(start.settings.database.url), Path(start.settings.retention.erasures_file)
    with failpoints.within("erase"):
        if start.subject:
            erase_everywhere(database, file, start.subject, [], now_us())
        else:
            erase_everybody_again(database, file)
    return 0


def _run_naive(start: Start) -> int:
    from bench.chaos.naive import run_naive_worker

    return run_naive_worker(start.settings)


_RUN: dict[str, Callable[[Start], int]] = {
    "worker": _run_worker,
    "naive": _run_naive,
    "replay": _run_replay,
    "verify": _run_verify,
    "erase": _run_erase,
}


def _arm(start: Start) -> Failpoints:
    failpoints = Failpoints(start.life.failpoint, start.life.hit, start.directory / "hits")
    failpoints.watch_database()
    return failpoints


def _fill_disk_on_demand(sign: Path) -> None:
    """While the file `sign` is there, SQLite finds the disk full."""

    def begins(c: Any) -> None:
        if c.dialect.name == "sqlite":
            raw = c.connection.dbapi_connection
            limit = raw.execute("PRAGMA page_count").fetchone()[0] if sign.exists() else _NO_LIMIT_PAGES
            raw.execute(f"PRAGMA max_page_count = {limit}")

    event.listen(Engine, "begin", begins)


def import_everything() -> None:
    """Import what the processes need, so that the forked ones need not."""
    for name in (
        "errata.command.compose",
        "errata.command.erase",
        "errata.command.replaying",
        "labeling.orders",
        "storage.erasing",
        "storage.intake",
        "storage.verify",
        "streams.outbox",
        "streams.watching",
        "streams.worker",
        "bench.chaos.naive",
    ):
        import_module(name)
