"""What every verb needs: the settings, the database, the clock, and one way to print."""

import os
import socket
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from errata.redaction import Redaction
from errata.settings import Settings

if TYPE_CHECKING:
    from storage.database import Database


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command."""

    settings: Settings
    settings_path: Path | None
    #: Hides the secrets of the settings in what is printed and logged.
    redaction: Redaction

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
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def for_terminal(text: str, keep: str = "") -> str:
    """`text` as a terminal may show it: what would move its cursor, or the eye, is escaped, but for `keep`.

    What customers and services wrote must not be able to clear the screen, or to look like another line.
    """
    return "".join(
        each if each in keep or not _moves(each) else each.encode("unicode_escape").decode() for each in text
    )


def _moves(character: str) -> bool:
    """Whether it is a control, a direction, or a line separator. A zero-width joiner is none: emoji need it."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character != "\u200d"
