"""`errata up | demo | worker | trainer | intake | dashboard | migrate | doctor`: the processes and their database."""

import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from errata.command.logs import configure_logging
from errata.command.processes import Children, errata_command, raising_on_sigterm
from errata.command.session import Session, print_json, session_of


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    for verb in (up, demo, worker, trainer, intake, dashboard, migrate, doctor):
        app.command()(verb)


def migrate(context: typer.Context) -> None:
    """Bring the database to the newest schema. Safe to repeat.

    Example: errata migrate
    """
    from storage.database import migrate as migrate_database

    migrate_database(session_of(context).settings.database.url)


def worker(context: typer.Context) -> None:
    """Run one stream worker: events from Kafka into the database, and the timers.

    Example: errata worker   (start as many as there are partitions, at most)
    """
    from errata.command.compose import run_composed_worker

    session = session_of(context)
    configure_logging(session.settings.logs, session.redaction)
    raise typer.Exit(run_composed_worker(session.settings, session.redaction.hide))


def trainer(context: typer.Context) -> None:
    """Run one trainer: takes requested runs from Kafka, trains, judges, releases.

    Example: errata trainer
    """
    from retrain.worker import run_trainer

    configure_logging(session_of(context).settings.logs, session_of(context).redaction)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    raise typer.Exit(run_trainer(session_of(context).settings, stop))


def intake(context: typer.Context) -> None:
    """Run the HTTP intake: CloudEvents by POST, acknowledged after the broker has them.

    Example: curl -X POST localhost:8080/v1/events -H 'content-type: application/cloudevents+json' -d @event.json
    """
    from errata.command.compose import run_composed_intake

    configure_logging(session_of(context).settings.logs, session_of(context).redaction)
    run_composed_intake(session_of(context).settings)


def dashboard(context: typer.Context) -> None:
    """Show the dashboard in a browser.

    Example: errata dashboard
    """
    session = session_of(context)
    arguments = dashboard_arguments(session)
    os.execve(arguments[0], arguments, session.child_environ())


def up(context: typer.Context) -> None:
    """Migrate, then run worker, trainer, intake and dashboard together until Ctrl-C.

    Example: errata up
    """
    session = session_of(context)
    migrate(context)
    children = Children(Path("var/log"), session.child_environ())
    with raising_on_sigterm():
        try:
            for name in ("worker", "trainer", "intake"):
                children.start(name, errata_command(name))
            children.start("dashboard", dashboard_arguments(session))
            sys.stderr.write(f"errata: dashboard at http://{session.settings.dashboard.host}:")
            sys.stderr.write(f"{session.settings.dashboard.port}, logs in var/log; Ctrl-C stops everything\n")
            while True:
                children.check()
                threading.Event().wait(1.0)
        except KeyboardInterrupt:
            sys.stderr.write("errata: stopping\n")
        finally:
            children.stop_all()


def demo(
    context: typer.Context,
    headless: Annotated[
        bool,
        typer.Option("--headless", help="No dashboard; ends when the loop has closed, with a line of JSON."),
    ] = False,
    directory: Annotated[Path, typer.Option(help="Where the demo keeps its files; started clean.")] = Path(
        "var/demo"
    ),
) -> None:
    """Close the whole loop on this machine with real input: nothing to install but Python.

    Example: errata demo
    """
    from errata.command.demo import run_demo

    raise typer.Exit(run_demo(directory, headless=headless, settings_path=session_of(context).settings_path))


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check settings, database, clock, broker, topics, libraries and disk, and say how to mend what is wrong.

    Exit status 2 if anything is wrong.

    Example: errata doctor
    """
    from errata.command.doctor import examine

    session = session_of(context)
    findings = [
        replace(finding, message=session.redaction.hide(finding.message))
        for finding in examine(session.settings)
    ]
    if as_json:
        print_json(
            [{"check": finding.check, "ok": finding.ok, "message": finding.message} for finding in findings]
        )
    else:
        for finding in findings:
            sys.stdout.write(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check}: {finding.message}\n")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 2)


def dashboard_arguments(session: Session) -> list[str]:
    """The command line of the dashboard."""
    import dashboard as dashboard_room

    app = Path(str(dashboard_room.__file__)).with_name("app.py")
    return [
        sys.executable, "-m", "streamlit", "run", str(app),
        "--server.address", session.settings.dashboard.host,
        "--server.port", str(session.settings.dashboard.port),
        "--server.headless", "true",
        "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
