"""`errata erase`: a person's data, wherever it lies, and again after a backup was restored."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from errata.command.session import now_us, print_json, session_of

if TYPE_CHECKING:
    from storage.database import Database


def add_to(app: typer.Typer) -> None:
    """Add the verb of this file to the command."""
    app.command()(erase)


def erase(
    context: typer.Context,
    subject: Annotated[str | None, typer.Argument(help="Whose data: `subject` of the events.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only count what would be erased.")] = False,
    again: Annotated[bool, typer.Option(help="Erase everybody whom the erasures file names.")] = False,
    spool: Annotated[
        list[Path] | None, typer.Option(help="A spool directory of a client; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Erase a person's data; numbers stay, and what comes in again of it is counted once and not kept.

    The erasure is written to `retention.erasures_file` first. After a backup was restored, run `--again` before the
    workers start.

    Example: errata erase user-1382 --dry-run
    """
    from storage.erasing import count_content

    if (subject is None) != again or (again and (dry_run or spool)):
        raise typer.BadParameter("give a SUBJECT, with --dry-run or --spool if you like, or --again alone")
    session = session_of(context)
    file = Path(session.settings.retention.erasures_file)
    with session.database() as database:
        if subject is None:
            erased = erase_everybody_again(database, file)
        elif dry_run:
            erased = asdict(count_content(database, subject))
        else:
            erased = erase_everywhere(database, file, subject, spool or [], now_us())
    if as_json:
        print_json(erased)
        return
    counts = ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in erased.items())
    sys.stdout.write(f"{'would erase' if dry_run else 'erased'} {counts}\n")


def erase_everywhere(
    database: "Database", file: Path, subject: str, spools: list[Path], now_us: int
) -> dict[str, int]:
    """Erase a subject, writing it down in `file` first; return how much was found. Raises Unavailable: do it again."""
    from storage.erasing import erase_content, list_predictions_of
    from storage.erasures import plan_erasure, record_erasures, write_down

    planned = plan_erasure(database, subject, now_us, os.urandom(16).hex())
    write_down(file, [planned])
    record_erasures(database, [planned])
    n_spooled, n_owned = _sift_spools(spools, subject, list_predictions_of(database, subject))
    erased = asdict(erase_content(database, subject)) | {"spooled": n_spooled}
    if n_owned:
        sys.stderr.write(
            f"{n_owned} spool files belong to services that run: what is in them is erased when it comes in\n"
        )
    return erased


def erase_everybody_again(database: "Database", file: Path) -> dict[str, int]:
    """Erase everybody whom `file` names; return how much was found. Raises Unavailable: do it again."""
    from storage.erasing import erase_again
    from storage.erasures import read_written, record_erasures

    record_erasures(database, read_written(file))
    return asdict(erase_again(database))


def _sift_spools(directories: list[Path], subject: str, prediction_ids: list[str]) -> tuple[int, int]:
    """Remove a subject's events from spools, and feedback on its predictions in spools or in the database."""
    from errata.spool import sift
    from storage.erasures import is_about, read_event_id

    ids = set(prediction_ids)

    def note_id(entry: bytes) -> bool:
        if is_about(entry, subject, ()) and (id_ := read_event_id(entry)):
            ids.add(id_)
        return True

    for directory in directories:
        sift(directory, note_id)
    sifted = [sift(directory, lambda entry: not is_about(entry, subject, ids)) for directory in directories]
    return sum(n for n, _ in sifted), sum(n for _, n in sifted)
