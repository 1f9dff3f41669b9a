"""What is watched of a version is kept as it stands, and what moved is listed."""

from dataclasses import replace

from quality.data_drift import NumberState, OutputsState
from storage.data_shifts import (
    put_data_drift_states,
    put_data_shift,
    read_data_drift_states,
    read_data_shifts,
    read_until,
)
from storage.database import Database
from storage.records import DataShift
from tests.records import MODEL, number_id

SHIFT = DataShift(
    id=number_id(1),
    model=MODEL,
    version="1",
    watched="confidence",
    time_us=5,
    stage="moved",
    change_us=3,
    n_values=400,
    log_evidence=15.5,
    level=13.8,
    reason="The confidence of card-reader 1 has moved.",
)


def test_states_are_kept_by_version_and_replaced(db: Database) -> None:
    first, second = NumberState(n=1, first=(0.1,)), NumberState(n=2, first=(0.1, 1 / 3))
    with db.write() as c:
        assert read_until(c, MODEL, "1") == 0
        put_data_drift_states(c, MODEL, "1", {"confidence": first, "outputs": OutputsState()}, 10, now_us=1)
        put_data_drift_states(c, MODEL, "1", {"confidence": second}, 20, now_us=2)
        put_data_drift_states(c, MODEL, "2", {"confidence": first}, 30, now_us=3)
    with db.read() as c:
        assert read_data_drift_states(c, MODEL, "1") == {"confidence": second, "outputs": OutputsState()}
        assert read_until(c, MODEL, "1") == 20
        assert read_until(c, MODEL, "2") == 30
        assert read_data_drift_states(c, MODEL, "3") == {}


def test_shifts_are_listed_the_latest_first_of_a_model_and_version(db: Database) -> None:
    later = replace(SHIFT, id=number_id(2), time_us=9, stage="calm")
    other = replace(SHIFT, id=number_id(3), model="other", version="2", change_us=None)
    with db.write() as c:
        for shift in (SHIFT, later, other, replace(SHIFT, reason="again")):
            put_data_shift(c, shift)
    with db.read() as c:
        assert read_data_shifts(c, model=MODEL) == [later, SHIFT]
        assert read_data_shifts(c, model=MODEL, version="2") == []
        assert {shift.id for shift in read_data_shifts(c)} == {SHIFT.id, later.id, other.id}
        assert read_data_shifts(c, limit=1) == [later]
