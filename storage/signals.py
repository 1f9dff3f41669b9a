"""Signals: where each drift detector stands, and what its alarms led to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from storage.errors import NotFound
from storage.insertion import insert_new, put_rows
from storage.records import Signal
from storage.tables import detector_states, signals


class StoredState(NamedTuple):
    """Where a detector stands: JSON of quality/drift.py, and the last time of a prediction in it."""

    state: str
    matured_us: int


def read_detector_states(c: Connection, model: str, version: str) -> dict[str, StoredState]:
    """Where the detectors of a version stand, by slice; empty at its start."""
    rows = c.execute(
        select(detector_states.c.slice, detector_states.c.state, detector_states.c.matured_us)
        .where(detector_states.c.model == model)
        .where(detector_states.c.version == version)
        .order_by(detector_states.c.slice)
    )
    return {row.slice: StoredState(row.state, row.matured_us) for row in rows}


def put_detector_states(
    c: Connection, model: str, version: str, states: Mapping[str, StoredState], now_us: int
) -> None:
    """Keep the states of some slices in place of those before."""
    rows = [
        {
            "model": model,
            "version": version,
            "slice": name,
            "state": stored.state,
            "matured_us": stored.matured_us,
            "stored_us": now_us,
        }
        for name, stored in states.items()
    ]
    put_rows(c, detector_states, rows)


def forget_detector_states(c: Connection, model: str, version: str, slices: Sequence[str]) -> None:
    """Forget the states of some slices of a version."""
    c.execute(
        delete(detector_states)
        .where(detector_states.c.model == model)
        .where(detector_states.c.version == version)
        .where(detector_states.c.slice.in_(list(slices)))
    )


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
