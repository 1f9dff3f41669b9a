"""`errata retrain MODEL`: ask for a run by hand."""

import getpass
import sys
from typing import Annotated

import typer

from errata.command.session import now_us, session_of
from errata.settings import find_model


def add_to(app: typer.Typer) -> None:
    """Add the verb of this file to the command."""
    app.command()(retrain)


def retrain(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model to retrain.")],
    reason: Annotated[str, typer.Option(help="Why, in a sentence.")] = "Asked for by hand.",
    collect: Annotated[
        bool,
        typer.Option(
            "--collect", help="Order a labeling batch first; otherwise train on the examples there are."
        ),
    ] = False,
) -> None:
    """Ask for a retraining run; a trainer takes it from Kafka.

    Example: errata retrain card-reader --collect --reason "New card design from Monday."
    """
    from errata.identity import new_id
    from streams.watching import request_run

    session = session_of(context)
    find_model(session.settings, model)
    with session.database() as database:
        run = request_run(
            database,
            model,
            reason=f"{reason} ({getpass.getuser()})",
            collect=collect,
            now_us=now_us(),
            new_id=new_id,
        )
    sys.stdout.write(f"{run.id} is {run.status}\n")
