"""`errata dead-letters list | show | replay`: records and events that could not be used."""

import sys
from typing import Annotated

import typer

from errata.command.session import now_us, print_json, session_of

Where = Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET/POSITION, as `list` prints it.")]


def build() -> typer.Typer:
    """The verbs of `errata dead-letters`."""
    app = typer.Typer(
        no_args_is_help=True, help="Records and events that could not be used, with their reasons."
    )
    app.command("list")(list_dead_letters)
    app.command("show")(show)
    app.command("replay")(replay)
    return app


def list_dead_letters(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    limit: Annotated[int, typer.Option()] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List dead letters, the newest first.

    Example: errata dead-letters list --reason unknown_model
    """
    from storage.dead_letters import list_dead_letters as read

    with session_of(context).database() as database, database.read() as connection:
        found = read(connection, reason=reason, limit=limit)
    if as_json:
        print_json(found)
        return
    for letter in found:
        where = f"{letter.topic}/{letter.partition}/{letter.offset}/{letter.position}"
        sys.stdout.write(f"{where}  {letter.reason}  {letter.detail}\n")


def show(context: typer.Context, where: Where) -> None:
    """Show one dead letter with the bytes as they came.

    Example: errata dead-letters show errata.feedback/0/17/3
    """
    from storage.dead_letters import get_dead_letter

    with session_of(context).database() as database, database.read() as connection:
        letter = get_dead_letter(connection, *split_where(where))
    sys.stdout.write(f"{letter.reason}: {letter.detail}\n{letter.raw.decode('utf-8', 'backslashreplace')}\n")


def replay(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    limit: Annotated[int, typer.Option()] = 1000,
) -> None:
    """Send dead letters again, after what was wrong with them has been mended.

    An event that was stored meanwhile is a duplicate and not counted twice; what still fails is a new dead letter.

    Example: errata dead-letters replay --reason unknown_model
    """
    from errata.command.replaying import replay_dead_letters

    session = session_of(context)
    with session.database() as database:
        sent = replay_dead_letters(session.settings, database, reason=reason, limit=limit, now_us=now_us())
    sys.stdout.write(f"{sent} dead letters sent again\n")


def split_where(where: str) -> tuple[str, int, int, int]:
    """Read TOPIC/PARTITION/OFFSET/POSITION."""
    parts = where.split("/")
    if len(parts) != 4 or not all(part.isdigit() for part in parts[1:]):
        raise typer.BadParameter(f"{where} is not TOPIC/PARTITION/OFFSET/POSITION")
    return parts[0], int(parts[1]), int(parts[2]), int(parts[3])
