"""`errata dead-letters list | show | replay | resume`: what could not be used."""

import re
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from errata.command.session import for_terminal, now_us, print_json, session_of

Where = Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET/POSITION, as `list` prints it.")]


def build() -> typer.Typer:
    """The verbs of `errata dead-letters`."""
    app = typer.Typer(
        no_args_is_help=True, help="Records and events that could not be used, with their reasons."
    )
    app.command("list")(list_dead_letters)
    app.command("show")(show)
    app.command("replay")(replay)
    app.command("resume")(resume)
    return app


def list_dead_letters(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List dead letters, the newest first.

    Example: errata dead-letters list --reason unknown_model
    """
    from storage.dead_letters import list_dead_letters as read

    with session_of(context).database() as database, database.read() as connection:
        found = read(connection, reason=reason, limit=limit)
    if as_json:
        print_json([asdict(letter) | {"raw": _as_text(letter.raw)} for letter in found])
        return
    for letter in found:
        where = f"{letter.topic}/{letter.partition}/{letter.offset}/{letter.position}"
        sys.stdout.write(f"{where}  {letter.reason}  {for_terminal(letter.detail)}\n")


def show(context: typer.Context, where: Where) -> None:
    """Show one dead letter with the bytes as they came.

    Example: errata dead-letters show errata.feedback/0/17/3
    """
    from storage.dead_letters import get_dead_letter

    with session_of(context).database() as database, database.read() as connection:
        letter = get_dead_letter(connection, *split_where(where))
    sys.stdout.write(f"{letter.reason}: {for_terminal(letter.detail)}\n")
    sys.stdout.write(for_terminal(_as_text(letter.raw), keep="\n\t") + "\n")


def replay(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 1000,
) -> None:
    """Send dead letters again that can be used by now, after what was wrong with them has been mended.

    An event that was stored meanwhile is a duplicate and not counted twice; what would only fail again stays.

    Example: errata dead-letters replay --reason unknown_model
    """
    from errata.command.replaying import replay_dead_letters

    session = session_of(context)
    with session.database() as database:
        done = replay_dead_letters(session.settings, database, reason=reason, limit=limit, now_us=now_us())
    sys.stdout.write(f"{done.sent} dead letters sent again, {done.kept} can't be used yet and stay\n")


def resume(
    context: typer.Context,
    partition: Annotated[
        str | None, typer.Argument(help="TOPIC/PARTITION; all that are paused unless given.")
    ] = None,
) -> None:
    """Let partitions go on that were paused because of a flood of dead letters.

    What still cannot be used becomes a dead letter, and the partition is not paused again before the flood is over.

    Example: errata dead-letters resume errata.predictions/3
    """
    from storage.pauses import resume as resume_paused

    where = None if partition is None else _split_partition(partition)
    with session_of(context).database() as database:
        resumed = resume_paused(database, now_us(), where=where)
    for pause in resumed:
        sys.stdout.write(f"{pause.topic}/{pause.partition} goes on\n")
    if not resumed:
        sys.stdout.write("no partition is paused\n")


def _split_partition(where: str) -> tuple[str, int]:
    place = re.fullmatch(r"([^/]+)/([0-9]{1,9})", where)
    if place is None:
        raise typer.BadParameter(f"{where} is not TOPIC/PARTITION")
    return place[1], int(place[2])


def split_where(where: str) -> tuple[str, int, int, int]:
    """Read TOPIC/PARTITION/OFFSET/POSITION."""
    place = re.fullmatch(r"([^/]+)/([0-9]{1,9})/([0-9]{1,18})/([0-9]{1,9})", where)
    if place is None:
        raise typer.BadParameter(f"{where} is not TOPIC/PARTITION/OFFSET/POSITION")
    return place[1], int(place[2]), int(place[3]), int(place[4])


def _as_text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
