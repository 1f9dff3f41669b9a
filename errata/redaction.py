"""Secrets out of what is printed, logged or shown: those of the settings, and what looks like one."""

import json
import re
from typing import Final
from urllib.parse import quote, unquote

from errata.settings import Settings, password_in

_HIDDEN: Final = "***"
#: Fewer characters protect nothing, and would be found in every other word.
_SHORTEST: Final = 4
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
        """Hide the passwords of `settings` from now on, in every way in which they are written."""
        passwords = [settings.broker.password, password_in(settings.database.url)]
        written = {
            way
            for password in passwords
            for plain in (password, unquote(password))
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


def hide_patterns(text: str) -> str:
    """`text` without what looks like a key or like the password in a URL."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{_HIDDEN}", text)
    return text
