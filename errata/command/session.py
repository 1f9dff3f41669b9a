"""What every verb needs: the settings, the database, the clock, and one way to print."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from errata.settings import Settings

if TYPE_CHECKING:
    from storage.database import Database


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command."""

    settings: Settings
    settings_path: Path | None

    @contextmanager
    def database(self) -> Iterator["Database"]:
        """The database of the settings, closed afterwards."""
        from storage.database import open_database

        database = open_database(self.settings.database.url)
        try:
            yield database
        finally:
            database.close()

    def child_environ(self) -> dict[str, str]:
        """The environment with which a child process reads the same settings."""
        environ = dict(os.environ)
        if self.settings_path is not None:
            environ["ERRATA_SETTINGS"] = str(self.settings_path.resolve())
        return environ


def session_of(context: typer.Context) -> Session:
    """The session that the command's callback made."""
    session: Session = context.obj
    return session


def now_us() -> int:
    """The clock of the edge; everything below takes the time as an argument."""
    return time.time_ns() // 1000


def holder_name() -> str:
    """Who holds a lease or wrote a ledger row: this process on this machine."""
    return f"{socket.gethostname()}-{os.getpid()}"


def print_json(value: Any) -> None:
    """Print one line of JSON; Korean text is not escaped."""
    sys.stdout.write(msgspec.json.encode(value, enc_hook=_encode_other).decode() + "\n")
    sys.stdout.flush()


def _encode_other(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    raise TypeError(f"no JSON for {type(value).__name__}")
