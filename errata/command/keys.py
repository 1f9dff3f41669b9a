"""`errata keys create | list | revoke`: who may send to the HTTP intake."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from errata.command.session import for_terminal, now_us, print_json, session_of
from errata.settings import find_model
from errata.wire import is_source

if TYPE_CHECKING:
    from storage.records import ApiKey

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build() -> typer.Typer:
    """The verbs of `errata keys`."""
    app = typer.Typer(no_args_is_help=True, help="Who may send to the HTTP intake.")
    app.command("create")(create)
    app.command("list")(list_keys)
    app.command("revoke")(revoke)
    return app


def create(
    context: typer.Context,
    source: Annotated[str, typer.Option(help="The CloudEvents source that all its events must have.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model it may send for; may be repeated. Every model unless given."),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The day (UTC) from which on it is no longer good."),
    ] = None,
) -> None:
    """Make a key and print it. It is shown this once: what is stored cannot bring it back.

    Example: errata keys create --source shop/checkout --model card-reader --expires 2027-12-31
    """
    import secrets

    from storage.api_keys import put_api_key
    from storage.records import ApiKey
    from streams.api_keys import make_key

    session, made_us = session_of(context), now_us()
    if not is_source(source):
        raise typer.BadParameter("--source is what the events' `source` is: 1 to 1024 characters")
    for each in model or []:
        find_model(session.settings, each)
    expires_us = None if expires is None else _microseconds(expires.replace(tzinfo=UTC))
    if expires_us is not None and expires_us <= made_us:
        raise typer.BadParameter("--expires has passed already")
    made = make_key(secrets.token_bytes)
    key = ApiKey(
        id=made.id,
        source=source,
        hash=made.hash,
        models=tuple(sorted(set(model))) if model else None,
        created_us=made_us,
        expires_us=expires_us,
    )
    with session.database() as database, database.write() as connection:
        put_api_key(connection, key)
    sys.stderr.write(f"errata: key {made.id}, shown this once; it is good in ")
    sys.stderr.write(f"{session.settings.intake.keys_refresh_seconds:g} s at the latest\n")
    sys.stdout.write(made.text + "\n")


def list_keys(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all keys that were made, the oldest first.

    Example: errata keys list
    """
    from storage.api_keys import list_api_keys

    with session_of(context).database() as database, database.read() as connection:
        found = list_api_keys(connection)
    if as_json:
        print_json([{name: value for name, value in asdict(key).items() if name != "hash"} for key in found])
        return
    for key in found:
        models = "every model" if key.models is None else ", ".join(key.models)
        used = "never used" if key.last_used_us is None else f"used {_day(key.last_used_us)}"
        line = f"{key.id}  {_state_of(key, now_us())}  {used}  {for_terminal(key.source)}: {models}\n"
        sys.stdout.write(line)


def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` prints it.")],
) -> None:
    """Make a key good for nothing, for ever.

    Example: errata keys revoke 3f9a0c51b7e2
    """
    from storage.api_keys import revoke_api_key

    session = session_of(context)
    with session.database() as database, database.write() as connection:
        key = revoke_api_key(connection, key_id, now_us())
    sys.stdout.write(f"{key.id} of {for_terminal(key.source)} is refused ")
    sys.stdout.write(f"in {session.settings.intake.keys_refresh_seconds:g} s at the latest\n")


def _state_of(key: "ApiKey", now_us: int) -> str:
    if key.revoked_us is not None:
        return f"revoked {_day(key.revoked_us)}"
    if key.expires_us is None:
        return "good"
    return f"{'expired' if key.expires_us <= now_us else 'good until'} {_day(key.expires_us)}"


def _day(time_us: int) -> str:
    return f"{_EPOCH + timedelta(microseconds=time_us):%Y-%m-%d}"


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
