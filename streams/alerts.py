"""Tells people of alerts: who hears of what and when, in which words, and again until it was taken."""

import logging
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from errata.errors import SettingsError, Unavailable
from errata.settings import Alerts, Channel, Severity, quiet_minutes
from storage.alerts import SEVERITIES, claim_deliveries, mark_delivered, note_failure, route, trial_key
from storage.database import Database
from storage.records import Alert
from streams.channels import Message, Send, Tone

log = logging.getLogger(__name__)

#: How long after the first failure a channel is tried again; twice as long after each further one.
_FIRST_RETRY_US: Final = 30_000_000
_LONGEST_RETRY_US: Final = 3_600_000_000
#: So many alerts are told in one message; of more their number is told.
_TOLD_AT_ONCE: Final = 20
_TONES: Final[dict[Severity, Tone]] = {"info": "info", "warning": "warning", "critical": "failure"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AlertSender:
    """Brings alerts to the channels of the settings. One channel that does not answer holds no other back."""

    def __init__(self, settings: Alerts, send: Send, hide: Callable[[str], str]) -> None:
        self._settings = settings
        self._send = send
        self._hide = hide

    def send_due(self, database: Database, now_us: Callable[[], int]) -> int:
        """Send what is due, one message a channel; return how many channels took theirs.

        What a channel does not take stays, with what it said (secrets are hidden), and is tried again later. Raises
        Unavailable where the database does not answer.
        """
        route(
            database,
            lambda alert: receivers(self._settings, alert),
            now_us(),
            round(self._settings.remind_seconds * 1_000_000),
        )
        return sum(self._send_to(name, database, now_us) for name in self._settings.channels)

    def _send_to(self, name: str, database: Database, now_us: Callable[[], int]) -> bool:
        channel = self._settings.channels[name]
        started_us = now_us()
        claimed = claim_deliveries(
            database, name, started_us, retry_us, only_urgent=is_quiet(channel, started_us)
        )
        if not claimed:
            return False
        deliveries = [delivery for delivery, _ in claimed]
        # Two deliveries of one alert say the same: what it is now.
        alerts = list({alert.id: alert for _, alert in claimed}.values())
        message = write_message(alerts, ZoneInfo(channel.time_zone), self._settings.dashboard_url)
        try:
            self._send(channel.url, message)
        except (SettingsError, Unavailable) as error:
            said = self._hide(str(error))
            note_failure(database, deliveries, said)
            if any(delivery.attempts == 0 for delivery in deliveries):
                log.warning(
                    "channel %s did not take %d alerts, which go on waiting: %s", name, len(alerts), said
                )
            return False
        mark_delivered(database, deliveries, now_us())
        return True


def receivers(settings: Alerts, alert: Alert) -> list[str]:
    """The channels that are told of an alert; a trial goes to the one that its key names, whatever else goes there."""
    return [
        name
        for name, channel in settings.channels.items()
        if (alert.key == trial_key(name) if alert.kind == "test" else _wants(channel, alert))
    ]


def is_quiet(channel: Channel, now_us: int) -> bool:
    """Whether it is a quiet hour of a channel, by the clock of its zone; hours may go over midnight."""
    quiet = quiet_minutes(channel.quiet_hours)
    if quiet is None:
        return False
    start, end = quiet
    clock = _local(now_us, ZoneInfo(channel.time_zone))
    minute = 60 * clock.hour + clock.minute
    return start <= minute < end if start <= end else not end <= minute < start


def retry_us(attempts: int) -> int:
    """How long after the attempt of this number the next one is made."""
    return min(_FIRST_RETRY_US << min(attempts - 1, 10), _LONGEST_RETRY_US)


def write_message(alerts: Sequence[Alert], zone: ZoneInfo, dashboard_url: str) -> Message:
    """One alert with its own title, or several under one."""
    link = f"\n\n{dashboard_url.rstrip('/')}/alerts" if dashboard_url else ""
    # What was announced never lasted: it has no resolution, and is told as severe as it was.
    severe = [SEVERITIES.index(alert.severity) for alert in alerts if alert.resolution is None]
    tone = _TONES[SEVERITIES[max(severe)]] if severe else "success"
    if len(alerts) == 1:
        return Message(title=_title(alerts[0]), body=_body(alerts[0], zone) + link, tone=tone)
    parts = [f"{_title(alert)}\n{_body(alert, zone)}" for alert in alerts[:_TOLD_AT_ONCE]]
    if len(alerts) > _TOLD_AT_ONCE:
        parts.append(f"And {len(alerts) - _TOLD_AT_ONCE} more: errata alerts list")
    return Message(title=f"{len(alerts)} alerts", body="\n\n".join(parts) + link, tone=tone)


def _wants(channel: Channel, alert: Alert) -> bool:
    return (
        SEVERITIES.index(alert.severity) >= SEVERITIES.index(channel.severity)
        and (not channel.kinds or alert.kind in channel.kinds)
        and (not channel.models or alert.model is None or alert.model in channel.models)
    )


def _title(alert: Alert) -> str:
    title = _harmless(alert.title).replace("\n", " ")
    if alert.resolution is not None:
        return f"Resolved: {title}"
    return title if alert.severity == "info" else f"{alert.severity.capitalize()}: {title}"


def _body(alert: Alert, zone: ZoneInfo) -> str:
    sentence, opened = _harmless(alert.sentence), f"{_local(alert.opened_us, zone):%Y-%m-%d %H:%M %Z}"
    if alert.resolution is not None and alert.resolved_us is not None:
        ended = f"{_local(alert.resolved_us, zone):%Y-%m-%d %H:%M %Z}"
        return f"{_harmless(alert.resolution)}\nFrom {opened} to {ended}: {sentence}"
    return f"{sentence}\n{opened}" if alert.resolved_us is not None else f"{sentence}\nSince {opened}."


def _harmless(text: str) -> str:
    """A text in which no chat room finds a mention or a link with another face, and no terminal a command."""
    seen = "".join(each for each in text if each == "\n" or unicodedata.category(each) != "Cc")
    return re.sub(r"([<@])", "\\1\u2060", seen)


def _local(time_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=time_us)).astimezone(zone)
