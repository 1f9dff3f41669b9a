"""Whether an input is a picture."""

import base64
import zlib

import numpy as np
import pytest

from dashboard.pictures import PIXELS_AT_MOST, find_picture
from examples.card_reader.cards import HEIGHT, WIDTH, encode_image, to_png


def packed(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def test_the_picture_of_the_card_reader_is_found():
    image = np.arange(HEIGHT * WIDTH, dtype=np.uint32).astype(np.uint8).reshape(HEIGHT, WIDTH)
    assert np.array_equal(find_picture(encode_image(image)), image)


def test_a_png_file_is_found():
    file = to_png(np.zeros((4, 6), np.uint8))
    assert find_picture({"png": packed(file)}) == file


def test_pixels_may_be_deflated_or_not():
    raw = bytes(range(6))
    for data in (raw, zlib.compress(raw)):
        found = find_picture({"width": 3, "height": 2, "data": packed(data)})
        assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [1],
        {},
        {"png": packed(b"<svg onload=alert(1)>")},
        {"png": "not base64!"},
        {"width": 3, "height": 2, "pixels": packed(b"12345")},
        {"width": 3, "height": 2, "pixels": packed(zlib.compress(b"1234567"))},
        {"width": 0, "height": 2, "pixels": ""},
        {"width": PIXELS_AT_MOST, "height": 2, "pixels": packed(zlib.compress(b"\0" * 100))},
        {"width": "3", "height": 2, "pixels": packed(b"123456")},
    ],
)
def test_anything_else_is_no_picture(value):
    assert find_picture(value) is None
