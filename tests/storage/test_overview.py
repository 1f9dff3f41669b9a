"""What operators watch, read from the database."""

from sqlalchemy import update

from errata.identity import new_id
from storage.database import Database
from storage.overview import read_overview
from storage.tables import windows
from storage.verify_rounds import verify_next
from tests.builders import a_dead_letter, a_feedback_event, a_prediction_event, an_arrival
from tests.storage.conftest import MODELS, Apply


def test_an_empty_database_has_nothing_to_tell(db: Database) -> None:
    with db.read() as c:
        overview = read_overview(c)
    assert overview.round is None
    assert (overview.dead_letters, overview.n_feedback, overview.n_joined) == ({}, 0, 0)


def test_dead_letters_are_counted_by_reason_and_feedback_by_whether_it_met_its_prediction(
    db: Database, apply_to: Apply
) -> None:
    apply_to(an_arrival([a_prediction_event(1)], dead=[a_dead_letter(1), a_dead_letter(2)]))
    events = [
        a_feedback_event(1001),
        a_feedback_event(1002, prediction=7),
        a_feedback_event(1003, who="auditor"),
    ]
    apply_to(an_arrival(events, topic="errata.feedback"))
    with db.read() as c:
        overview = read_overview(c)
    assert overview.dead_letters == {"broken_json": 2}
    assert (overview.n_feedback, overview.n_joined) == (2, 1)


def test_a_window_that_was_broken_shows(db: Database, apply_to: Apply) -> None:
    apply_to(an_arrival([a_prediction_event(1)]))
    with db.write() as c:
        c.execute(update(windows).where(windows.c.slice == "all").values(n=5))
    differences: list[str] = []
    for now_us in range(10):
        differences += verify_next(db, MODELS, now_us, new_id)[1]
    assert len(set(differences)) == 1
    with db.read() as c:
        current = read_overview(c).round
    assert current is not None
    assert current.n_differences_before == 1
