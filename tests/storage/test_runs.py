import pytest

from errata.errors import Malformed
from storage.database import Database
from storage.errors import NotFound
from storage.examples import put_examples
from storage.records import Case, RunStep, Scorecard
from storage.runs import (
    get_run,
    list_runs,
    open_run,
    put_cases,
    put_scorecards,
    put_step,
    read_cases,
    read_scorecards,
    read_steps,
    update_run,
)
from tests.records import MODEL, make_example, make_run, number_id

RUN = number_id(1)


def make_case(number: int, champion_ppm: int, candidate_ppm: int, change: str = "fixed") -> Case:
    return Case(
        run_id=RUN,
        example_id=number_id(number),
        change=change,
        champion_output={"number": "1"},
        candidate_output=None,
        champion_ppm=champion_ppm,
        candidate_ppm=candidate_ppm,
    )


def make_scorecard(version: str, part: str, n_wrong: int = 3, run_id: str = RUN) -> Scorecard:
    return Scorecard(
        run_id=run_id,
        version=version,
        part=part,
        n=10,
        n_wrong=n_wrong,
        distance_ppm=7_000_000_000,
        latency_us_p50=120,
        latency_us_p95=None,
        per_second=812.5,
    )


def test_a_run_comes_back_as_it_was_stored_and_changed(db: Database) -> None:
    with db.write() as c:
        open_run(c, make_run())
    with db.write() as c:
        assert get_run(c, RUN) == make_run()
        update_run(c, RUN, status="requested", batch_id=number_id(5))
    with db.read() as c:
        assert get_run(c, RUN) == make_run(status="requested", batch_id=number_id(5))


def test_a_missing_run_is_not_found(db: Database) -> None:
    with db.write() as c:
        with pytest.raises(NotFound, match=RUN):
            get_run(c, RUN)
        with pytest.raises(NotFound, match=RUN):
            update_run(c, RUN, status="failed")


def test_runs_are_listed_newest_first_by_model_and_status(db: Database) -> None:
    with db.write() as c:
        open_run(c, make_run(1))
        open_run(c, make_run(2, status="requested"))
        open_run(c, make_run(3, model="translator", status="kept"))
    with db.read() as c:
        assert [run.id for run in list_runs(c)] == [number_id(3), number_id(2), number_id(1)]
        assert [run.id for run in list_runs(c, limit=1)] == [number_id(3)]
        assert [run.id for run in list_runs(c, model=MODEL, status="waiting")] == [number_id(1)]
        assert [run.id for run in list_runs(c, status=["waiting", "requested"])] == [
            number_id(2),
            number_id(1),
        ]


def test_two_runs_never_make_the_same_version(db: Database) -> None:
    with db.write() as c:
        open_run(c, make_run(1, candidate="2"))
        open_run(c, make_run(2, candidate="2", model="translator"))
        open_run(c, make_run(3))
        open_run(c, make_run(4))
    with pytest.raises(Malformed), db.write() as c:
        open_run(c, make_run(5, candidate="2"))


def test_the_first_evidence_of_a_step_stays(db: Database) -> None:
    first = RunStep(run_id=RUN, step="frozen", evidence={"hash": "a"}, time_us=1)
    opened = RunStep(run_id=RUN, step="opened", evidence={}, time_us=0)
    with db.write() as c:
        open_run(c, make_run())
        put_step(c, first)
        put_step(c, RunStep(run_id=RUN, step="frozen", evidence={"hash": "b"}, time_us=2))
        put_step(c, opened)
    with db.read() as c:
        assert read_steps(c, RUN) == [opened, first]


def test_scorecards_are_stored_once_and_found_by_run_version_and_model(db: Database) -> None:
    cards = [make_scorecard("1", "after"), make_scorecard("1", "all"), make_scorecard("2", "all")]
    other = make_scorecard("1", "all", run_id=number_id(2))
    with db.write() as c:
        open_run(c, make_run(1))
        open_run(c, make_run(2, model="translator"))
        put_scorecards(c, cards)
        put_scorecards(c, [make_scorecard("1", "all", n_wrong=9), other])
    with db.read() as c:
        assert read_scorecards(c, run_id=RUN) == cards
        assert read_scorecards(c, version="2") == cards[2:]
        assert read_scorecards(c, model="translator") == [other]


def test_the_cases_that_changed_most_come_first(db: Database) -> None:
    cases = [
        make_case(1, 500_000, 500_000, "still_wrong"),
        make_case(2, 1_000_000, 0),
        make_case(3, 0, 300_000, "broken"),
    ]
    with db.write() as c:
        open_run(c, make_run())
        put_examples(c, [make_example(number) for number in (1, 2, 3)])
        put_cases(c, cases)
        put_cases(c, cases)
    with db.read() as c:
        assert read_cases(c, RUN) == [cases[1], cases[2], cases[0]]
        assert read_cases(c, RUN, limit=1) == [cases[1]]
        assert read_cases(c, RUN, change="broken") == [cases[2]]
