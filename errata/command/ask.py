"""`errata report | verify | replay | runs`: questions to a live system, and events from a file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from errata.command.session import for_terminal, now_us, print_json, session_of
from errata.settings import find_model

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    for verb in (report, verify, replay, runs):
        app.command()(verb)


def report(
    context: typer.Context,
    tags: Annotated[
        str | None,
        typer.Argument(help="With --slices: tags, separated by commas, whose joint slices are asked for."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="One model; all models unless given.")] = None,
    minutes: Annotated[int, typer.Option(min=1, max=52_560_000, help="How far back.")] = 1440,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if a requirement is not met in the last hour or day.")
    ] = False,
    slices: Annotated[
        bool,
        typer.Option("--slices", help="Instead: which slices are surely worse, and where detectors stand."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Online numbers per version and slice, and the requirement sheet of each champion.

    Rates with n and interval, edit distance, latency, QPS. Maturity is the share of the expected feedback that
    has come; newest tells how long ago the newest prediction was made.

    With --slices country,camera: the joint slices of these tags, and which are surely worse than the whole.

    Example: errata report --model card-reader --minutes 60 --check
    """
    from errata.command.reporting import print_report, read_report, report_json
    from errata.command.slices import (
        print_joint_slices,
        print_standings,
        read_joint_slices,
        read_standings,
    )

    session = session_of(context)
    if model is not None:
        find_model(session.settings, model)
    if slices and check:
        raise typer.BadParameter("--check looks at requirements: ask without --slices")
    if tags is not None and not slices:
        raise typer.BadParameter(
            f"{tags}: tags go with --slices, as in errata report --slices country,camera"
        )
    span_us = minutes * 60_000_000
    if tags is not None:
        wanted = list(dict.fromkeys(tag.strip() for tag in tags.split(",") if tag.strip()))
        if len(wanted) < 2:
            raise typer.BadParameter("joint slices need two tags or more, as in country,camera")
        with session.database() as database:
            found_joint = read_joint_slices(
                database, session.settings, model=model, tags=wanted, now_us=now_us(), span_us=span_us
            )
        (print_json if as_json else print_joint_slices)(found_joint)
        return
    if slices:
        with session.database() as database:
            rows = read_standings(database, session.settings, model=model, now_us=now_us(), span_us=span_us)
        (print_json if as_json else print_standings)(rows)
        return
    with session.database() as database:
        found = read_report(database, session.settings, model=model, now_us=now_us(), span_us=span_us)
    if as_json:
        print_json(report_json(found))
    else:
        print_report(found, session.settings)
    raise typer.Exit(1 if check and found.fails else 0)


def verify(context: typer.Context, as_json: Json = False) -> None:
    """Recount everything from the facts and compare; exit status 1 if anything differs.

    Example: errata verify
    """
    from storage.verify import verify as recount

    session = session_of(context)
    with session.database() as database:
        found = recount(database, session.settings.models)
    if as_json:
        print_json({"differences": found.differences, "checked": found.checked})
    else:
        checked = ", ".join(f"{count:,} {what}" for what, count in found.checked.items())
        sys.stdout.write(f"checked {checked}\n")
        for difference in found.differences:
            sys.stdout.write(f"DIFFERENT  {for_terminal(difference)}\n")
        sys.stdout.write("no difference\n" if not found.differences else "")
    raise typer.Exit(1 if found.differences else 0)


def replay(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CloudEvents, one JSON object per line.")],
) -> None:
    """Send the events of a file to Kafka; those stored before are counted as duplicates, not twice.

    Example: errata replay events.jsonl
    """
    from errata.command.replaying import replay_file

    settings = session_of(context).settings
    sent, refused = replay_file(settings, file)
    for line, reason in refused:
        sys.stderr.write(f"line {line}: {reason}\n")
    sys.stdout.write(f"{sent} events sent, {len(refused)} refused\n")
    raise typer.Exit(1 if refused else 0)


def runs(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="One model; all models unless given.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List retraining runs with their verdicts, the newest first.

    Example: errata runs --model card-reader
    """
    from storage.runs import list_runs, read_steps

    with session_of(context).database() as database, database.read() as connection:
        found = [
            (run, read_steps(connection, run.id)) for run in list_runs(connection, model=model, limit=limit)
        ]
    if as_json:
        print_json([{"run": run, "steps": steps} for run, steps in found])
        return
    for run, steps in found:
        sys.stdout.write(f"{run.id}  {run.model}  {run.status}  {for_terminal(run.reason)}\n")
        sys.stdout.write(f"    {' > '.join(step.step for step in steps)}\n")
        if run.verdict_reason:
            sys.stdout.write(f"    {for_terminal(run.verdict_reason)}\n")
