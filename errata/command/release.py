"""`errata release list | promote | rollback`: which version is the champion."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from errata.command.session import for_terminal, now_us, print_json, session_of
from errata.settings import find_model

Model = Annotated[str, typer.Argument(help="The model's name.")]
Version = Annotated[str, typer.Argument(help="The version's name, as `list` prints it.")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence; it is shown on the dashboard.")]


def build() -> typer.Typer:
    """The verbs of `errata release`."""
    app = typer.Typer(no_args_is_help=True, help="Which version of a model is the champion.")
    app.command("list")(list_all)
    app.command("register")(register)
    app.command("promote")(promote)
    app.command("rollback")(rollback)
    return app


def list_all(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="One model; all models unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List releases, the newest first.

    Example: errata release list --model card-reader
    """
    from storage.releases import list_releases

    with session_of(context).database() as database, database.read() as connection:
        found = list_releases(connection, model)
    if as_json:
        print_json(found)
        return
    for release in found:
        sys.stdout.write(
            f"{release.model} {release.version}  {release.action} by {release.who}: {for_terminal(release.reason)}\n"
        )


def register(
    context: typer.Context,
    model: Model,
    directory: Annotated[Path, typer.Argument(help="The files of the version.")],
    version: Annotated[str | None, typer.Option(help="Its name; the next number unless given.")] = None,
    reason: Reason = "The first version.",
) -> None:
    """Make a version that was trained elsewhere known, and champion if the model has none.

    Example: errata release register card-reader ./weights
    """
    from errata.identity import new_id
    from retrain.release import register as register_version

    session = session_of(context)
    find_model(session.settings, model)
    with session.database() as database:
        done = register_version(
            database,
            Path(session.settings.artifacts.directory),
            model=model,
            version=version,
            directory=directory,
            reason=reason,
            who=getpass.getuser(),
            now_us=now_us(),
            new_id=new_id,
        )
    sys.stdout.write(f"{model} {done.version} is registered\n")


def promote(context: typer.Context, model: Model, version: Version, reason: Reason) -> None:
    """Make a registered version the champion; services take it up while running.

    Example: errata release promote card-reader 3 --reason "Looked at all broken cases: labels were wrong."
    """
    from errata.identity import new_id
    from retrain.release import promote as promote_version

    session = session_of(context)
    with session.database() as database:
        promote_version(
            database,
            Path(session.settings.artifacts.directory),
            model=model,
            version=version,
            reason=reason,
            who=getpass.getuser(),
            now_us=now_us(),
            new_id=new_id,
        )
    sys.stdout.write(f"{model} {version} is the champion\n")


def rollback(context: typer.Context, model: Model, reason: Reason) -> None:
    """Return to the champion before this one.

    Example: errata release rollback card-reader --reason "Latency doubled."
    """
    from errata.identity import new_id
    from retrain.release import rollback as roll_back

    session = session_of(context)
    with session.database() as database:
        done = roll_back(
            database,
            Path(session.settings.artifacts.directory),
            model=model,
            reason=reason,
            who=getpass.getuser(),
            now_us=now_us(),
            new_id=new_id,
        )
    sys.stdout.write(f"{model} {done.version} is the champion again\n")
