"""A database in which another worker releases a version at the worst moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from storage.database import Database, Transaction
from storage.records import Release
from storage.releases import put_release


class Replacing(Database):
    """A database in which a version is released between what is read and what is written."""

    def __init__(self, db: Database, release: Release) -> None:
        self._db = db
        self._release = release

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        with self._db.read() as c:
            yield c

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        with self._db.write() as c:
            put_release(c, self._release)
        with self._db.write() as c:
            yield c
