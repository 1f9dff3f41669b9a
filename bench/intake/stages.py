"""Where the time goes: a stopwatch for stages that call each other, and the functions and statements it watches."""

import functools
import importlib
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

#: The functions of each stage. One that is gone or renamed is reported, and its time is its caller's.
FUNCTIONS: Final[Mapping[str, Sequence[str]]] = {
    "decode": ("streams.decoding:decode_run",),
    "apply": ("storage.intake:apply",),
    "slices": ("storage.slices:assign_slices",),
    "rows": ("storage.facts:prediction_columns", "storage.facts:feedback_columns"),
    "insert": (
        "storage.insertion:list_seen",
        "storage.insertion:insert_by_id",
        "storage.insertion:insert_columns",
        "storage.insertion:insert_new",
    ),
    "pairing": ("storage.pairing:pair",),
    "distances": ("quality.distances:measure_distance",),
    "windows": ("storage.windows:add_to_windows",),
}

_ROOMS: Final = ("__main__", "bench", "errata", "quality", "storage", "streams")
_TABLE: Final = re.compile(r"\b(insert into|update|delete from|from|copy)\s+([\w\"]+)", re.IGNORECASE)


class Stopwatch:
    """Gives every moment to the innermost stage that is running."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._clock = clock
        self._running: list[str] = []
        self._since = 0.0

    def start(self, stage: str) -> None:
        """Begin a stage; the one that was running waits."""
        self._charge()
        self._running.append(stage)
        self.calls[stage] += 1

    def stop(self) -> None:
        """End the stage that is running."""
        self._charge()
        self._running.pop()

    @property
    def running(self) -> str:
        """The stage that is running, or an empty text."""
        return self._running[-1] if self._running else ""

    def watching(self, function: Callable[..., Any], stage: Callable[..., str]) -> Callable[..., Any]:
        """`function`, timed as the stage that `stage` makes of its arguments."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.start(stage(*args))
            try:
                return function(*args, **kwargs)
            finally:
                self.stop()

        return timed

    def _charge(self) -> None:
        now = self._clock()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


@contextmanager
def watched(stopwatch: Stopwatch) -> Iterator[list[str]]:
    """Within, the stages are timed by `stopwatch`; yields the functions that were not found."""
    undo: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, value: Any) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    missing = []
    for stage, paths in FUNCTIONS.items():
        for path in paths:
            module, name = path.split(":")
            function = getattr(importlib.import_module(module), name, None)
            if function is None:
                missing.append(path)
                continue
            timed = stopwatch.watching(function, lambda *_, stage=stage: stage)
            for owner in _importers_of(name, function):
                replace(owner, name, timed)
    for owner, name, said in (
        (DefaultDialect, "do_commit", "commit"),
        (psycopg.Copy, "write", "copy"),
        (psycopg.Copy, "write_row", "copy"),
        (psycopg.Copy, "__exit__", "copy"),
    ):
        timed = stopwatch.watching(
            getattr(owner, name),
            lambda *_, said=said: said if said == "commit" else f"{stopwatch.running} / {said}",
        )
        replace(owner, name, timed)
    before, after = _statement_watchers(stopwatch)
    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    try:
        yield missing
    finally:
        event.remove(Engine, "before_cursor_execute", before)
        event.remove(Engine, "after_cursor_execute", after)
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


def _importers_of(name: str, function: Any) -> list[Any]:
    """The modules of the house that call `function` by its name."""
    return [
        module
        for path, module in list(sys.modules.items())
        if path.split(".")[0] in _ROOMS and getattr(module, name, None) is function
    ]


def _statement_watchers(stopwatch: Stopwatch) -> tuple[Callable[..., None], Callable[..., None]]:
    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        stopwatch.start(f"{stopwatch.running} / {_name(statement)}")

    def after(*_: Any) -> None:
        stopwatch.stop()

    return before, after


def _name(statement: str) -> str:
    """A statement as its first word and its table."""
    verb = statement.split(None, 1)[0].lower()
    found = _TABLE.search(statement)
    return f"{verb} {found[2]}" if found else verb
