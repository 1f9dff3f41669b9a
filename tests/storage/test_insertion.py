"""Many rows at once: what goes in comes out, and only what is new goes in."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from storage.database import Database
from storage.facts import PredictionFact, fact_of, prediction_columns, times_of
from storage.insertion import insert_by_id, list_seen
from storage.tables import predictions
from tests.builders import START_US, a_prediction_event
from tests.records import number_id

nasty = st.text(st.sampled_from("\\\t\n\r\"'N{},é한 \x08\x7f"), max_size=12)


def columns_of(*numbers: int, **given_: object):
    facts = [fact_of(a_prediction_event(number, **given_)) for number in numbers]
    assert all(isinstance(fact, PredictionFact) for fact in facts)
    return prediction_columns(facts, times_of(facts), ["[]"] * len(facts), 0, START_US)


def test_what_is_stored_is_seen_and_nothing_else(db: Database) -> None:
    with db.write() as c:
        insert_by_id(c, predictions, columns_of(3, 1))
        insert_by_id(c, predictions, columns_of())
        assert list_seen(c, predictions, [number_id(number) for number in (1, 2)]) == {number_id(1)}
        assert list_seen(c, predictions, []) == set()
    with db.read() as c:
        assert set(c.scalars(select(predictions.c.id))) == {number_id(1), number_id(3)}


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
