"""Whether an input or output is a picture, and if so, which."""

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A picture with more pixels than this is not inflated for a screen.
PIXELS_AT_MOST = 4_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


def find_picture(value: Any) -> bytes | NDArray[np.uint8] | None:
    """The picture in a JSON value: a PNG file, or grey pixels (height, width); None if there is none.

    A picture is an object with `png` (a PNG file in base64), or with `width`, `height` and `pixels` or `data`
    (one byte per pixel, deflated or not, in base64).
    """
    if not isinstance(value, Mapping):
        return None
    try:
        if isinstance(value.get("png"), str):
            file = base64.b64decode(value["png"], validate=True)
            return file if file.startswith(_PNG) else None
        width, height = value.get("width"), value.get("height")
        encoded = value.get("pixels", value.get("data"))
        if not (isinstance(encoded, str) and isinstance(width, int) and isinstance(height, int)):
            return None
        if not (width > 0 and height > 0 and width * height <= PIXELS_AT_MOST):
            return None
        raw = base64.b64decode(encoded, validate=True)
        if len(raw) != width * height:
            # One byte more than fits shows that there is too much, without inflating all of it.
            raw = zlib.decompressobj().decompress(raw, width * height + 1)
    except (binascii.Error, ValueError, zlib.error):
        return None
    if len(raw) != width * height:
        return None
    return np.frombuffer(raw, np.uint8).reshape(height, width)
