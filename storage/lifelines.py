"""Lifelines: a lock that dies with the process that holds it, and a row that says whose it is.

Whoever finds a lock free that was held a moment ago knows that its process is gone, without asking any clock. On
PostgreSQL it is an advisory lock of a session: the server frees it when the socket of a killed process closes. On
SQLite it is the kernel's lock on a file beside the database, which a closed file frees. Neither knows process ids, so
that containers do not matter. A lock may also be lost alone, with its connection or with a restarted server: then it
is taken again, and `Look.is_continued` says that nothing seen before tells anything.
"""

import fcntl
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Connection, select, text

from errata.errors import ErrataError, Unavailable
from storage.database import Database, translated_errors
from storage.errors import SharedSession
from storage.locks import LIFELINES
from storage.records import Lifeline, Look, Membership
from storage.tables import lifelines

#: Numbers of lifelines: as large as a half of an advisory lock's key, without its sign.
N_NUMBERS: Final = 2**31

_HELD: Final = text(
    "SELECT objid::bigint AS number, pid = pg_backend_pid() AS is_ours FROM pg_locks "
    "WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid::bigint = :kind AND objid::bigint = ANY(:numbers)"
)


class Lock(Protocol):
    """A lock of this process, and what can be known of those of others; all raise Unavailable."""

    def take(self, number: int) -> bool:
        """Take lock `number` for as long as this process lives; False while somebody holds it."""

    def is_ours(self) -> bool:
        """Whether what was taken last was held ever since. Raises SharedSession."""

    def find_held(self, numbers: Collection[int]) -> frozenset[int]:
        """Which of these locks somebody holds."""

    def clear(self, number: int) -> None:
        """Remove what a lock leaves behind whose holder is gone."""

    def let_go(self) -> None:
        """Free what was taken."""


class Lifelines:
    """Our lifeline in a consumer group, and those of the others. To be used by one thread at a time."""

    def __init__(self, db: Database, group: str, holder: str, draw: Callable[[int], int]) -> None:
        """`draw(n)` gives a number below n that no other process is likely to draw."""
        self._db = db
        self._group = group
        self._holder = holder
        self._draw = draw
        self._lock = _lock_in(db)
        self._number: int | None = None
        #: Numbers that were ours, and whose locks a session of ours may still hold that the server takes for alive.
        self._former: set[int] = set()

    def look(self, membership: Membership) -> Look:
        """Keep our lifeline, with who we are in the group, and look at all others.

        Raises Unavailable when the database does not answer, and SharedSession when no lock can be held by it.
        """
        is_continued = self._number is not None and self._lock.is_ours()
        number = self._number if is_continued and self._number is not None else self._take()
        with self._db.read() as c:
            found = {
                row.number: row
                for row in c.execute(select(lifelines).where(lifelines.c.consumer_group == self._group))
            }
        ours = found.pop(number, None)
        if ours is None or _membership(ours) != membership or self._former & found.keys():
            self._write(number, membership)
        others = [row for each, row in found.items() if each not in self._former]
        held = self._lock.find_held([row.number for row in others])
        return Look(
            is_continued,
            tuple(Lifeline(row.number, row.holder, _membership(row), row.number in held) for row in others),
        )

    def bury(self, number: int) -> None:
        """Remove the lifeline of a process that is gone. One that lives after all writes it again."""
        with self._db.write() as c:
            c.execute(lifelines.delete().where(lifelines.c.number == number))
        self._lock.clear(number)

    def end(self) -> None:
        """Take our lifeline away, so that nobody takes us for dead; what does not work now is left to the others."""
        try:
            if self._number is not None:
                self.bury(self._number)
        except ErrataError:
            pass
        finally:
            self._lock.let_go()

    def _take(self) -> int:
        """Take our lock again; where a lost session of ours still holds it, another one."""
        before = self._number
        number = self._draw(N_NUMBERS) if before is None else before
        if not self._lock.take(number):
            number = self._draw(N_NUMBERS)
            if not self._lock.take(number):
                raise Unavailable("the locks of lifelines are all held: they are tried again")
            if before is not None:
                self._former.add(before)
        self._number = number
        return number

    def _write(self, number: int, membership: Membership) -> None:
        """Say by a row whose lock it is, and take back what an earlier row of ours said."""
        with self._db.write() as c:
            c.execute(lifelines.delete().where(lifelines.c.number.in_({number, *self._former})))
            c.execute(
                lifelines.insert().values(
                    number=number,
                    consumer_group=self._group,
                    holder=self._holder,
                    member_id=membership.member_id,
                    generation=membership.generation,
                )
            )


def count_living(db: Database, draw: Callable[[int], int]) -> int:
    """How many processes hold a lifeline, of all groups, after a try whether we could hold one.

    Raises SharedSession when we could not, and Unavailable.
    """
    lock, number = _lock_in(db), draw(N_NUMBERS)
    if not lock.take(number):
        raise Unavailable("the lock of a lifeline is held by somebody: try again")
    try:
        # A pooler gives the server's session to this transaction, and then has another one for our lock.
        with db.read() as c:
            numbers = list(c.scalars(select(lifelines.c.number)))
            lock.is_ours()
            return len(lock.find_held(numbers))
    finally:
        lock.clear(number)
        lock.let_go()


def _membership(row: Any) -> Membership:
    return Membership(row.member_id, row.generation)


def _lock_in(db: Database) -> Lock:
    return _FileLock(db.file) if db.file is not None else _SessionLock(db)


class _SessionLock:
    """An advisory lock of PostgreSQL, on a connection of its own."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._session: Connection | None = None
        self._number = 0

    def take(self, number: int) -> bool:
        self.let_go()
        session = self._db.open_session()
        try:
            with translated_errors():
                taken = session.scalar(
                    text("SELECT pg_try_advisory_lock(:kind, :number)"), {"kind": LIFELINES, "number": number}
                )
        except ErrataError:
            session.close()
            raise
        if not taken:
            session.close()
            return False
        self._session, self._number = session, number
        return True

    def is_ours(self) -> bool:
        if self._session is None:
            return False
        try:
            found = self._find({self._number})
        except Unavailable:
            self.let_go()
            return False
        if found.get(self._number, False):
            return True
        self.let_go()
        raise SharedSession(
            "a lock that PostgreSQL gave this session is not held by it: a pooler stands between that gives "
            "sessions to others after each transaction"
        )

    def find_held(self, numbers: Collection[int]) -> frozenset[int]:
        return frozenset(self._find(numbers)) if numbers else frozenset()

    def clear(self, number: int) -> None:
        """Do nothing: the server has nothing left of it."""

    def let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _find(self, numbers: Collection[int]) -> dict[int, bool]:
        """Which of these locks are held, and whether by our session."""
        if self._session is None:
            raise Unavailable("there is no session to look at locks by")
        with translated_errors():
            found = self._session.execute(_HELD, {"kind": LIFELINES, "numbers": list(numbers)})
            return {row.number: row.is_ours for row in found}


class _FileLock:
    """The kernel's lock on a file beside the database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._descriptor: int | None = None
        self._number = 0

    def take(self, number: int) -> bool:
        self.let_go()
        try:
            descriptor = os.open(self._path(number), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unavailable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise _unavailable(error) from error
        self._descriptor, self._number = descriptor, number
        return True

    def is_ours(self) -> bool:
        """Others look at the file of that name: it has to be the one that is locked."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path(self._number).stat())
        except OSError:
            return False

    def find_held(self, numbers: Collection[int]) -> frozenset[int]:
        return frozenset(number for number in numbers if self._is_held(number))

    def clear(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)

    def let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_held(self, number: int) -> bool:
        try:
            descriptor = os.open(self._path(number), os.O_RDONLY)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unavailable(error) from error
        try:
            # A shared lock, so that two who look do not take each other for the holder.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            raise _unavailable(error) from error
        finally:
            os.close(descriptor)
        return False

    def _path(self, number: int) -> Path:
        return self._database.with_name(f"{self._database.name}-lifeline-{number}")


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(f"the file of a lifeline can't be locked now: {error}")
