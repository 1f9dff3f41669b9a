"""Signals: where each drift detector stands, and what its alarms led to."""

from dataclasses import asdict
from typing import NamedTuple

from sqlalchemy import Connection, select

from storage.errors import NotFound
from storage.insertion import insert_new, put_rows
from storage.records import Signal
from storage.tables import detector_states, signals


class StoredState(NamedTuple):
    """Where a detector stands: JSON of quality/drift.py, and the last time of a prediction in it."""

    state: str
    matured_us: int


def get_detector_state(c: Connection, model: str, version: str, slice: str) -> StoredState | None:  # noqa: A002
    """Where the detector of a version and slice stands; None at its start."""
    row = c.execute(
        select(detector_states.c.state, detector_states.c.matured_us)
        .where(detector_states.c.model == model)
        .where(detector_states.c.version == version)
        .where(detector_states.c.slice == slice)
    ).one_or_none()
    return None if row is None else StoredState(row.state, row.matured_us)


def put_detector_state(
    c: Connection,
    model: str,
    version: str,
    slice: str,  # noqa: A002
    *,
    state: str,
    matured_us: int,
    now_us: int,
) -> None:
    """Keep the state of a detector in place of the one before."""
    key = {"model": model, "version": version, "slice": slice}
    put_rows(c, detector_states, [{**key, "state": state, "matured_us": matured_us, "stored_us": now_us}])


def put_signal(c: Connection, signal: Signal) -> None:
    """Store an alarm and its decision; the first one of an id stays."""
    insert_new(c, signals, [asdict(signal)])


def get_signal(c: Connection, signal_id: str) -> Signal:
    """One alarm; raises NotFound."""
    row = c.execute(select(signals).where(signals.c.id == signal_id)).mappings().one_or_none()
    if row is None:
        raise NotFound("signal", signal_id)
    return Signal(**row)


def read_signals(c: Connection, *, model: str | None = None, limit: int = 100) -> list[Signal]:
    """The latest alarms first, of one model or of all."""
    wanted = select(signals).order_by(signals.c.time_us.desc(), signals.c.id.desc()).limit(limit)
    if model is not None:
        wanted = wanted.where(signals.c.model == model)
    return [Signal(**row) for row in c.execute(wanted).mappings()]
