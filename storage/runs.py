"""Retraining runs: their status, each arrow with its evidence, scorecards, and cases side by side."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

from sqlalchemy import Connection, Row, func, insert, select, update

from storage.errors import NotFound
from storage.insertion import insert_new
from storage.json_text import from_text, to_text
from storage.records import Case, Change, Run, RunStatus, RunStep, Scorecard, Step
from storage.tables import cases, run_steps, runs, scorecards


def open_run(c: Connection, run: Run) -> None:
    """Store a new run."""
    c.execute(insert(runs).values(asdict(run)))


def get_run(c: Connection, run_id: str) -> Run:
    """One run; raises NotFound."""
    row = c.execute(select(runs).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound("run", run_id)
    return _to_run(row)


def lock_run(c: Connection, run_id: str) -> Run:
    """One run that no other transaction changes before the end of this one; raises NotFound."""
    row = c.execute(select(runs).where(runs.c.id == run_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("run", run_id)
    return _to_run(row)


def list_runs(
    c: Connection,
    *,
    model: str | None = None,
    status: RunStatus | Sequence[RunStatus] | None = None,
    limit: int | None = None,
) -> list[Run]:
    """Runs, the newest first; `status` may name several."""
    query = select(runs).order_by(runs.c.opened_us.desc(), runs.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(runs.c.model == model)
    if status is not None:
        query = query.where(runs.c.status.in_([status] if isinstance(status, str) else list(status)))
    return [_to_run(row) for row in c.execute(query)]


def update_run(c: Connection, run_id: str, **changes: Any) -> None:
    """Set columns of a run; raises NotFound."""
    if not c.execute(update(runs).where(runs.c.id == run_id).values(changes)).rowcount:
        raise NotFound("run", run_id)


def put_step(c: Connection, step: RunStep) -> None:
    """Store that an arrow was taken; where it was taken before, the first evidence stays."""
    row = {
        "run_id": step.run_id,
        "step": step.step,
        "evidence": to_text(step.evidence),
        "time_us": step.time_us,
    }
    insert_new(c, run_steps, [row])


def read_steps(c: Connection, run_id: str) -> list[RunStep]:
    """The arrows a run has taken, in the order of the loop."""
    steps = [
        RunStep(run_id=row.run_id, step=row.step, evidence=from_text(row.evidence), time_us=row.time_us)
        for row in c.execute(select(run_steps).where(run_steps.c.run_id == run_id))
    ]
    return sorted(steps, key=lambda step: get_args(Step).index(step.step))


def put_scorecards(c: Connection, new: Sequence[Scorecard]) -> None:
    """Store scorecards; one that is stored already stays."""
    insert_new(c, scorecards, [asdict(card) for card in new])


def read_scorecards(
    c: Connection, *, run_id: str | None = None, version: str | None = None, model: str | None = None
) -> list[Scorecard]:
    """Scorecards of a run, version or model, by run, version and part."""
    query = (
        select(scorecards)
        .join(runs, runs.c.id == scorecards.c.run_id)
        .order_by(runs.c.opened_us, scorecards.c.run_id, scorecards.c.version, scorecards.c.part)
    )
    for column, value in ((runs.c.id, run_id), (scorecards.c.version, version), (runs.c.model, model)):
        if value is not None:
            query = query.where(column == value)
    return [Scorecard(**row) for row in c.execute(query).mappings()]


def put_cases(c: Connection, new: Sequence[Case]) -> None:
    """Store cases; one that is stored already stays."""
    insert_new(
        c,
        cases,
        [
            {
                "run_id": case.run_id,
                "example_id": case.example_id,
                "change": case.change,
                "champion_output": to_text(case.champion_output),
                "candidate_output": to_text(case.candidate_output),
                "champion_ppm": case.champion_ppm,
                "candidate_ppm": case.candidate_ppm,
            }
            for case in new
        ],
    )


def read_cases(
    c: Connection,
    run_id: str,
    change: Change | None = None,
    limit: int | None = None,
) -> list[Case]:
    """Cases of a run; those whose distance changed most come first."""
    change_ppm = func.abs(cases.c.champion_ppm - cases.c.candidate_ppm)
    query = select(cases).where(cases.c.run_id == run_id).limit(limit)
    if change is not None:
        query = query.where(cases.c.change == change)
    return [
        Case(
            run_id=row.run_id,
            example_id=row.example_id,
            change=row.change,
            champion_output=from_text(row.champion_output),
            candidate_output=from_text(row.candidate_output),
            champion_ppm=row.champion_ppm,
            candidate_ppm=row.candidate_ppm,
        )
        for row in c.execute(query.order_by(change_ppm.desc(), cases.c.example_id))
    ]


def _to_run(row: Row[Any]) -> Run:
    return Run(**row._mapping)
