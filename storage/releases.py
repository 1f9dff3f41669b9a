"""Versions of a model, and which of them was the champion when."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from storage.errors import NotFound
from storage.insertion import insert_new
from storage.records import Release, Version
from storage.tables import releases, runs, versions


def put_version(c: Connection, version: Version) -> None:
    """Store a version; one that is stored already stays."""
    insert_new(c, versions, [asdict(version)])


def get_version(c: Connection, model: str, version: str) -> Version:
    """One version; raises NotFound."""
    query = select(versions).where(versions.c.model == model, versions.c.version == version)
    row = c.execute(query).one_or_none()
    if row is None:
        raise NotFound("version", f"{model} {version}")
    return _to_version(row)


def list_versions(c: Connection, model: str | None = None) -> list[Version]:
    """Versions whose files we have, the oldest first."""
    query = select(versions).order_by(versions.c.created_us, versions.c.version)
    if model is not None:
        query = query.where(versions.c.model == model)
    return [_to_version(row) for row in c.execute(query)]


def next_version(c: Connection, model: str) -> str:
    """The number after the highest that a version or a candidate of `model` has: "1", "2", ..."""
    taken = [
        *c.execute(select(versions.c.version).where(versions.c.model == model)).scalars(),
        *c.execute(select(runs.c.candidate).where(runs.c.model == model)).scalars(),
    ]
    numbers = [int(name) for name in taken if name and name.isascii() and name.isdigit()]
    return str(max(numbers, default=0) + 1)


def lock_versions(c: Connection, model: str) -> None:
    """Wait until no other transaction releases `model`; held to the end of this one.

    SQLite has one writer at a time already.
    """
    query = select(versions.c.version).where(versions.c.model == model).order_by(versions.c.version)
    c.execute(query.with_for_update()).all()


def put_release(c: Connection, release: Release) -> None:
    """Store that `release.version` is the champion from now on."""
    c.execute(insert(releases).values(asdict(release)))


def champion(c: Connection, model: str) -> Release | None:
    """The last release of `model`: its version is the champion. None before the first."""
    found = list_releases(c, model, limit=1)
    return found[0] if found else None


def is_still_champion(c: Connection, release: Release) -> bool:
    """Whether nothing was released since `release`; from here on nothing is until this transaction ends."""
    lock_versions(c, release.model)
    return champion(c, release.model) == release


def list_champions(c: Connection) -> dict[str, Version]:
    """The champion of each model that has one."""
    models = c.execute(select(releases.c.model).distinct().order_by(releases.c.model)).scalars().all()
    last = {model: champion(c, model) for model in models}
    return {model: get_version(c, model, release.version) for model, release in last.items() if release}


def list_releases(c: Connection, model: str | None = None, limit: int | None = None) -> list[Release]:
    """Releases, the newest first."""
    query = select(releases).order_by(releases.c.time_us.desc(), releases.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(releases.c.model == model)
    return [Release(**row) for row in c.execute(query).mappings()]


def _to_version(row: Row[Any]) -> Version:
    return Version(**row._mapping)
