"""`errata voc list | export`: what customers said."""

import sys
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from errata.command.session import for_terminal, print_json, session_of


def build() -> typer.Typer:
    """The verbs of `errata voc`."""
    app = typer.Typer(no_args_is_help=True, help="What customers said.")
    app.command("list")(list_voc)
    app.command("export")(export_voc)
    return app


def list_voc(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="One model; all models unless given.")] = None,
    search: Annotated[str | None, typer.Option(help="Part of the text, in any script.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List comments, the newest first.

    Example: errata voc list --search 카드
    """
    from storage.voc import read_voc

    with session_of(context).database() as database, database.read() as connection:
        found = read_voc(connection, model=model, search=search, limit=limit)
    if as_json:
        print_json(found)
        return
    for voc in found:
        rating = "-" if voc.rating is None else voc.rating
        sys.stdout.write(f"{voc.id}  {rating:>2}  {voc.model or '-'}  {for_terminal(voc.text)}\n")


def export_voc(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .csv file that spreadsheets open, Korean included.")],
    model: Annotated[str | None, typer.Option(help="One model; all models unless given.")] = None,
) -> None:
    """Write all comments to a CSV file, as the dashboard does.

    Example: errata voc export voc.csv
    """
    from dashboard.export import voc_csv
    from storage.voc import read_voc

    session = session_of(context)
    with session.database() as database, database.read() as connection:
        found = read_voc(connection, model=model, limit=1_000_000)
    file.write_bytes(voc_csv(found, ZoneInfo(session.settings.dashboard.time_zone)))
    sys.stdout.write(f"{len(found)} comments written to {file}\n")
