"""A sheet holds the requirements of a model against what its champion did."""

from errata.settings import Model, Requirements
from storage.database import Database
from storage.maturity import read_delays
from storage.releases import put_release
from storage.sheets import Sheet, find_served, read_sheet
from tests.builders import MINUTE_US, SECOND_US, START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.records import MODEL, make_release
from tests.storage.conftest import Apply

HOUR_US = 60 * MINUTE_US
SETTINGS = Model(requirements=Requirements(served_p95_ms=50, edit_rate=0.2, qps=1000))


def serve(apply_to: Apply) -> None:
    """A prediction a second for ten minutes, of which each tenth is edited a minute later."""
    times = [START_US + place * SECOND_US for place in range(600)]
    made = [a_prediction_event(place, time_us=time_us) for place, time_us in enumerate(times)]
    given = [
        a_feedback_event(100_000 + place, prediction=place, time_us=times[place] + MINUTE_US)
        for place in range(0, 600, 10)
    ]
    apply_to(an_arrival([*made, *given]))


def read(db: Database, now_us: int, version: str = "1") -> Sheet:
    with db.read() as c:
        delays = read_delays(c, model=MODEL, now_us=now_us, horizon_us=2 * MINUTE_US)
        return read_sheet(
            c,
            model=MODEL,
            version=version,
            settings=SETTINGS,
            delays=delays,
            now_us=now_us,
            span_us=HOUR_US,
        )


def test_each_requirement_is_judged_with_maturity_and_freshness(db: Database, apply_to: Apply) -> None:
    serve(apply_to)
    sheet = read(db, START_US + 15 * MINUTE_US)
    assert {each.requirement.name: each.judgement for each in sheet.checked} == {
        "served_p95_ms": "pass",
        "edit_rate": "pass",
        "qps": "not enough evidence",
    }
    edited = sheet.checked[1]
    assert (edited.number.value, edited.number.n, edited.number.maturity) == (0.1, 600, 1.0)
    assert (edited.n_minutes_met, edited.n_minutes) == (10, 10)
    assert edited.number.age_us == 5 * MINUTE_US + SECOND_US


def test_edits_that_are_still_to_come_keep_a_rate_from_passing(db: Database, apply_to: Apply) -> None:
    serve(apply_to)
    edited = read(db, START_US + 10 * MINUTE_US).checked[1]
    assert edited.judgement == "not enough evidence"
    assert edited.number.maturity is not None
    assert 0.85 < edited.number.maturity < 0.95
    assert "% of the expected feedback has come" in edited.sentence


def test_a_version_that_did_nothing_has_no_evidence(db: Database) -> None:
    assert {each.judgement for each in read(db, START_US, "7").checked} == {"not enough evidence"}


def test_the_champion_is_checked_else_the_version_that_predicted_last(db: Database, apply_to: Apply) -> None:
    with db.read() as c:
        assert find_served(c, MODEL) is None
    apply_to(
        an_arrival(
            [
                a_prediction_event(1, version="9", time_us=START_US),
                a_prediction_event(2, version="10", time_us=START_US + HOUR_US),
            ]
        )
    )
    with db.read() as c:
        assert find_served(c, MODEL) == "10"
    with db.write() as c:
        put_release(c, make_release("9"))
    with db.read() as c:
        assert find_served(c, MODEL) == "9"
