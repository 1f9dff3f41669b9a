"""Whatever happens to a history on its way, the numbers are those of a plain count."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from errata.events import Event, FeedbackData, PredictionData
from storage.database import Database
from storage.intake import sweep_orphans
from storage.tables import (
    feedback,
    intake_ledger,
    intake_positions,
    outcomes,
    predictions,
    slice_values,
    windows,
)
from storage.verify import verify
from storage.windows import contribution_of, read_windows
from tests.builders import (
    MINUTE_US,
    SECOND_US,
    START_US,
    a_feedback_event,
    a_prediction_event,
    an_arrival,
)
from tests.records import MODEL
from tests.storage.conftest import MODELS, Apply

SHOWN = ["4111", "4112", ""]
CORRECTED = ["4111", "4112", "", "411", {"not": "a text"}]


@dataclass(frozen=True)
class History:
    """Events, and what happens to them: an order with repetitions, and the sizes of the runs."""

    events: list[Event]
    runs: list[tuple[int, list[Event]]]


@st.composite
def histories(draw: st.DrawFn) -> History:
    n_predictions = draw(st.integers(1, 5))
    made = [
        a_prediction_event(
            number,
            output=draw(st.sampled_from(SHOWN)),
            version=draw(st.sampled_from(["1", "2"])),
            time_us=START_US + draw(st.integers(0, 2)) * MINUTE_US,
            latency_ms=draw(st.sampled_from([None, 1.0, 50.0])),
            tags=draw(st.sampled_from([{}, {"device": "ios"}, {"device": "ios", "country": "kr"}])),
        )
        for number in range(n_predictions)
    ]
    given_later = [
        a_feedback_event(
            1000 + number,
            # The last one's prediction never comes.
            prediction=draw(st.integers(0, n_predictions)),
            action=draw(st.sampled_from(["edit", "edit", "accept", "reject"])),
            corrected=draw(st.sampled_from(CORRECTED)),
            # Equal times are likely; then the id decides.
            time_us=START_US + draw(st.integers(-1, 3)) * SECOND_US,
            display_ms=draw(st.sampled_from([None, 120.0, 480.0])),
            who=draw(st.sampled_from(["user", "user", "user", "annotator"])),
        )
        for number in range(draw(st.integers(0, 8)))
    ]
    events = made + given_later
    arrivals = draw(st.permutations(events + draw(st.lists(st.sampled_from(events), max_size=6))))
    cuts = sorted(draw(st.lists(st.integers(0, len(arrivals)), max_size=5)))
    partition = st.integers(0, 2)
    runs = [
        (draw(partition), list(arrivals[start:end]))
        for start, end in zip([0, *cuts], [*cuts, len(arrivals)], strict=True)
    ]
    return History(events, runs)


Counted = dict[tuple[str, str, int], Counter[str]]


def count_plainly(history: History) -> tuple[Counted, dict[str, tuple[str, str]]]:
    """Windows and outcomes by the definition, from the events alone."""
    counted: Counted = defaultdict(Counter)
    became: dict[str, tuple[str, str]] = {}
    given_later = [event for event in history.events if isinstance(event.data, FeedbackData)]
    for event in history.events:
        if not isinstance(event.data, PredictionData):
            continue
        answers = [
            answer
            for answer in given_later
            if answer.data.prediction_id == event.id and answer.data.who.kind == "user"
        ]
        numbers: Counter[str] = Counter(n=1, served=int(event.data.latency_ms is not None))
        if answers:
            last = max(answers, key=lambda answer: (answer.time_us, answer.id))
            action, distance = judge_plainly(event.data.output, last.data)
            became[event.id] = last.id, action
            numbers[f"n_{action}"] = 1
            numbers["shown"] = int(last.data.display_ms is not None)
            if distance is not None:
                numbers["n_distance"], numbers["distance_ppm"] = 1, distance
        for name in ["all", *(f"{tag}={value}" for tag, value in event.data.tags.items())]:
            counted[event.data.version, name, event.time_us // MINUTE_US * MINUTE_US].update(numbers)
    return {key: +numbers for key, numbers in counted.items()}, became


def judge_plainly(shown: Any, feedback: FeedbackData) -> tuple[str, int | None]:
    if feedback.action != "edit":
        return feedback.action, 0 if feedback.action == "accept" else None
    if not isinstance(feedback.corrected, str):
        return "edit", None
    if feedback.corrected == shown:
        return "accept", 0
    return "edit", {
        ("4111", "4112"): 250_000,
        ("4112", "4111"): 250_000,
        ("4111", "411"): 333_333,
        ("4112", "411"): 333_333,
    }.get((shown, feedback.corrected), 1_000_000)


def read_counts(db: Database) -> Counted:
    counted: Counted = {}
    with db.read() as c:
        for name in ("all", "device=ios", "country=kr"):
            for window in read_windows(c, model=MODEL, slice=name):
                contribution = contribution_of(window)
                numbers = Counter(
                    {
                        each: getattr(window, each)
                        for each in ("n", "n_edit", "n_accept", "n_reject", "n_distance", "distance_ppm")
                    }
                )
                numbers["served"] = sum(contribution.served.values())
                numbers["shown"] = sum(contribution.shown.values())
                assert min(numbers.values()) >= 0
                counted[window.version, name, window.minute_us] = +numbers
    return counted


def empty(db: Database) -> None:
    with db.write() as c:
        for table in (
            predictions,
            feedback,
            outcomes,
            windows,
            slice_values,
            intake_positions,
            intake_ledger,
        ):
            c.execute(delete(table))


@given(history=histories())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_numbers_are_those_of_a_plain_count(history: History, db: Database, apply_to: Apply) -> None:
    empty(db)
    offsets: Counter[int] = Counter()
    for partition, events in history.runs:
        applied = apply_to(an_arrival(events, partition=partition, first_offset=offsets[partition]))
        assert applied.n == applied.n_new + applied.n_duplicate == len(events)
        offsets[partition] += len(events)
    counted, became = count_plainly(history)
    assert read_counts(db) == counted
    with db.read() as c:
        stored = {row.prediction_id: (row.feedback_id, row.action) for row in c.execute(select(outcomes))}
    assert stored == became
    assert verify(db, MODELS).differences == []
    # Nothing missed each other here, so the sweep has nothing to add.
    assert sweep_orphans(db, MODELS, START_US) == 0


def test_a_long_history_in_three_partitions(db: Database, apply_to: Apply) -> None:
    rng = random.Random(3)
    events = [a_prediction_event(number, output="4111") for number in range(300)]
    events += [
        a_feedback_event(
            10_000 + number,
            prediction=rng.randrange(320),
            action=rng.choice(["edit", "accept", "reject"]),
            corrected=rng.choice(CORRECTED),
            time_us=START_US + rng.randrange(100),
        )
        for number in range(600)
    ]
    arrivals = events + rng.sample(events, 200)
    rng.shuffle(arrivals)
    for partition in range(3):
        portion = arrivals[partition::3]
        for at in range(0, len(portion), 60):
            apply_to(an_arrival(portion[at : at + 60], partition=partition, first_offset=at))
    counted, _ = count_plainly(History(events, []))
    assert read_counts(db) == counted
    assert verify(db, MODELS).differences == []
