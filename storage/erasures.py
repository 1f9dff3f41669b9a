"""Whose data was erased, and when: known by a keyed hash, so that no name has to be kept for it.

What comes in again of an erased subject (a replay, a restored backup) is counted, and kept as a tombstone only.
Erasures must outlive the backups of the database, so each is a line of a file as well (`errata erase --again`).
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, select, text

from errata.errors import Stop
from storage.database import Database
from storage.insertion import insert_new, is_one_of, put_rows
from storage.records import DeadLetter
from storage.tables import erasure_salts, erasures
from storage.tombstones import find_tombstones

#: What stands between quotes in JSON, however broken the rest of it.
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.){1,1600}"')
_TIME: Final = re.compile(rb'"time"\s*:\s*"([^"]{1,40})"')
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: A subject of so many characters stands for nobody else.
_TELLING_CHARACTERS: Final = 8
#: What stands in place of a dead letter's detail.
ERASED_DETAIL: Final = "its content was erased with a person's data"


class Erasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subject that was erased: what happened up to `erased_us` does not come back."""

    hash: str
    salt: str
    erased_us: int


class _Named(msgspec.Struct):
    """What is read of an event to know its id."""

    id: str


def hash_subject(subject: str, salt: str) -> str:
    """What a subject is remembered by: without the salt nobody can try out whose it is."""
    data = subject.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, key=bytes.fromhex(salt), digest_size=32).hexdigest()


def plan_erasure(db: Database, subject: str, now_us: int, new_salt: str) -> Erasure:
    """The erasure of a subject; `new_salt` (32 hexadecimal digits) is used where nobody was erased before."""
    with db.read() as c:
        salt = min(_read_salts(c), default=new_salt)
    return Erasure(hash_subject(subject, salt), salt, now_us)


def record_erasures(db: Database, planned: Sequence[Erasure]) -> None:
    """Store erasures; of one subject the latest stands.

    After it, no transaction is under way that does not know of them (`read_erased`). Raises Unavailable.
    """
    with db.write() as c:
        if c.dialect.name == "postgresql":
            c.execute(text("LOCK TABLE erasure_salts IN EXCLUSIVE MODE"))
        insert_new(c, erasure_salts, [{"salt": salt} for salt in sorted({each.salt for each in planned})])
        known = {row.hash: row.erased_us for row in c.execute(select(erasures))}
        later = {each.hash: each for each in sorted(planned, key=lambda each: each.erased_us)}
        changed = [each for each in later.values() if each.erased_us > known.get(each.hash, -1)]
        put_rows(c, erasures, [msgspec.structs.asdict(each) for each in changed])


def read_erased(c: Connection, subjects: Iterable[str]) -> dict[str, int]:
    """Those of `subjects` that were erased, each with the time of it.

    Nobody else is erased before the transaction ends. `subjects` are not listed where nobody ever was.
    """
    if c.dialect.name == "postgresql" and c.get_execution_options().get("errata_write"):
        c.execute(text("LOCK TABLE erasure_salts IN ROW SHARE MODE"))
    salts = _read_salts(c)
    if not salts:
        return {}
    named = set(subjects)
    subject_of = {hash_subject(subject, salt): subject for salt in salts for subject in named}
    e = erasures.c
    found = c.execute(select(e.hash, e.erased_us).where(is_one_of(c, e.hash, sorted(subject_of))))
    return {subject_of[row.hash]: row.erased_us for row in found}


def blank_erased(c: Connection, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """The dead letters without the content of those that are about an erased subject or prediction.

    A dead letter can't be read as an event, so whatever stands in quotes is taken for a possible subject.
    """
    if not letters or not _read_salts(c):
        return list(letters)
    named = [read_quoted(letter.raw) for letter in letters]
    erased = read_erased(c, set().union(*named))
    ids = sorted({name for names in named for name in names if _ID.fullmatch(name)})
    about = {id_ for (kind, id_), is_erased in find_tombstones(c, ids).items() if is_erased}
    return [
        blank(letter)
        if names & about or any(_may_be_before(letter.raw, erased[name]) for name in names & erased.keys())
        else letter
        for letter, names in zip(letters, named, strict=True)
    ]


def blank(letter: DeadLetter) -> DeadLetter:
    """A dead letter of which only the reason and the place are left."""
    return replace(letter, raw=b"", detail=ERASED_DETAIL)


def is_about(raw: bytes, subject: str, prediction_ids: Collection[str]) -> bool:
    """Whether a dead letter is about a subject or one of its predictions: one of them stands in quotes.

    A subject of some length counts without quotes as well, as a word of its own; a short one would be found
    in any number.
    """
    quoted = read_quoted(raw)
    if subject in quoted or not quoted.isdisjoint(prediction_ids):
        return True
    if len(subject) < _TELLING_CHARACTERS:
        return False
    return (
        re.search(rb"(?<!\w)" + re.escape(subject.encode("utf-8", "surrogatepass")) + rb"(?!\w)", raw)
        is not None
    )


def read_event_id(raw: bytes) -> str | None:
    """The id of an event in JSON, or None where it can't be read."""
    try:
        return msgspec.json.decode(raw, type=_Named).id
    except msgspec.DecodeError:
        return None


def write_down(file: Path, planned: Iterable[Erasure]) -> None:
    """Append erasures to a file, so that they are on disk when this returns. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, b"".join(msgspec.json.encode(each) + b"\n" for each in planned))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_written(file: Path) -> list[Erasure]:
    """The erasures in a file. Raises OSError, and Stop where a line can't be read."""
    written = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            written.append(msgspec.json.decode(line, type=Erasure))
        except msgspec.DecodeError as error:
            raise Stop(f"line {number} of {file} is no erasure ({error}): restore the file") from error
    return written


def _read_salts(c: Connection) -> list[str]:
    return list(c.scalars(select(erasure_salts.c.salt)))


def read_quoted(raw: bytes) -> set[str]:
    """The texts in quotes in what may be broken JSON."""
    quoted = set()
    for found in set(_QUOTED.findall(raw)):
        try:
            quoted.add(msgspec.json.decode(found, type=str))
        except msgspec.DecodeError:
            quoted.add(found[1:-1].decode("utf-8", "replace"))
    return quoted


def _may_be_before(raw: bytes, erased_us: int) -> bool:
    """Whether something in a dead letter may have happened up to `erased_us`."""
    try:
        times = [datetime.fromisoformat(found.decode()) for found in _TIME.findall(raw)]
        return not times or min(time.timestamp() for time in times) * 1_000_000 <= erased_us
    except (ValueError, OverflowError):
        return True
