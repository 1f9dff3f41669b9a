"""Ids of events: UUIDs of version 7 (RFC 9562), which sort by the millisecond in which they were made."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Final

#: Makes an id at a time in microseconds; `new_id`, or in tests something that counts.
NewId = Callable[[int], str]

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62

#: So many random ends of ids are made at once: a system call costs more than all the rest of an id. With more
#: of them, the call that makes them would take too long.
_BLOCK_IDS: Final = 1024
_VARIANTS: Final = int.from_bytes(b"\x80\0" * _BLOCK_IDS, "big")
_RANDOM_BITS: Final = int.from_bytes(b"\x3f\xff" * _BLOCK_IDS, "big")
_EARLIEST_SECOND: Final = 946_684_800
_END_SECOND: Final = 4_133_980_800  # The start of 2101.
#: For each microsecond of a millisecond: the digits of an id, and those of a time in RFC 3339.
_FRACTIONS: Final = [f"{(us << 12) // 1000:03x}-" for us in range(1000)]
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
        self._ends: Iterator[str] = iter(())
        self._moment = (-1_000_000, "", "")
        self._second = (-1, "")

    def stamp(self, now_ns: int) -> tuple[str, str]:
        """A new id as `new_id` makes it, and its time in RFC 3339, as in `2026-11-23T06:30:00.000001Z`.

        Raises ValueError outside the years 2000 to 2100.
        """
        moment = self._moment
        rest_ns = now_ns - moment[0]
        if not 0 <= rest_ns < 1_000_000:
            moment = self._turn_to(now_ns)
            rest_ns = now_ns - moment[0]
        place = rest_ns // 1000
        end = next(self._ends, None) or self._draw()
        return f"{moment[1]}{_FRACTIONS[place]}{end}", moment[2] + _MICROSECONDS[place]

    def _turn_to(self, now_ns: int) -> tuple[int, str, str]:
        """The millisecond of `now_ns`: where it begins, and the texts with which its ids and times begin."""
        milliseconds = now_ns // 1_000_000
        seconds, rest_ms = divmod(milliseconds, 1000)
        second = self._second
        if second[0] != seconds:
            if not _EARLIEST_SECOND <= seconds < _END_SECOND:
                raise ValueError(f"the clock is wrong: {seconds} seconds since 1970 are not in 2000 to 2100")
            second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
            self._second = second
        text = f"{milliseconds:012x}"
        moment = (milliseconds * 1_000_000, f"{text[:8]}-{text[8:]}-7", f"{second[1]}.{rest_ms:03d}")
        self._moment = moment
        return moment

    def _draw(self) -> str:
        random = os.urandom(8 * _BLOCK_IDS)
        variants = int.from_bytes(random[: 2 * _BLOCK_IDS], "big") & _RANDOM_BITS | _VARIANTS
        fours = variants.to_bytes(2 * _BLOCK_IDS, "big").hex("-", 2).split("-")
        twelves = random[2 * _BLOCK_IDS :].hex("-", 6).split("-")
        ends = map("-".join, zip(fours, twelves, strict=True))
        end = next(ends)
        self._ends = ends
        return end
