"""Ids of events: UUIDs of version 7 (RFC 9562), which sort by the millisecond in which they were made."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Final

#: Makes an id at a time in microseconds; `new_id`, or in tests something that counts.
NewId = Callable[[int], str]

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62

#: How many random bytes are asked for at once: a system call costs more than all the rest of an id.
_BLOCK_BYTES: Final = 4096
_RANDOM_DIGITS: Final = 15
_EARLIEST_SECOND: Final = 946_684_800
_END_SECOND: Final = 4_133_980_800  # The start of 2101.
#: For each microsecond of a millisecond: the digits of an id, and those of a time in RFC 3339.
_FRACTIONS: Final = [f"{(us << 12) // 1000:03x}-8" for us in range(1000)]
_MICROSECONDS: Final = [f"{us:03d}Z" for us in range(1000)]


def new_id(now_us: int | None = None) -> str:
    """A new UUIDv7 in lower case; `now_us` is the present unless given.

    The 12 bits below the millisecond hold the fraction of it (RFC 9562, section 6.2, method 3), so that ids
    of one process sort by time to a quarter of a microsecond; the other 62 bits are random.
    """
    now_ns = time.time_ns() if now_us is None else now_us * 1000
    milliseconds, rest_ns = divmod(now_ns, 1_000_000)
    fraction = (rest_ns << 12) // 1_000_000
    random_bits = int.from_bytes(os.urandom(8), "big") >> 2
    number = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | _VERSION | fraction << 64 | _VARIANT | random_bits
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Stamps:
    """Ids and times of events in a tenth of the time of `new_id`; any thread may use it.

    A forked child must make its own, or its random digits are those of its parent.
    """

    def __init__(self) -> None:
        # Each is replaced as a whole, so that no thread sees half of a change.
        self._random: tuple[str, Iterator[int]] = ("", iter(()))
        self._moment = (-1, "", "")
        self._second = (-1, "")

    def stamp(self, now_us: int) -> tuple[str, str]:
        """A new id made at `now_us`, and that time in RFC 3339, as in `2026-11-23T06:30:00.000001Z`.

        The id is one of `new_id` with 60 random bits. Raises ValueError outside the years 2000 to 2100.
        """
        milliseconds = now_us // 1000
        rest_us = now_us - milliseconds * 1000
        moment = self._moment
        if moment[0] != milliseconds:
            moment = self._turn_to(milliseconds)
        digits, places = self._random
        place = next(places, None)
        if place is None:
            digits, place = self._draw()
        middle = place + 3
        return (
            f"{moment[1]}{_FRACTIONS[rest_us]}{digits[place:middle]}-{digits[middle : middle + 12]}",
            moment[2] + _MICROSECONDS[rest_us],
        )

    def _turn_to(self, milliseconds: int) -> tuple[int, str, str]:
        seconds, rest_ms = divmod(milliseconds, 1000)
        second = self._second
        if second[0] != seconds:
            if not _EARLIEST_SECOND <= seconds < _END_SECOND:
                raise ValueError(f"the clock is wrong: {seconds} seconds since 1970 are not in 2000 to 2100")
            second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
            self._second = second
        text = f"{milliseconds:012x}"
        moment = (milliseconds, f"{text[:8]}-{text[8:]}-7", f"{second[1]}.{rest_ms:03d}")
        self._moment = moment
        return moment

    def _draw(self) -> tuple[str, int]:
        digits = os.urandom(_BLOCK_BYTES).hex()
        places = iter(range(0, len(digits) - _RANDOM_DIGITS + 1, _RANDOM_DIGITS))
        self._random = (digits, places)
        return digits, next(places)
