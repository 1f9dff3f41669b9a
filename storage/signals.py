"""Signals: where each drift detector stands, and what its alarms led to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from quality.drift import DetectorState
from quality.horizons import name_horizon
from storage.errors import NotFound
from storage.insertion import insert_new, put_rows
from storage.records import Signal
from storage.tables import detector_states, signals


class StoredState(NamedTuple):
    """Where a detector stands: JSON of quality/drift.py, and the last time of a prediction in it."""

    state: str
    matured_us: int


def read_detector_states(c: Connection, model: str, version: str) -> dict[str, dict[str, StoredState]]:
    """Where the detectors of a version stand, by detector and slice; empty at its start."""
    d = detector_states.c
    rows = c.execute(
        select(d.detector, d.slice, d.state, d.matured_us)
        .where(d.model == model, d.version == version)
        .order_by(d.detector, d.slice)
    )
    found: dict[str, dict[str, StoredState]] = {}
    for row in rows:
        found.setdefault(row.detector, {})[row.slice] = StoredState(row.state, row.matured_us)
    return found


def read_horizons(
    c: Connection, model: str, version: str, horizons_us: Sequence[int]
) -> dict[int, dict[str, DetectorState]]:
    """Where the detectors of each horizon stand, by slice."""
    stored = read_detector_states(c, model, version)
    return {
        horizon_us: {
            name: DetectorState.from_json(each.state)
            for name, each in stored.get(name_horizon(horizon_us), {}).items()
        }
        for horizon_us in horizons_us
    }


def put_detector_states(
    c: Connection, model: str, version: str, detector: str, states: Mapping[str, StoredState], now_us: int
) -> None:
    """Keep the states of some slices in place of those before."""
    rows = [
        {
            "model": model,
            "version": version,
            "slice": name,
            "detector": detector,
            "state": stored.state,
            "matured_us": stored.matured_us,
            "stored_us": now_us,
        }
        for name, stored in states.items()
    ]
    put_rows(c, detector_states, rows)


def forget_detector_states(
    c: Connection, model: str, version: str, detector: str, slices: Sequence[str]
) -> None:
    """Forget the states of some slices of a version."""
    d = detector_states.c
    c.execute(
        delete(detector_states).where(
            d.model == model, d.version == version, d.detector == detector, d.slice.in_(list(slices))
        )
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
