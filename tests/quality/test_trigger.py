"""When evidence of drift may open a run by itself."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.settings import Trigger
from quality.trigger import (
    MOST_DOUBLINGS,
    WEEK_US,
    Evidence,
    PastRun,
    cooldown_us,
    why_due,
    why_not_enough,
    why_not_now,
)
from quality.windows import DAY_US, HOUR_US

NOW_US = 1_795_415_400_000_000
TRIGGER = Trigger()
ENOUGH = Evidence(n=500, k=60, n_subjects=40, since_us=NOW_US - 3 * HOUR_US, until_us=NOW_US, allowed=0.06)


def a_run(decided_hours_ago: float | None = 200.0, **given) -> PastRun:
    decided_us = None if decided_hours_ago is None else NOW_US - round(decided_hours_ago * HOUR_US)
    values = {
        "id": "r1",
        "status": "training" if decided_us is None else "kept",
        "opened_us": (NOW_US if decided_us is None else decided_us) - HOUR_US,
        "decided_us": decided_us,
        "automatic": True,
        "failed_gate": False,
    }
    return PastRun(**(values | given))


def test_enough_evidence_and_no_run_lately_open_a_run() -> None:
    assert why_not_now([a_run()], TRIGGER, NOW_US) is None
    assert why_not_enough(ENOUGH, TRIGGER) is None


def test_an_open_run() -> None:
    found = why_not_now([a_run(None)], TRIGGER, NOW_US)
    assert found is not None
    assert (found.rule, found.reason) == ("run_open", "Run r1 is training already.")


@pytest.mark.parametrize("automatic", [True, False])
def test_the_cooldown_after_a_decided_run(automatic: bool) -> None:
    trigger = Trigger(cooldown_seconds=3600)
    decided = a_run(1.0, automatic=automatic)
    found = why_not_now([decided], trigger, NOW_US - 1)
    assert found is not None
    assert found.rule == "cooldown"
    assert found.reason == ("The last run was decided at 2026-11-23T05:30:00.000000Z, less than 1 hours ago.")
    assert why_not_now([decided], trigger, NOW_US) is None


@pytest.mark.parametrize(("failed", "hours"), [(0, 24), (1, 48), (2, 96), (4, 384), (9, 384)])
def test_the_cooldown_doubles_with_each_candidate_in_a_row_that_failed(failed: int, hours: int) -> None:
    runs = [a_run(500.0 - 10 * number, failed_gate=True) for number in range(failed)]
    assert cooldown_us([a_run(900.0), *runs], TRIGGER) == hours * HOUR_US
    assert cooldown_us([*runs, a_run(1.0)], TRIGGER) == 24 * HOUR_US
    assert MOST_DOUBLINGS == 4


def test_a_doubled_cooldown_says_why() -> None:
    found = why_not_now([a_run(30.0, failed_gate=True)], TRIGGER, NOW_US)
    assert found is not None
    assert found.reason.endswith(
        "less than 48 hours ago, doubled for each of 1 candidates that failed the gate."
    )


def test_the_budget_of_a_week_counts_what_opened_by_itself() -> None:
    runs = [a_run(30.0), a_run(100.0)]
    found = why_not_now(runs, TRIGGER, NOW_US)
    assert found is not None
    assert (found.rule, found.reason) == (
        "budget",
        "2 runs opened by themselves in the last 7 days, and 2 may.",
    )
    assert why_not_now([runs[0], replace(runs[1], automatic=False)], TRIGGER, NOW_US) is None
    assert why_not_now([runs[0], a_run(168.0)], TRIGGER, NOW_US) is None


@pytest.mark.parametrize(
    ("change", "rule", "reason"),
    [
        ({"k": 29}, "corrections", "A run needs 30 corrections since the change, and there are 29."),
        (
            {"n": 199},
            "predictions",
            "A run needs 200 matured predictions since the change, and there are 199.",
        ),
        ({"n_subjects": 19}, "subjects", "A run needs 20 subjects since the change, and there are 19."),
        (
            {"since_us": NOW_US - HOUR_US},
            "duration",
            "A run needs a change of 2 hours, and it has lasted 1.",
        ),
        (
            {"allowed": 0.11},
            "bound",
            "The rate since the change may be as low as 7.5%, and up to 11.0% is allowed.",
        ),
    ],
)
def test_each_floor_of_the_evidence(change: dict[str, float], rule: str, reason: str) -> None:
    found = why_not_enough(replace(ENOUGH, **change), TRIGGER)
    assert found is not None
    assert (found.rule, found.reason) == (rule, reason)


def test_a_run_is_due_when_nothing_has_happened_for_long() -> None:
    month_ago = NOW_US - 30 * DAY_US
    assert why_due([], month_ago, TRIGGER, NOW_US) == "There was no run and no release for 30 days."
    assert why_due([], month_ago + 1, TRIGGER, NOW_US) is None
    assert why_due([a_run(5.0)], month_ago, TRIGGER, NOW_US) is None
    assert why_due([], month_ago, Trigger(scheduled_days=0), NOW_US) is None


attempts = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 30), st.booleans(), st.booleans()), max_size=60
)


@given(attempts, st.integers(1, 3), st.integers(0, 30))
def test_never_more_than_the_budget_in_a_week_and_never_two_within_the_cooldown(
    arrived: list[tuple[int, int, bool, bool]], runs_per_week: int, cooldown_hours: int
) -> None:
    trigger = Trigger(runs_per_week=runs_per_week, cooldown_seconds=3600.0 * cooldown_hours)
    runs: list[PastRun] = []
    now_us = NOW_US
    for wait_hours, takes_hours, failed_gate, by_hand in arrived:
        now_us += wait_hours * HOUR_US
        decided = [
            replace(run, decided_us=run.opened_us + takes_hours * HOUR_US, failed_gate=failed_gate)
            if run.decided_us is None and run.opened_us + takes_hours * HOUR_US <= now_us
            else run
            for run in runs
        ]
        runs = decided
        is_open = any(run.decided_us is None for run in runs)
        if not is_open and (by_hand or why_not_now(runs, trigger, now_us) is None):
            if not by_hand and runs:
                assert now_us >= max(run.decided_us or 0 for run in runs) + cooldown_us(runs, trigger)
            runs.append(a_run(None, id=str(len(runs)), opened_us=now_us, automatic=not by_hand))
    opened = sorted(run.opened_us for run in runs if run.automatic)
    for place, first_us in enumerate(opened):
        assert sum(first_us <= each < first_us + WEEK_US for each in opened[place:]) <= runs_per_week
