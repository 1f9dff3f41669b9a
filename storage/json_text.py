"""Values of any kind as JSON text, the one form in which columns keep them (DECISIONS.md, 2)."""

from typing import Any, Final

import msgspec

from errata.events import encode_json

from_text: Final = msgspec.json.Decoder().decode


def to_text(value: Any) -> str:
    """The JSON of `value`; `from_text` reads it."""
    return encode_json(value).decode()


def to_text_or_none(value: Any) -> str | None:
    """The JSON of `value`; None, which the database keeps as NULL, stays None."""
    return None if value is None else to_text(value)


def from_text_or_none(text: str | None) -> Any:
    """What `to_text_or_none` wrote."""
    return None if text is None else from_text(text)
