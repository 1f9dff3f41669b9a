"""Ids of events: UUIDs of version 7 (RFC 9562), which sort by the millisecond in which they were made."""

import os
import time
from collections.abc import Callable

#: Makes an id at a time in microseconds; `new_id`, or in tests something that counts.
NewId = Callable[[int], str]

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


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
