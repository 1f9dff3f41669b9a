"""Channels: how a message gets to a chat room, a mailbox or a webhook. Only here Apprise is used, which knows how."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from errata.errors import SettingsError, Unavailable

#: What a message is, in Apprise's words: it decides colours and pictures.
Tone = Literal["info", "success", "warning", "failure"]

#: A channel that takes longer has not taken it.
_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What people read."""

    title: str
    body: str
    tone: Tone


#: Sends a message to the URL of a channel. Raises Unavailable, which is worth another attempt, or SettingsError.
Send = Callable[[str, Message], None]


def send(url: str, message: Message) -> None:
    """Send a message to where an Apprise URL leads; return when it was taken.

    Raises SettingsError when the URL is none of Apprise's, and Unavailable when the message was not taken. What that
    says may hold parts of the URL: hide them (errata/redaction.py).
    """
    # It takes half a second, which only processes that send should wait.
    import apprise

    if not url:
        raise SettingsError(
            "the channel has no url: give it by the environment, ERRATA_ALERTS__CHANNELS__NAME__URL"
        )
    # In this thread, and with nothing kept on disk.
    asset = apprise.AppriseAsset(app_id="Errata", app_desc="Errata", app_url="", async_mode=False)
    way = apprise.Apprise(asset=asset)
    try:
        is_known = way.add(url)
        result = way.notify(
            message.body, title=message.title, notify_type=message.tone, body_format="text", timeout=_SECONDS
        )
    except Exception as error:
        # There are more than a hundred ways, and the mistakes of one must not reach the other channels.
        raise Unavailable(f"{type(error).__name__}: {error}") from error
    if not is_known:
        raise SettingsError("the channel's url is not one that Apprise understands; its log says why")
    if result.status is not apprise.AppriseResultStatus.SUCCESS:
        told = " ".join(entry.message for entry in result.logs())
        raise Unavailable(told or f"the channel did not take it: {result.status.name.lower()}")
