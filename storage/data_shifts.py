"""Data drift: where each watched thing of a version stands, and when it moved or became calm again."""

from collections.abc import Collection, Mapping
from dataclasses import asdict

from sqlalchemy import Connection, func, select

from quality.data_drift import State, from_json, to_json
from storage.insertion import insert_new, put_rows
from storage.records import DataShift
from storage.tables import data_drift_states, data_shifts


def read_data_drift_states(c: Connection, model: str, version: str) -> dict[str, State]:
    """Where what is watched of a version stands, by its name; empty at its start."""
    s = data_drift_states.c
    rows = c.execute(
        select(s.watched, s.state).where(s.model == model, s.version == version).order_by(s.watched)
    )
    return {row.watched: from_json(row.watched, row.state) for row in rows}


def read_until(c: Connection, model: str, version: str) -> int:
    """The predictions of a version that were made before this time are in its states; 0 at its start."""
    s = data_drift_states.c
    found: int | None = c.scalar(select(func.max(s.read_us)).where(s.model == model, s.version == version))
    return found or 0


def put_data_drift_states(
    c: Connection, model: str, version: str, states: Mapping[str, State], read_us: int, now_us: int
) -> None:
    """Keep states in place of those before."""
    common = {"model": model, "version": version, "read_us": read_us, "stored_us": now_us}
    put_rows(
        c,
        data_drift_states,
        [{**common, "watched": watched, "state": to_json(state)} for watched, state in states.items()],
    )


def put_data_shift(c: Connection, shift: DataShift) -> None:
    """Store that something has moved or is calm again; the first one of an id stays."""
    insert_new(c, data_shifts, [asdict(shift)])


def read_data_shifts(
    c: Connection, *, model: str | None = None, version: str | None = None, limit: int = 100
) -> list[DataShift]:
    """The latest first, of one model and version or of all."""
    s = data_shifts.c
    wanted = select(data_shifts).order_by(s.time_us.desc(), s.id.desc()).limit(limit)
    if model is not None:
        wanted = wanted.where(s.model == model)
    if version is not None:
        wanted = wanted.where(s.version == version)
    return [DataShift(**row) for row in c.execute(wanted).mappings()]


def list_moved(c: Connection, model: str, version: str, ignored: Collection[str] = ()) -> list[str]:
    """What is watched of a version and has moved, without being calm again."""
    s = data_shifts.c
    of_version = (s.model == model, s.version == version)
    latest = select(s.watched, func.max(s.time_us).label("time_us")).where(*of_version).group_by(s.watched)
    last = latest.subquery()
    rows = c.scalars(
        select(s.watched)
        .join(last, (last.c.watched == s.watched) & (last.c.time_us == s.time_us))
        .where(*of_version, s.stage == "moved")
        .order_by(s.watched)
    )
    return [watched for watched in rows if watched not in ignored]
