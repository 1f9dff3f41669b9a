"""CRC-32C, the checksum of Kafka's record batches, at the speed of C with nothing but Python's integers.

Python has CRC-32 alone, and a loop over bytes takes fifty times as long. Here the bytes are one large integer, a
polynomial over two elements. x^6777 + x^484 + x^100 + 1 is a multiple of CRC-32C's own polynomial (Castagnoli
1993), and so is each of its squares, x^13554 + x^968 + x^200 + 1 and so on. What exceeds such a multiple is
replaced by three copies that are shifted: that leaves the checksum as it is, and halves the integer.
"""

from typing import Final

_REVERSED_POLYNOMIAL: Final = 0x82F63B78
_ONES: Final = 0xFFFF_FFFF
#: The multiple with four terms: its degree, and the degrees of the two terms in its middle.
_DEGREE: Final = 6777
_MIDDLE: Final = (484, 100)


def _row(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (_REVERSED_POLYNOMIAL if number & 1 else 0)
    return number


_TABLE: Final = tuple(map(_row, range(256)))


def crc32c(data: bytes) -> int:
    """The CRC-32C of `data`, as an unsigned 32-bit number."""
    # The first bit that is sent is the lowest one here, and stands for the highest power of x. The checksum begins
    # with ones, which is the same as the first 32 bits inverted; a shorter text has room for them behind it.
    n_bits = 8 * len(data)
    rest = int.from_bytes(data, "little") ^ _ONES
    scale = 1 << max(0, (n_bits // _DEGREE).bit_length() - 1) if n_bits > _DEGREE else 0
    while scale:
        degree = scale * _DEGREE
        first, second = (degree - scale * power for power in _MIDDLE)
        while n_bits >= degree + 8:
            n_folded = min(first, n_bits - degree) & ~7
            folded = rest & ((1 << n_folded) - 1)
            rest >>= n_folded
            rest ^= folded << (degree - n_folded)
            rest ^= folded << (first - n_folded)
            rest ^= folded << (second - n_folded)
            n_bits -= n_folded
        scale >>= 1
    crc = 0
    n_bytes = n_bits // 8
    for byte in (rest & ((1 << n_bits) - 1)).to_bytes(n_bytes, "little"):
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ rest >> n_bits ^ _ONES
