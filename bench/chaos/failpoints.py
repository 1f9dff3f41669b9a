"""Places at which a process of the campaign kills itself, without a hook in the code that is tried.

They are reached from outside: SQLAlchemy's events, and wrappers around what the worker is put together from.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, event

P = ParamSpec("P")
R = TypeVar("R")


class Failpoints:
    """Counts how often the armed place is reached, and dies there at the nth time."""

    def __init__(self, name: str | None, hit: int, hits: Path) -> None:
        self._name = name
        self._left = hit
        self._hits = hits
        self._scope = threading.local()

    def reach(self, name: str) -> None:
        """Die here, if this is the place and the time."""
        if name != self._name:
            return
        self._left -= 1
        if self._left == 0:
            self._die()

    def _die(self) -> NoReturn:
        with self._hits.open("a") as file:
            file.write(f"{self._name}\n")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nobody survives this")

    @contextmanager
    def within(self, scope: str) -> Iterator[None]:
        """What happens to the database in this thread meanwhile belongs to `scope`."""
        self._scope.name = scope
        try:
            yield
        finally:
            self._scope.name = None

    def scoped(self, scope: str, act: Callable[P, R]) -> Callable[P, R]:
        """`act`, within `scope`."""

        @wraps(act)
        def act_within(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.within(scope):
                return act(*args, **kwargs)

        return act_within

    def watch_database(self) -> None:
        """Watch every engine of this process."""

        def begins(_c: Connection) -> None:
            self._reach("before begin")
            self._reach("in snapshot")

        def executes(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self._reach("in transaction")
            if "INSERT INTO intake_ledger" in statement:
                # The last statement but one: all that the events bring is stored by now.
                self._reach("after events")

        event.listen(Engine, "begin", begins)
        event.listen(Engine, "before_cursor_execute", executes)
        event.listen(Engine, "commit", lambda _c: self._reach("before commit"))

    def watch_kafka(self, thread: type[Any]) -> None:
        """Watch the commits of a consumer thread: the request is on its way when the process dies."""
        commit = thread._commit

        async def commit_or_die(self_: Any, offsets: Any) -> bool:
            committing = asyncio.ensure_future(commit(self_, offsets))
            await asyncio.sleep(0)
            self.reach("kafka: in commit")
            return bool(await committing)

        thread._commit = commit_or_die

    def _reach(self, point: str) -> None:
        scope = getattr(self._scope, "name", None)
        if scope is not None:
            self.reach(f"{scope}: {point}")
