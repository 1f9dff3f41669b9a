"""Detector states replace each other; signals stay."""

from dataclasses import replace

from storage.database import Database
from storage.signals import (
    StoredState,
    forget_detector_states,
    put_detector_states,
    put_signal,
    read_detector_states,
    read_signals,
)
from tests.records import MODEL, make_signal, number_id

SIGNAL = make_signal(1, time_us=10)


def test_the_states_of_detectors_are_replaced_and_forgotten(db: Database) -> None:
    first, second = StoredState("{}", 1), StoredState('{"n":1}', 2)
    with db.write() as c:
        assert read_detector_states(c, MODEL, "1") == {}
        put_detector_states(c, MODEL, "1", "1h", {"all": first, "device=ios": first}, now_us=1)
        put_detector_states(c, MODEL, "1", "1h", {"all": second}, now_us=2)
        put_detector_states(c, MODEL, "1", "24h", {"all": first}, now_us=2)
        put_detector_states(c, MODEL, "2", "1h", {"all": first}, now_us=3)
    with db.write() as c:
        assert read_detector_states(c, MODEL, "1") == {
            "1h": {"all": second, "device=ios": first},
            "24h": {"all": first},
        }
        forget_detector_states(c, MODEL, "1", "1h", ["all"])
        assert read_detector_states(c, MODEL, "1") == {"1h": {"device=ios": first}, "24h": {"all": first}}
        assert read_detector_states(c, MODEL, "2") == {"1h": {"all": first}}


def test_signals_are_read_the_latest_first(db: Database) -> None:
    later = replace(
        SIGNAL,
        id=number_id(2),
        time_us=20,
        model="translator",
        rule="cooldown",
        level=13.8,
        detector="24h",
        decision="warned",
    )
    with db.write() as c:
        put_signal(c, SIGNAL)
        put_signal(c, later)
        put_signal(c, replace(SIGNAL, reason="again"))
    with db.read() as c:
        assert read_signals(c) == [later, SIGNAL]
        assert read_signals(c, limit=1) == [later]
        assert read_signals(c, model=MODEL) == [SIGNAL]
