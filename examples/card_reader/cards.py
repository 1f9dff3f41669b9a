"""A payment card as the app sees it: twenty handwritten digits, of which sixteen satisfy the Luhn check.

The picture is what the app's card finder hands on: the number in four groups of four, the expiry below, each
digit in its own cell of 16x16 pixels, light ink on a dark card. Pictures travel inside events: deflated, in
base64.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from errata.errors import Malformed
from examples.card_reader.digits import Writer

Image = NDArray[np.uint8]

NUMBER_DIGITS = 16
EXPIRY_DIGITS = 4
DIGITS = NUMBER_DIGITS + EXPIRY_DIGITS
#: The years, of this century, in which a card can expire.
EXPIRY_YEARS = range(25, 36)
CELL = 16
#: A digit is this wide and high in the middle of its cell, so that it can tilt without losing its corners.
INK = 12
MARGIN = 4
GROUP_GAP = 8
ROW_GAP = 6
HEIGHT = 2 * MARGIN + 2 * CELL + ROW_GAP
WIDTH = 2 * MARGIN + NUMBER_DIGITS * CELL + 3 * GROUP_GAP

_NUMBER_LEFT = MARGIN + np.arange(NUMBER_DIGITS) * CELL + np.arange(NUMBER_DIGITS) // 4 * GROUP_GAP
#: Top left pixel of each cell: the sixteen digits of the number, then month and year below its third group.
CELL_TOP = np.repeat([MARGIN, MARGIN + CELL + ROW_GAP], [NUMBER_DIGITS, EXPIRY_DIGITS])
CELL_LEFT = np.concatenate([_NUMBER_LEFT, _NUMBER_LEFT[8:12] + np.array([0, 0, GROUP_GAP, GROUP_GAP])])

_ROWS = CELL_TOP[:, None, None] + np.arange(CELL)[None, :, None]  # (20, 16, 1)
_COLUMNS = CELL_LEFT[:, None, None] + np.arange(CELL)[None, None, :]  # (20, 1, 16)


@dataclass(frozen=True)
class Card:
    """What is written on a card, and its picture."""

    number: str  # 16 digits
    expiry: str  # MM/YY
    image: Image  # (HEIGHT, WIDTH)


def draw_card(writer: Writer, rng: np.random.Generator) -> Card:
    """A card with a random valid number and expiry, each digit drawn from `writer`'s images of it."""
    digits = rng.integers(0, 10, NUMBER_DIGITS - 1).tolist()
    digits.append(check_digit(digits))
    number = "".join(map(str, digits))
    expiry = f"{rng.integers(1, 13):02}/{rng.choice(EXPIRY_YEARS):02}"
    written = [int(character) for character in number + expiry.replace("/", "")]
    drawn = writer.images[written, rng.integers(0, writer.images.shape[1], DIGITS)]  # (20, 8, 8)
    zoomed = ndimage.zoom(
        drawn.astype(np.float32), (1, INK / 8, INK / 8), order=1, grid_mode=True, mode="nearest"
    )
    cells = np.zeros((DIGITS, CELL, CELL), np.uint8)
    edge = (CELL - INK) // 2
    cells[:, edge : edge + INK, edge : edge + INK] = np.round(zoomed)
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[_ROWS, _COLUMNS] = cells
    return Card(number, expiry, image)


def check_digit(digits: list[int]) -> int:
    """The digit that makes `digits` + [it] satisfy the Luhn check (ISO/IEC 7812-1, annex B)."""
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[::-2]]
    return -(sum(doubled) + sum(digits[-2::-2])) % 10


def satisfies_luhn(number: str) -> bool:
    """Whether the last digit of `number` is the check digit of the others."""
    digits = [int(character) for character in number]
    return digits[-1] == check_digit(digits[:-1])


def cut_cells(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The digit cells of pictures: (..., HEIGHT, WIDTH) becomes (..., 20, 16, 16)."""
    return images[..., _ROWS, _COLUMNS]


def paste_cells(image: NDArray[np.float32], cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy of `image` in which the twenty digit cells are `cells`."""
    pasted = image.copy()
    pasted[_ROWS, _COLUMNS] = cells
    return pasted


def encode_image(image: Image) -> dict[str, Any]:
    """The picture as the inline `input` of a prediction: width, height and pixels, a few KB of JSON."""
    height, width = image.shape
    pixels = base64.b64encode(zlib.compress(image.tobytes())).decode("ascii")
    return {"kind": "card", "width": width, "height": height, "pixels": pixels}


def decode_image(encoded: Any) -> Image:
    """The picture that `encode_image` wrote. Raises Malformed when it is no picture of a card."""
    if not isinstance(encoded, Mapping) or not isinstance(encoded.get("pixels"), str):
        raise Malformed(
            "not_a_card", "input must be an object with width, height and pixels (deflated, in base64)"
        )
    if (encoded.get("height"), encoded.get("width")) != (HEIGHT, WIDTH):
        raise Malformed("not_a_card", f"input must be {WIDTH} pixels wide and {HEIGHT} high")
    inflater = zlib.decompressobj()
    try:
        # One byte more than a card has shows that there is too much, without inflating all of it.
        raw = inflater.decompress(base64.b64decode(encoded["pixels"], validate=True), HEIGHT * WIDTH + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise Malformed("not_a_card", f"input.pixels is not deflated bytes in base64: {error}") from error
    if len(raw) != HEIGHT * WIDTH:
        raise Malformed("not_a_card", f"input.pixels must hold {HEIGHT * WIDTH} bytes when inflated")
    return np.frombuffer(raw, np.uint8).reshape(HEIGHT, WIDTH)


def to_png(image: Image) -> bytes:
    """The picture as a grey PNG file for screens (ISO/IEC 15948: signature, IHDR, IDAT, IEND)."""
    height, width = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
