"""Secrets out of what is printed, logged or shown: those of the settings, and what looks like one."""

import json
import re
from typing import Final
from urllib.parse import quote, unquote

from errata.settings import Settings, password_in

_HIDDEN: Final = "***"
#: Fewer characters protect nothing, and would be found in every other word.
_SHORTEST: Final = 4
#: Of a channel's URL, the parts that could be a secret by their length. Shorter ones are often plain words.
_SHORTEST_PART: Final = 8
_PARTS_OF_URL: Final = re.compile(r"[/:@?&=,]+")
_PLAIN_WORD: Final = re.compile(r"[a-z]+")
_PATTERNS: Final = (
    # A key of the HTTP intake; its id may be told.
    re.compile(r"(errata_[0-9a-f]{12}_)[0-9A-Za-z]+"),
    re.compile(r"(\bbearer\s+)(?!errata_)[^\s\"',]+", re.IGNORECASE),
    # The password in a URL.
    re.compile(r"(://[^\s:/@]*:)[^\s/]*(?=@)"),
)


class Redaction:
    """Hides secrets in text. It knows what to look for from the settings, as soon as they are read."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def learn(self, settings: Settings) -> None:
        """Hide the secrets of `settings` from now on, in every way in which they are written."""
        secrets = [
            settings.broker.password,
            password_in(settings.database.url),
            *(part for channel in settings.alerts.channels.values() for part in _secrets_in(channel.url)),
        ]
        written = {
            way
            for secret in secrets
            for plain in (secret, unquote(secret))
            for way in (plain, quote(plain, safe=""), json.dumps(plain)[1:-1], repr(plain)[1:-1])
            if len(plain) >= _SHORTEST
        }
        # The longest first, so that no part of it is left when a shorter one is inside.
        self._secrets = sorted(written, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """`text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return hide_patterns(text)


def _secrets_in(channel_url: str) -> list[str]:
    """What may be a secret in the URL of a channel; plain words and names of hosts are none.

    Where Apprise expects which token differs from kind to kind, and one may stand where others have the host.
    """
    rest = channel_url.partition("://")[2]
    who, _, host = re.split(r"[/?]", rest, maxsplit=1)[0].rpartition("@")
    return [
        rest,
        who.partition(":")[2],
        *(
            part
            for part in _PARTS_OF_URL.split(rest)
            if len(part) >= _SHORTEST_PART
            and not _PLAIN_WORD.fullmatch(part)
            and not (part in host and "." in part)
        ),
    ]


def hide_patterns(text: str) -> str:
    """`text` without what looks like a key or like the password in a URL."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{_HIDDEN}", text)
    return text
