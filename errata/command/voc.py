"""`errata voc list | export`: what customers said."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from errata.command.session import print_json, session_of

#: A cell that begins like this would be run as a formula by a spreadsheet.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0", "＝", "＋", "－", "＠")


def build() -> typer.Typer:
    """The verbs of `errata voc`."""
    app = typer.Typer(no_args_is_help=True, help="What customers said.")
    app.command("list")(list_voc)
    app.command("export")(export_voc)
    return app


def list_voc(
    context: typer.Context,
    model: Annotated[str | None, typer.Option()] = None,
    search: Annotated[str | None, typer.Option(help="Part of the text, in any script.")] = None,
    limit: Annotated[int, typer.Option()] = 50,
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
        sys.stdout.write(f"{voc.id}  {voc.rating or '-':>2}  {voc.model or '-'}  {voc.text}\n")


def export_voc(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .csv file that spreadsheets open, Korean included.")],
    model: Annotated[str | None, typer.Option()] = None,
) -> None:
    """Write all comments to a CSV file.

    Example: errata voc export voc.csv
    """
    from storage.voc import read_voc

    with session_of(context).database() as database, database.read() as connection:
        found = read_voc(connection, model=model, limit=1_000_000)
    # The byte order mark tells spreadsheets on Korean systems that the file is UTF-8.
    with file.open("w", encoding="utf-8-sig", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "time_us", "model", "rating", "status", "text", "prediction_id"])
        for voc in found:
            text = f"'{voc.text}" if voc.text.lstrip().startswith(FORMULA_STARTS) else voc.text
            writer.writerow([voc.id, voc.time_us, voc.model, voc.rating, voc.status, text, voc.prediction_id])
    sys.stdout.write(f"{len(found)} comments written to {file}\n")
