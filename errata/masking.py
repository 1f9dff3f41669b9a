"""Personal data out of free text before it is written anywhere: cards, resident numbers, phones, e-mail.

Patterns find what has a form; names and addresses have none, and stay. Korean letters may touch a number
(`번호는010-1234-5678이에요`), Latin letters may not, so that order numbers and UUIDs stay whole.
"""

import re
from collections.abc import Callable
from typing import Final

from msgspec import structs

from errata.events import Event, VocData

CARD: Final = "[card]"
RESIDENT_NUMBER: Final = "[resident-number]"
PHONE: Final = "[phone]"
E_MAIL: Final = "[e-mail]"

#: Full-width signs and the many dashes, each as the one ASCII sign that it stands for.
_PLAIN: Final = str.maketrans(
    "０１２３４５６７８９（）＋．＠‐‑‒–—―−－\u3000\u00a0", "0123456789()+.@--------  "
)
_FANCY: Final = re.compile("[{}]".format("".join(map(chr, _PLAIN))))

# A number stands alone: it does not continue a word, a decimal or a longer number.
_START: Final = r"(?<![0-9A-Za-z_.+])(?<![0-9A-Za-z_][-.,:])"
_END: Final = r"(?![0-9A-Za-z_])(?![-.,:][0-9])"
#: What people write between the digits of one number.
_GAP: Final = r"[ .-]"

_E_MAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
)
_CARD: Final = re.compile(rf"{_START}[0-9](?:{_GAP}?[0-9]){{12,18}}{_END}")
_RESIDENT_NUMBER: Final = re.compile(
    rf"{_START}[0-9]{{2}}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?P<gap> ?- ?| )?[1-8][0-9]{{6}}{_END}"
)
_KOREAN_PHONE: Final = re.compile(
    rf"{_START}(?:(?:\+|00)?82{_GAP}?(?:\(0\)|0)?|\(?0)"
    rf"(?:"
    # Mobile and internet numbers are told by their prefix alone.
    rf"(?:1[016789]|70|50[0-9]){_GAP}?\)?{_GAP}?[0-9]{{3,4}}{_GAP}?[0-9]{{4}}"
    # Numbers of a city look like any other number, unless they are written in groups.
    rf"|(?:2|[3-6][1-5]|80)(?:{_GAP}|\){_GAP}?)[0-9]{{3,4}}{_GAP}[0-9]{{4}}"
    rf"){_END}"
)
_INTERNATIONAL_PHONE: Final = re.compile(
    r"(?<![0-9A-Za-z_.+])\+(?:"
    rf"[1-9][0-9]{{9,14}}"
    rf"|[1-9][0-9]{{0,2}}(?:{_GAP}?\([0-9]{{1,4}}\)|{_GAP}[0-9]{{1,5}})(?:{_GAP}?[0-9]{{2,5}}){{1,4}}"
    rf"){_END}"
)
#: The first digits of payment cards (ISO/IEC 7812): travel, banking, merchandising and, for Korea, national.
_CARD_STARTS: Final = frozenset("234569")


def mask(text: str) -> str:
    """`text` with each card number, resident number, phone number and e-mail address replaced by its kind.

    Masking twice changes nothing more.
    """
    while True:
        masked = _mask_once(text)
        if masked == text:
            return text
        # What was taken out may have kept its neighbour from standing alone. Each turn leaves fewer signs.
        text = masked


def mask_event(event: Event) -> Event:
    """The event with what a customer wrote masked; nothing else in an event is free text by its nature."""
    if not isinstance(event.data, VocData):
        return event
    text = mask(event.data.text)
    if text == event.data.text:
        return event
    return structs.replace(event, data=structs.replace(event.data, text=text))


def mask_bytes(raw: bytes) -> bytes:
    """`mask` over the UTF-8 in `raw`; bytes that are no UTF-8 stay as they are."""
    return mask(raw.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _mask_once(text: str) -> str:
    text = _replace(text, _E_MAIL, E_MAIL)
    text = _replace(text, _CARD, CARD, _is_card)
    text = _replace(text, _RESIDENT_NUMBER, RESIDENT_NUMBER, _is_resident_number)
    text = _replace(text, _KOREAN_PHONE, PHONE)
    return _replace(text, _INTERNATIONAL_PHONE, PHONE)


def _replace(
    text: str,
    pattern: re.Pattern[str],
    label: str,
    is_personal: Callable[[re.Match[str]], bool] = lambda _: True,
) -> str:
    """`text` with what `pattern` finds in its plain form replaced; the rest keeps its own signs."""
    plain = text.translate(_PLAIN) if _FANCY.search(text) else text
    pieces = []
    start = 0
    for found in pattern.finditer(plain):
        if is_personal(found):
            pieces += [text[start : found.start()], label]
            start = found.end()
    return "".join([*pieces, text[start:]])


def _is_card(found: re.Match[str]) -> bool:
    digits = _digits_of(found)
    if digits[0] == "2" and not (len(digits) == 16 and "2221" <= digits[:4] <= "2720"):
        return False  # So that times and order numbers that begin with the year stay.
    return digits[0] in _CARD_STARTS and _luhn_sum(digits) % 10 == 0


def _luhn_sum(digits: str) -> int:
    """The sum of Luhn (ISO/IEC 7812-1, annex B): every second digit from the right counts twice."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value
    return total


def _is_resident_number(found: re.Match[str]) -> bool:
    """Written in one piece it could be any number; then its check digit must be right."""
    if found["gap"]:
        return True
    *digits, check = map(int, _digits_of(found))
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    weighted = sum(digit * weight for digit, weight in zip(digits, weights, strict=True))
    return (11 - weighted % 11) % 10 == check


def _digits_of(found: re.Match[str]) -> str:
    return "".join(filter(str.isdecimal, found[0]))
