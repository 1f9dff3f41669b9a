"""Intake: every event counts once, whatever its order, its company and the faults around it."""

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, text

from errata.errors import Behind, Stop, Unavailable
from errata.wire import decode_event
from storage import intake
from storage.database import Database, migrate, open_database
from storage.dead_letters import list_dead_letters
from storage.intake import Arrival, count_orphans, stored_positions, sweep_orphans
from storage.records import Window
from storage.tables import feedback, intake_ledger, intake_positions, outcomes, predictions, slice_values, voc
from storage.verify import verify
from storage.windows import contribution_of, read_windows, sum_windows
from tests.builders import (
    MINUTE_US,
    SECOND_US,
    START_US,
    a_dead_letter,
    a_feedback_event,
    a_feedback_row,
    a_prediction_event,
    a_voc_event,
    an_arrival,
)
from tests.records import MODEL, number_id
from tests.servers import fresh_postgres_database
from tests.storage.conftest import MODELS, Apply

FEEDBACK = "errata.feedback"
#: What the proof says of a feedback that a test has put there by itself.
LEDGER_KNOWS_NOTHING_OF_IT = "3 events are stored, but the ledger says 2 were new"


def window(db: Database, slice_name: str = "all") -> Window:
    with db.read() as c:
        (found,) = read_windows(c, model=MODEL, slice=slice_name)
    return found


def counts(found: Window) -> tuple[int, int, int, int]:
    return found.n, found.n_edit, found.n_accept, found.n_reject


def stored(db: Database, query: Any) -> list[Any]:
    with db.read() as c:
        return list(c.execute(query).all())


class TestOneRun:
    def test_predictions_are_counted_in_their_minute_and_in_each_slice(
        self, db: Database, apply_to: Apply
    ) -> None:
        applied = apply_to(
            an_arrival(
                [
                    a_prediction_event(1, tags={"device": "ios"}, latency_ms=10),
                    a_prediction_event(2, tags={"device": "web", "country": "kr"}, latency_ms=None),
                    a_prediction_event(3, tags={}, time_us=START_US + MINUTE_US),
                ]
            )
        )
        assert (applied.n, applied.n_new, applied.n_duplicate, applied.n_dead) == (3, 3, 0, 0)
        with db.read() as c:
            sums = {(found.slice, found.minute_us): found.n for found in sum_windows(c, model=MODEL)}
            minutes = [(found.minute_us, found.n) for found in read_windows(c, model=MODEL)]
        assert sums == {
            ("all", START_US): 3,
            ("device=ios", START_US): 1,
            ("device=web", START_US): 1,
            ("country=kr", START_US): 1,
        }
        assert minutes == [(START_US, 2), (START_US + MINUTE_US, 1)]
        assert verify(db, MODELS).differences == []

    def test_the_ledger_and_the_position_are_written(self, db: Database, apply_to: Apply) -> None:
        events = [a_prediction_event(number) for number in range(6)]
        apply_to(an_arrival(events, events_per_record=3, first_offset=5, partition=2))
        (row,) = stored(db, select(intake_ledger))
        assert (row.first_offset, row.next_offset, row.n_records, row.n, row.n_new) == (5, 7, 2, 6, 6)
        assert stored_positions(db, [("errata.predictions", 2), ("errata.predictions", 3)]) == {
            ("errata.predictions", 2): (7, "the-topic")
        }
        assert stored_positions(db, []) == {}

    def test_a_run_without_events_advances_the_position(self, db: Database, apply_to: Apply) -> None:
        apply_to(replace(an_arrival(), next_offset=4, n_records=4))
        assert stored_positions(db, [("errata.predictions", 0)])["errata.predictions", 0][0] == 4

    def test_voc_is_stored_even_of_an_unknown_model(self, db: Database, apply_to: Apply) -> None:
        apply_to(
            an_arrival([a_voc_event(1), a_voc_event(2, model="unknown"), a_voc_event(1)], topic="errata.voc")
        )
        rows = stored(db, select(voc.c.text, voc.c.model, voc.c.status).order_by(voc.c.id))
        assert [tuple(row) for row in rows] == [
            ("카드 번호를 자꾸 틀려요", None, "new"),
            ("카드 번호를 자꾸 틀려요", "unknown", "new"),
        ]

    def test_dead_letters_are_counted_and_stored(self, db: Database, apply_to: Apply) -> None:
        applied = apply_to(
            an_arrival([a_prediction_event(1)], dead=[a_dead_letter(1), a_dead_letter(1, position=1)])
        )
        assert (applied.n, applied.n_new, applied.n_dead) == (3, 1, 2)
        with db.read() as c:
            assert {(letter.offset, letter.position) for letter in list_dead_letters(c)} == {(1, 0), (1, 1)}

    def test_an_unknown_model_is_a_dead_letter_that_names_the_nearest_and_can_be_sent_again(
        self, db: Database, apply_to: Apply
    ) -> None:
        event = a_prediction_event(1, model="card-raeder")
        applied = apply_to(an_arrival([a_prediction_event(2), event]))
        assert (applied.n_new, applied.n_dead) == (1, 1)
        with db.read() as c:
            (letter,) = list_dead_letters(c)
        assert (letter.reason, letter.offset) == ("unknown_model", 1)
        assert "card-raeder" in letter.detail
        assert "did you mean card-reader" in letter.detail
        assert decode_event(letter.raw) == event

    def test_an_unknown_model_where_no_model_is_configured(self, db: Database, apply_to: Apply) -> None:
        assert apply_to(an_arrival([a_prediction_event(1)]), models={}).n_dead == 1


class TestPairs:
    def test_feedback_after_its_prediction(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival([a_prediction_event(1)]))
        apply_to(an_arrival([a_feedback_event(corrected="4111 1117", display_ms=200)], topic=FEEDBACK))
        found = window(db)
        assert counts(found) == (1, 1, 0, 0)
        assert (found.n_distance, found.distance_ppm) == (1, 111_111)
        assert contribution_of(found).shown
        (outcome,) = stored(db, select(outcomes))
        assert (outcome.action, outcome.delay_us, outcome.display_us) == ("edit", 5 * SECOND_US, 200_000)
        assert verify(db, MODELS).differences == []

    def test_feedback_before_its_prediction_in_an_earlier_transaction(
        self, db: Database, apply_to: Apply
    ) -> None:
        apply_to(an_arrival([a_feedback_event(action="reject")], topic=FEEDBACK))
        with db.read() as c:
            assert count_orphans(c) == 1
        apply_to(an_arrival([a_prediction_event(1)]))
        with db.read() as c:
            assert count_orphans(c) == 0
        assert counts(window(db)) == counts(window(db, "device=ios")) == (1, 0, 0, 1)
        assert verify(db, MODELS).differences == []

    def test_feedback_days_later_restates_the_minute_of_the_prediction(
        self, db: Database, apply_to: Apply
    ) -> None:
        apply_to(an_arrival([a_prediction_event(1)]))
        apply_to(an_arrival([a_feedback_event(time_us=START_US + 5000 * MINUTE_US)], topic=FEEDBACK))
        assert window(db).minute_us == START_US
        assert counts(window(db)) == (1, 1, 0, 0)

    def test_the_last_feedback_by_event_time_counts_in_whatever_order_they_come(
        self, db: Database, apply_to: Apply
    ) -> None:
        last = a_feedback_event(1003, action="accept", time_us=START_US + 30 * SECOND_US, display_ms=None)
        first = a_feedback_event(1001, action="edit", time_us=START_US + 10 * SECOND_US)
        middle = a_feedback_event(1002, action="reject", time_us=START_US + 20 * SECOND_US)
        apply_to(an_arrival([a_prediction_event(1)]))
        for offset, event in enumerate([first, last, middle]):
            apply_to(an_arrival([event], topic=FEEDBACK, first_offset=offset))
        found = window(db)
        assert counts(found) == (1, 0, 1, 0)
        assert (found.n_distance, found.distance_ppm, found.distance_ppm_squares) == (1, 0, 0)
        assert contribution_of(found).shown == {}
        assert verify(db, MODELS).differences == []

    def test_an_edit_back_to_the_shown_output_counts_as_accept(self, db: Database, apply_to: Apply) -> None:
        again = a_feedback_event(1002, corrected="4111 1111", time_us=START_US + MINUTE_US)
        apply_to(an_arrival([a_prediction_event(1), a_feedback_event(1001), again]))
        assert counts(window(db)) == (1, 0, 1, 0)

    def test_feedback_of_annotators_and_auditors_is_kept_and_does_not_count(
        self, db: Database, apply_to: Apply
    ) -> None:
        labels = [a_feedback_event(1001, who="annotator"), a_feedback_event(1002, who="auditor")]
        applied = apply_to(an_arrival([a_prediction_event(1), *labels]))
        assert applied.n_new == 3
        assert counts(window(db)) == (1, 0, 0, 0)
        assert stored(db, select(outcomes)) == []
        with db.read() as c:
            assert count_orphans(c) == 0

    @pytest.mark.parametrize("prediction_first", [True, False])
    def test_an_edit_of_the_wrong_type_counts_without_a_distance_whichever_came_first(
        self, db: Database, apply_to: Apply, prediction_first: bool
    ) -> None:
        made, given = a_prediction_event(1), a_feedback_event(corrected={"not": "a text"})
        runs = [an_arrival([made]), an_arrival([given], topic=FEEDBACK)]
        applied = [apply_to(run) for run in (runs if prediction_first else reversed(runs))]
        assert [run.n_dead for run in applied] == [0, 0]
        found = window(db)
        assert counts(found) == (1, 1, 0, 0)
        assert (found.n_distance, found.distance_ppm) == (0, 0)
        assert verify(db, MODELS).differences == []


class TestRepetition:
    def test_an_id_counts_once_in_a_run_and_in_all_runs(self, db: Database, apply_to: Apply) -> None:
        events = [a_prediction_event(1), a_prediction_event(1), a_feedback_event(), a_feedback_event()]
        first = apply_to(an_arrival(events))
        second = apply_to(an_arrival(events, first_offset=4))
        third = apply_to(an_arrival(events, partition=1))
        assert [(run.n, run.n_new, run.n_duplicate) for run in (first, second, third)] == [
            (4, 2, 2),
            (4, 0, 4),
            (4, 0, 4),
        ]
        assert counts(window(db)) == (1, 1, 0, 0)
        assert verify(db, MODELS).differences == []

    def test_of_two_events_with_one_id_the_first_stays(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival([a_prediction_event(1, output="first"), a_prediction_event(1, output="second")]))
        apply_to(an_arrival([a_prediction_event(1, output="third")], first_offset=2))
        assert [row.output for row in stored(db, select(predictions))] == ['"first"']

    def test_a_run_that_was_applied_adds_nothing_and_leaves_no_row(
        self, db: Database, apply_to: Apply
    ) -> None:
        run = an_arrival([a_prediction_event(1), a_prediction_event(2)])
        apply_to(run)
        again = apply_to(run)
        assert (again.n, again.n_new, again.n_duplicate, again.n_records) == (0, 0, 0, 0)
        assert len(stored(db, select(intake_ledger))) == 1

    def test_of_a_run_that_was_applied_in_part_only_the_rest_is(self, db: Database, apply_to: Apply) -> None:
        events = [a_prediction_event(number) for number in range(1, 5)]
        apply_to(an_arrival(events[:3]))
        applied = apply_to(an_arrival(events, dead=[a_dead_letter(2), a_dead_letter(4)]))
        assert (applied.first_offset, applied.next_offset, applied.n_records) == (3, 5, 2)
        assert (applied.n, applied.n_new, applied.n_duplicate, applied.n_dead) == (2, 1, 0, 1)
        assert verify(db, MODELS).differences == []

    def test_a_hole_before_a_run_is_not_skipped_over(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival([a_prediction_event(1)]))
        with pytest.raises(Behind, match=r"stored up to offset 1 only.*was the database restored"):
            apply_to(an_arrival([a_prediction_event(2)], first_offset=10))
        assert len(stored(db, select(predictions))) == 1
        assert verify(db, MODELS).differences == []

    def test_what_follows_the_first_run_of_a_partition_does_not_begin_it(
        self, db: Database, apply_to: Apply
    ) -> None:
        """The database was restored from before its first run, or that one was given up."""
        following = replace(an_arrival([a_prediction_event(2)], first_offset=10), begins=False)
        with pytest.raises(Behind, match="nothing of it is stored"):
            apply_to(following)
        assert stored(db, select(predictions)) == []
        assert stored(db, select(intake_positions)) == []

    def test_a_topic_that_was_created_anew_is_not_skipped_over(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival([a_prediction_event(1)]))
        with pytest.raises(Stop, match="created anew"):
            apply_to(an_arrival([a_prediction_event(2)], topic_id="another-topic"))
        assert len(stored(db, select(predictions))) == 1

    def test_a_broker_without_topic_ids_is_believed(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival([a_prediction_event(1)], topic_id=""))
        assert apply_to(an_arrival([a_prediction_event(2)], topic_id="", first_offset=1)).n_new == 1


class TestSlices:
    def test_values_beyond_the_cap_are_counted_together(self, db: Database, apply_to: Apply) -> None:
        values = ["a", "b", "c", "a", "d"]
        apply_to(
            an_arrival(
                [a_prediction_event(number, tags={"shop": value}) for number, value in enumerate(values)]
            ),
            values=2,
        )
        with db.read() as c:
            sums = {found.slice: found.n for found in sum_windows(c, model=MODEL)}
        assert sums == {"all": 5, "shop=a": 2, "shop=b": 1, "shop=__other__": 2}
        # The feedback restates the slices that counted the prediction.
        apply_to(an_arrival([a_feedback_event(prediction=4)], topic=FEEDBACK), values=2)
        assert counts(window(db, "shop=__other__")) == (2, 1, 0, 0)
        assert verify(db, MODELS).differences == []

    def test_the_cap_holds_over_runs_and_anew_in_each_hour(self, db: Database, apply_to: Apply) -> None:
        for offset, (value, hours) in enumerate([("a", 0), ("b", 0), ("b", 1), ("a", 0)]):
            event = a_prediction_event(
                offset, tags={"shop": value}, time_us=START_US + hours * 60 * MINUTE_US
            )
            apply_to(an_arrival([event], first_offset=offset), values=1)
        with db.read() as c:
            assert {found.slice: found.n for found in sum_windows(c, model=MODEL)} == {
                "all": 4,
                "shop=a": 2,
                "shop=__other__": 1,
                "shop=b": 1,
            }

    def test_tags_themselves_are_capped(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival([a_prediction_event(n, tags={f"tag{n}": "x"}) for n in range(5)]), values=2)
        with db.read() as c:
            assert {found.slice: found.n for found in sum_windows(c, model=MODEL)} == {
                "all": 5,
                "tag0=x": 1,
                "tag1=x": 1,
                "__other__=__other__": 3,
            }
        assert len(stored(db, select(slice_values))) == 4

    def test_the_values_that_come_first_have_room_whatever_their_ids(
        self, db: Database, apply_to: Apply
    ) -> None:
        apply_to(
            an_arrival([a_prediction_event(9 - n, tags={"shop": f"{n}"}) for n in range(5)]),
            values=2,
        )
        with db.read() as c:
            sums = {found.slice: found.n for found in sum_windows(c, model=MODEL)}
        assert sums == {"all": 5, "shop=0": 1, "shop=1": 1, "shop=__other__": 3}


class TestRefusedByTheDatabase:
    def test_the_one_bad_event_becomes_a_dead_letter_and_the_rest_is_applied(
        self, db: Database, apply_to: Apply
    ) -> None:
        events = [a_prediction_event(number) for number in range(1, 9)]
        # A number beyond 64 bits can't come over the wire; it stands for whatever validation has missed.
        events[5] = a_prediction_event(6, latency_ms=1e17)
        applied = apply_to(an_arrival([*events, a_feedback_event(prediction=1)]))
        assert (applied.n, applied.n_new, applied.n_dead) == (9, 8, 1)
        with db.read() as c:
            (letter,) = list_dead_letters(c)
        assert (letter.reason, letter.offset) == ("database_refused", 5)
        assert msgspec.json.decode(letter.raw)["id"] == number_id(6)
        assert counts(window(db)) == (7, 1, 0, 0)
        assert verify(db, MODELS).differences == []

    def test_a_run_of_nothing_but_bad_events_is_refused_whole(self, db: Database, apply_to: Apply) -> None:
        """Each is tried by itself in a savepoint of its own, of which PostgreSQL does not keep thousands open."""
        n = 1500 if db.dialect == "postgresql" else 150
        applied = apply_to(
            an_arrival([a_prediction_event(each, latency_ms=1e17) for each in range(1, n + 1)])
        )
        assert (applied.n, applied.n_new, applied.n_dead) == (n, 0, n)

    def test_half_of_a_character_is_refused_too(self, db: Database, apply_to: Apply) -> None:
        broken = a_prediction_event(1, subject="\ud83d")
        applied = apply_to(an_arrival([broken, a_prediction_event(2)]))
        assert (applied.n_new, applied.n_dead) == (1, 1)

    def test_a_dead_letter_is_kept_whatever_its_detail_cites(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival(dead=[a_dead_letter(0, detail="half \ud83d and \0")]))
        with db.read() as c:
            assert [letter.detail for letter in list_dead_letters(c)] == ["half \\ud83d and \\0"]


class TestFaults:
    def test_nothing_is_stored_when_the_database_fails_before_the_commit(
        self, db: Database, apply_to: Apply, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = an_arrival([a_prediction_event(1), a_feedback_event()])

        def fail(*_: Any, **__: Any) -> Any:
            raise Unavailable("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(intake, "_account", fail)
            with pytest.raises(Unavailable):
                apply_to(run)
        assert stored(db, select(predictions)) == []
        assert apply_to(run).n_new == 2

    def test_a_pair_that_missed_each_other_is_swept(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival([a_prediction_event(1)]))
        self.store_feedback_unpaired(db)
        assert counts(window(db)) == (1, 0, 0, 0)
        assert sweep_orphans(db, MODELS, START_US) == 1
        assert sweep_orphans(db, MODELS, START_US) == 0
        assert counts(window(db)) == (1, 1, 0, 0)

    @pytest.mark.parametrize("number", [1000, 1002])
    def test_a_feedback_that_missed_its_prediction_is_swept_though_there_is_an_outcome(
        self, db: Database, apply_to: Apply, number: int
    ) -> None:
        """An earlier feedback waited for the prediction, while a later one was coming at the same moment."""
        apply_to(an_arrival([a_feedback_event(number, action="accept")], topic=FEEDBACK))
        apply_to(an_arrival([a_prediction_event(1)]))
        self.store_feedback_unpaired(db)
        # At equal times the id decides.
        later_counts = number < 1001
        assert sweep_orphans(db, MODELS, START_US) == int(later_counts)
        assert sweep_orphans(db, MODELS, START_US) == 0
        assert counts(window(db)) == ((1, 1, 0, 0) if later_counts else (1, 0, 1, 0))
        assert verify(db, MODELS).differences == [LEDGER_KNOWS_NOTHING_OF_IT]

    def test_a_later_feedback_that_missed_its_prediction_is_swept_though_there_is_an_outcome(
        self, db: Database, apply_to: Apply
    ) -> None:
        early = a_feedback_event(9000, action="accept", time_us=START_US)
        apply_to(an_arrival([early], topic=FEEDBACK))
        apply_to(an_arrival([a_prediction_event(1)]))
        self.store_feedback_unpaired(db)
        assert sweep_orphans(db, MODELS, START_US) == 1
        assert sweep_orphans(db, MODELS, START_US) == 0
        assert counts(window(db)) == (1, 1, 0, 0)

    def test_the_sweep_looks_back_a_day_or_at_everything(self, db: Database, apply_to: Apply) -> None:
        apply_to(an_arrival([a_prediction_event(1)]))
        self.store_feedback_unpaired(db)
        much_later = START_US + 3 * 86_400 * SECOND_US
        assert sweep_orphans(db, MODELS, much_later) == 0
        assert sweep_orphans(db, MODELS, much_later, lookback_us=None) == 1

    def test_a_later_edit_in_another_shard_takes_the_first_one_back(
        self, db: Database, apply_to: Apply
    ) -> None:
        apply_to(an_arrival([a_prediction_event(1)], partition=0))
        apply_to(an_arrival([a_feedback_event(1001)], topic=FEEDBACK, partition=1))
        later = a_feedback_event(1002, action="accept", time_us=START_US + MINUTE_US, display_ms=None)
        apply_to(an_arrival([later], topic=FEEDBACK, partition=2))
        assert counts(window(db)) == (1, 0, 1, 0)
        assert contribution_of(window(db)).shown == {}
        assert verify(db, MODELS).differences == []

    def store_feedback_unpaired(self, db: Database) -> None:
        """As two transactions leave it that could not see each other."""
        with db.write() as c:
            row = a_feedback_row()
            c.execute(feedback.insert().values(**row))


@pytest.fixture
def url(postgres_url: str) -> str:
    """Of a PostgreSQL database with all tables: it alone has two writers at a time."""
    url = fresh_postgres_database(postgres_url)
    migrate(url)
    return url


class TestOneWorkerWaitsForAnother:
    """One transaction has done all but commit when another one comes: each lock is there for a reason."""

    def apply_both(
        self, url: str, monkeypatch: pytest.MonkeyPatch, first: Arrival, second: Arrival, values: int = 200
    ) -> None:
        """Apply `first` up to its commit, then `second` as far as it gets, and then let both end."""
        stored_all, may_commit = threading.Event(), threading.Event()
        account = intake._account

        def pause_first(arrival: Arrival, **given: Any) -> Any:
            if arrival.topic == first.topic and arrival.partition == first.partition:
                stored_all.set()
                assert may_commit.wait(20)
            return account(arrival, **given)

        monkeypatch.setattr(intake, "_account", pause_first)
        db = open_database(url)

        def work(arrival: Arrival) -> None:
            intake.apply(
                db, arrival, models=MODELS, slice_values_per_hour=values, worker="w", now_us=START_US
            )

        with ThreadPoolExecutor(2) as workers:
            earlier = workers.submit(work, first)
            assert stored_all.wait(20)
            later = workers.submit(work, second)
            while not later.done() and not self.someone_waits(db):
                wait([later], timeout=0.01)
            may_commit.set()
            earlier.result(20)
            later.result(20)
        db.close()

    def someone_waits(self, db: Database) -> bool:
        waiting = "wait_event_type = 'Lock' AND datname = current_database()"
        with db.read() as c:
            return bool(c.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}")))

    def check(self, url: str, expected: tuple[int, int, int, int]) -> None:
        db = open_database(url)
        assert counts(window(db)) == expected
        assert verify(db, MODELS).differences == []
        db.close()

    @pytest.mark.parametrize("prediction_first", [True, False])
    def test_a_pair_of_one_partition_number(
        self, url: str, monkeypatch: pytest.MonkeyPatch, prediction_first: bool
    ) -> None:
        runs = [an_arrival([a_prediction_event(1)]), an_arrival([a_feedback_event()], topic=FEEDBACK)]
        first, second = runs if prediction_first else reversed(runs)
        self.apply_both(url, monkeypatch, first, second)
        self.check(url, (1, 1, 0, 0))

    def test_feedback_for_one_prediction_in_two_partitions(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as undisturbed:
            self.apply_both(
                url, undisturbed, an_arrival([a_prediction_event(1)]), an_arrival(topic="errata.voc")
            )
        first = an_arrival([a_feedback_event(1001, action="reject")], topic=FEEDBACK, partition=1)
        later = a_feedback_event(1002, action="accept", time_us=START_US + MINUTE_US)
        self.apply_both(url, monkeypatch, first, an_arrival([later], topic=FEEDBACK, partition=2))
        self.check(url, (1, 0, 1, 0))

    def test_two_owners_of_a_partition(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        run = an_arrival([a_prediction_event(1)])
        self.apply_both(url, monkeypatch, run, run)
        self.check(url, (1, 0, 0, 0))

    def test_one_event_in_two_partitions(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        event = a_prediction_event(1)
        self.apply_both(url, monkeypatch, an_arrival([event]), an_arrival([event], partition=1))
        self.check(url, (1, 0, 0, 0))

    def test_the_last_free_place_among_the_values_of_a_tag(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = [
            an_arrival([a_prediction_event(number, tags={"shop": f"shop-{number}"})], partition=number)
            for number in range(2)
        ]
        self.apply_both(url, monkeypatch, runs[0], runs[1], values=1)
        db = open_database(url)
        with db.read() as c:
            sums = {found.slice: found.n for found in sum_windows(c, model=MODEL)}
        db.close()
        assert sums == {"all": 2, "shop=shop-0": 1, "shop=__other__": 1}


class TestWorkersSideBySide:
    """Many runs at once, in whatever way the database lets them through."""

    def run_side_by_side(self, url: str, works: Sequence[Sequence[Arrival]], values: int = 200) -> None:
        """Apply each list of arrivals in a thread of its own, retrying as a worker does."""
        start = threading.Barrier(len(works))
        errors: list[BaseException] = []

        def work(arrivals: Sequence[Arrival]) -> None:
            db = open_database(url)
            try:
                start.wait()
                for arrival in arrivals:
                    self.apply_at_last(db, arrival, values)
            except BaseException as error:
                errors.append(error)
            finally:
                db.close()

        threads = [threading.Thread(target=work, args=(arrivals,)) for arrivals in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []

    def apply_at_last(self, db: Database, arrival: Arrival, values: int) -> None:
        for _ in range(20):
            try:
                intake.apply(
                    db, arrival, models=MODELS, slice_values_per_hour=values, worker="w", now_us=START_US
                )
            except Unavailable:
                continue
            return
        raise AssertionError(f"{arrival.topic} {arrival.partition} {arrival.first_offset} was never applied")

    def test_every_pair_of_one_partition_is_found(self, url: str) -> None:
        n, size = 300, 20
        made = [a_prediction_event(number) for number in range(n)]
        given = [a_feedback_event(10_000 + number, prediction=number) for number in range(n)]
        self.run_side_by_side(
            url,
            [
                [an_arrival(made[at : at + size], first_offset=at) for at in range(0, n, size)],
                [
                    an_arrival(given[at : at + size], first_offset=at, topic=FEEDBACK)
                    for at in range(0, n, size)
                ],
            ],
        )
        db = open_database(url)
        assert counts(window(db)) == (n, n, 0, 0)
        assert verify(db, MODELS).differences == []
        db.close()

    def test_pairs_that_are_spread_over_partitions_are_found_by_the_sweep_at_the_latest(
        self, url: str
    ) -> None:
        n, size = 200, 20
        rng = random.Random(7)
        works = []
        for partition in range(3):
            events = [a_prediction_event(number) for number in range(n)]
            events += [a_feedback_event(10_000 + number, prediction=number) for number in range(n)]
            rng.shuffle(events)
            works.append(
                [
                    an_arrival(events[at : at + size], first_offset=at, partition=partition)
                    for at in range(0, 2 * n, size)
                ]
            )
        self.run_side_by_side(url, works)
        db = open_database(url)
        sweep_orphans(db, MODELS, START_US)
        assert counts(window(db)) == (n, n, 0, 0)
        assert verify(db, MODELS).differences == []
        db.close()

    def test_two_owners_of_a_partition_apply_it_once(self, url: str) -> None:
        runs = [an_arrival([a_prediction_event(number)], first_offset=number) for number in range(30)]
        self.run_side_by_side(url, [runs, runs])
        db = open_database(url)
        assert counts(window(db)) == (30, 0, 0, 0)
        assert len(stored(db, select(intake_ledger))) == 30
        assert verify(db, MODELS).differences == []
        db.close()

    def test_the_cap_on_slices_holds(self, url: str) -> None:
        works = [
            [
                an_arrival(
                    [a_prediction_event(1000 * partition + number, tags={"shop": f"{partition}-{number}"})],
                    first_offset=number,
                    partition=partition,
                )
                for number in range(15)
            ]
            for partition in range(3)
        ]
        self.run_side_by_side(url, works, values=10)
        db = open_database(url)
        with db.read() as c:
            sums = {found.slice: found.n for found in sum_windows(c, model=MODEL)}
        assert len([name for name in sums if name.startswith("shop=") and "__other__" not in name]) == 10
        assert sums["shop=__other__"] == 35
        db.close()

    def test_a_frozen_owner_that_wakes_up_late_adds_nothing(self, url: str) -> None:
        db = open_database(url)
        late = an_arrival([a_prediction_event(1)])
        longer = an_arrival([a_prediction_event(1), a_prediction_event(2)])
        self.run_side_by_side(url, [[longer]])
        self.apply_at_last(db, late, 200)
        assert counts(window(db)) == (2, 0, 0, 0)
        db.close()
