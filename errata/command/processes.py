"""Children of one command: started together, watched, and stopped together, and nothing else is stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from errata.errors import Stop


@dataclass(frozen=True, slots=True)
class Child:
    """A process we started; `log` has all that it printed."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    #: How long it may take to end after it was asked to; then it is ended by force.
    patience_seconds: float
    #: Whether its work ends by itself.
    may_end: bool = False

    def last_lines(self, count: int = 15) -> str:
        """The end of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-count:])


class Children:
    """The processes of one command.

    Each child leads a process group of its own, so that Ctrl-C in the terminal reaches only the command, which then
    stops its children in the reverse order of their start.
    """

    def __init__(self, log_directory: Path, environ: Mapping[str, str]) -> None:
        self._logs = log_directory
        self._environ = dict(environ)
        self._children: list[Child] = []
        log_directory.mkdir(parents=True, exist_ok=True)

    def start(
        self, name: str, arguments: Sequence[str], *, patience_seconds: float = 40.0, may_end: bool = False
    ) -> Child:
        """Start `arguments` with its output in LOGS/name.log."""
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environ,
                start_new_session=True,
            )
        return self._add(Child(name, process, log, patience_seconds, may_end))

    def adopt(self, name: str, process: subprocess.Popen[bytes], log: Path, patience_seconds: float) -> Child:
        """Watch and stop a process that something else started for us."""
        return self._add(Child(name, process, log, patience_seconds))

    def _add(self, child: Child) -> Child:
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise Stop if a child has ended before its work was done, with the end of its log."""
        for child in self._children:
            code = child.process.poll()
            if code is not None and not (code == 0 and child.may_end):
                raise Stop(
                    f"{child.name} ended with status {code}; the end of {child.log}:\n{child.last_lines()}"
                )

    def stop_one(self, name: str) -> int | None:
        """Ask the child to end, wait, end it by force only when its time is up, and return its exit status."""
        child = next(child for child in self._children if child.name == name)
        self._children.remove(child)
        return _stop(child.process, child.patience_seconds)

    def stop_all(self) -> None:
        """Stop every child, last started first; all at once by force when interrupted meanwhile."""
        try:
            while self._children:
                child = self._children[-1]
                _stop(child.process, child.patience_seconds)
                self._children.pop()
        finally:
            for child in self._children:
                _end_by_force(child.process)
            self._children.clear()


def _stop(process: subprocess.Popen[bytes], patience_seconds: float) -> int | None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            _end_by_force(process)
    return process.returncode


def _end_by_force(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def errata_command(*arguments: str) -> list[str]:
    """The command line that runs `errata ARGUMENTS` with this interpreter."""
    return [sys.executable, "-m", "errata.command", *arguments]


@contextlib.contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises KeyboardInterrupt like Ctrl-C does, so that both run the same clean-up.

    So does SIGHUP, by which a terminal says that it is closed, unless it is ignored (`nohup`).
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until(
    condition: Callable[[], bool], seconds: float, what: str, children: Children | None = None
) -> None:
    """Poll `condition` until it holds; raise Stop naming `what` when the time is up or a child has ended."""
    deadline = time.monotonic() + seconds
    while not condition():
        if children is not None:
            children.check()
        if time.monotonic() > deadline:
            raise Stop(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.3)
