"""Many rows at once: what goes in comes out, and only what is new goes in."""

from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from errata.errors import Malformed
from storage.database import Database
from storage.facts import PredictionFact, fact_of, prediction_columns, times_of
from storage.insertion import insert_by_id, insert_new, list_seen
from storage.tables import predictions, slice_values
from tests.builders import START_US, a_prediction_event
from tests.records import number_id

nasty = st.text(st.sampled_from("\\\t\n\r\"'N{},é한 \x02\x08\x7f"), max_size=12)


def columns_of(*numbers: int, **given_: object):
    facts = [fact_of(a_prediction_event(number, **given_)) for number in numbers]
    assert all(isinstance(fact, PredictionFact) for fact in facts)
    return {**prediction_columns(facts, times_of(facts), 0, START_US), "slices": ["[]"] * len(facts)}


def test_what_is_stored_is_seen_and_nothing_else(db: Database) -> None:
    with db.write() as c:
        insert_by_id(c, predictions, columns_of(3, 1))
        insert_by_id(c, predictions, columns_of())
        assert list_seen(c, predictions, [number_id(number) for number in (1, 2)]) == {number_id(1)}
        assert list_seen(c, predictions, []) == set()
    with db.read() as c:
        assert set(c.scalars(select(predictions.c.id))) == {number_id(1), number_id(3)}


def test_what_is_absent_stays_so_beside_what_is_there(db: Database) -> None:
    absent, there = columns_of(1), columns_of(2, subject="\\N", session="N\\\t", confidence=0.5)
    with db.write() as c:
        insert_by_id(c, predictions, {name: [*there[name], *absent[name]] for name in there})
        p = predictions.c
        rows = c.execute(select(p.subject, p.session, p.confidence).order_by(p.id)).all()
    assert [tuple(row) for row in rows] == [
        tuple(absent[name][0] for name in ("subject", "session", "confidence")),
        ("\\N", "N\\\t", 0.5),
    ]


def test_a_text_that_does_not_fit_is_refused_and_never_cut_off(db: Database) -> None:
    unfit = ["c" * 129, "c\0"]
    for value in unfit:
        with suppress(Malformed), db.write() as c:
            insert_new(c, slice_values, [{"model": "a", "hour_us": 0, "tag": "b", "value": value}])
        with suppress(Malformed), db.write() as c:
            insert_by_id(c, predictions, columns_of(len(value), version=value))
    with db.read() as c:
        stored = [set(c.scalars(select(each))) for each in (slice_values.c.value, predictions.c.version)]
    # SQLite takes texts of any length, and NULs.
    assert stored == [set(unfit) if db.dialect == "sqlite" else set()] * 2


@given(subject=nasty, output=nasty, confidence=st.none() | st.floats(0, 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_goes_in_comes_out_whatever_signs_are_in_it(
    db: Database, subject: str, output: str, confidence: float | None
) -> None:
    columns = columns_of(1, 2, subject=subject, output=output, confidence=confidence)
    with db.write() as c:
        c.execute(predictions.delete())
        insert_by_id(c, predictions, columns)
        rows = c.execute(select(predictions).order_by(predictions.c.id)).mappings().all()
    assert [dict(row) for row in rows] == [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ]
