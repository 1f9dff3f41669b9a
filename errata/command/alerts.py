"""`errata alerts list | test | resolve`: what people were told, and whether it reaches them."""

import difflib
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from errata.command.session import Session, for_terminal, now_us, print_json, session_of
from errata.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    from storage.records import Alert, Delivery

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build() -> typer.Typer:
    """The verbs of `errata alerts`."""
    app = typer.Typer(no_args_is_help=True, help="What people are told, and by which channels.")
    app.command("list")(list_alerts)
    app.command("test")(try_channels)
    app.command("resolve")(resolve)
    return app


def list_alerts(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="One model; all alerts unless given.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List alerts with what became of their deliveries, the newest first; of open ones the most severe first.

    Example: errata alerts list --open
    """
    from storage.alerts import list_alerts as read
    from storage.alerts import list_open, read_deliveries

    session = session_of(context)
    with session.database() as database, database.read() as connection:
        if only_open:
            found = [each for each in list_open(connection) if model in (None, each.model)][:limit]
        else:
            found = read(connection, model=model, limit=limit)
        deliveries = read_deliveries(connection, [alert.id for alert in found])
    of = {alert.id: [each for each in deliveries if each.alert_id == alert.id] for alert in found}
    if as_json:
        print_json(
            [asdict(alert) | {"deliveries": [asdict(each) for each in of[alert.id]]} for alert in found]
        )
        return
    for alert in found:
        sys.stdout.write(_in_lines(alert, of[alert.id], ZoneInfo(session.settings.dashboard.time_zone)))


def try_channels(
    context: typer.Context,
    channel: Annotated[str | None, typer.Option(help="One channel; all of them unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send a test through the channels of the settings, from here and at once. Exits with 1 if one did not take it.

    Example: errata alerts test --channel team-chat
    """
    from streams.channels import Message, send

    session = session_of(context)
    message = Message(
        title="A test",
        body="Sent by errata alerts test: what you read here, Errata can tell you.",
        tone="info",
    )
    answers: dict[str, str | None] = {}
    for name in _channels(session, channel):
        try:
            send(session.settings.alerts.channels[name].url, message)
            answers[name] = None
        except (SettingsError, Unavailable) as error:
            answers[name] = session.redaction.hide(str(error))
    if as_json:
        print_json(
            [{"channel": name, "taken": said is None, "error": said} for name, said in answers.items()]
        )
    else:
        for name, said in answers.items():
            sys.stdout.write(f"{name}  {'taken' if said is None else f'not taken: {for_terminal(said)}'}\n")
    if any(said is not None for said in answers.values()):
        raise typer.Exit(1)


def resolve(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="The key of an open alert, as `list` prints it.")],
    reason: Annotated[str, typer.Option(help="Why it is over, in a sentence.")] = "A person resolved it.",
) -> None:
    """Close an alert by hand; the channels are told. If its condition is noticed again, that is a new alert.

    Example: errata alerts resolve drift/card-reader/all --reason "The camera was replaced."
    """
    from storage.alerts import resolve_alert
    from storage.errors import NotFound

    with session_of(context).database() as database, database.write() as connection:
        if not resolve_alert(connection, key, reason, now_us()):
            raise NotFound("open alert", key)
    sys.stdout.write(f"{for_terminal(key)} is resolved\n")


def _channels(session: Session, wanted: str | None) -> list[str]:
    """The names of the channels to try; SettingsError where there is none, or not this one."""
    names = list(session.settings.alerts.channels)
    if not names:
        raise SettingsError("there is no channel: add an [alerts.channels.NAME] table to errata.toml")
    if wanted is None:
        return names
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.0)
        raise SettingsError(f"there is no channel {wanted}: did you mean {near[0]}?")
    return [wanted]


def _in_lines(alert: "Alert", deliveries: "list[Delivery]", zone: ZoneInfo) -> str:
    state = "open" if alert.resolved_us is None else f"until {_clock(alert.resolved_us, zone)}"
    lines = [
        f"{_clock(alert.opened_us, zone)}  {alert.severity:<8}  {for_terminal(alert.key)}  {state}",
        f"    {for_terminal(alert.title)}: {for_terminal(alert.sentence)}",
    ]
    if alert.resolution is not None:
        lines.append(f"    {for_terminal(alert.resolution)}")
    for each in deliveries:
        if each.sent_us is not None:
            became = f"told {_clock(each.sent_us, zone)}"
        elif each.attempts:
            became = f"not taken {each.attempts} times: {for_terminal(each.error or 'no answer')}"
        else:
            became = "waits"
        lines.append(f"    {for_terminal(each.channel)}  {became}")
    return "\n".join(lines) + "\n"


def _clock(time_us: int, zone: ZoneInfo) -> str:
    return f"{(_EPOCH + timedelta(microseconds=time_us)).astimezone(zone):%Y-%m-%d %H:%M}"
