"""Detector states replace each other; signals stay."""

from dataclasses import replace

from storage.database import Database
from storage.signals import get_detector_state, put_detector_state, put_signal, read_signals
from tests.records import MODEL, make_signal, number_id

SIGNAL = make_signal(1, time_us=10)


def test_the_state_of_a_detector_is_replaced(db: Database) -> None:
    with db.write() as c:
        assert get_detector_state(c, MODEL, "1", "all") is None
        put_detector_state(c, MODEL, "1", "all", state="{}", matured_us=1, now_us=1)
        put_detector_state(c, MODEL, "1", "all", state='{"n":1}', matured_us=2, now_us=2)
        put_detector_state(c, MODEL, "2", "all", state="{}", matured_us=3, now_us=3)
    with db.read() as c:
        assert get_detector_state(c, MODEL, "1", "all") == ('{"n":1}', 2)
        assert get_detector_state(c, MODEL, "1", "device=ios") is None


def test_signals_are_read_the_latest_first(db: Database) -> None:
    later = replace(SIGNAL, id=number_id(2), time_us=20, model="translator")
    with db.write() as c:
        put_signal(c, SIGNAL)
        put_signal(c, later)
        put_signal(c, replace(SIGNAL, reason="again"))
    with db.read() as c:
        assert read_signals(c) == [later, SIGNAL]
        assert read_signals(c, limit=1) == [later]
        assert read_signals(c, model=MODEL) == [SIGNAL]
