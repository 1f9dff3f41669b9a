import base64
import io
import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from errata.errors import Malformed
from examples.card_reader.camera import photograph
from examples.card_reader.cards import (
    DIGITS,
    EXPIRY_YEARS,
    HEIGHT,
    WIDTH,
    check_digit,
    cut_cells,
    decode_image,
    draw_card,
    encode_image,
    paste_cells,
    satisfies_luhn,
    to_png,
)
from examples.card_reader.digits import share_out

WRITER = share_out(0)["first"][0]


def test_numbers_known_to_be_valid_satisfy_the_luhn_check() -> None:
    assert satisfies_luhn("4111111111111111")
    assert satisfies_luhn("378282246310005")
    assert not satisfies_luhn("4111111111111112")


@given(st.lists(st.integers(0, 9), min_size=15, max_size=15), st.integers(0, 15), st.integers(1, 9))
def test_one_wrong_digit_never_satisfies_the_luhn_check(digits: list[int], place: int, change: int) -> None:
    number = [*digits, check_digit(digits)]
    wrong = number.copy()
    wrong[place] = (wrong[place] + change) % 10

    assert satisfies_luhn("".join(map(str, number)))
    assert not satisfies_luhn("".join(map(str, wrong)))


@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_card_has_a_valid_number_and_an_expiry_in_range(seed: int) -> None:
    card = draw_card(WRITER, np.random.default_rng(seed))

    month, year = card.expiry.split("/")
    assert len(card.number) == 16
    assert satisfies_luhn(card.number)
    assert 1 <= int(month) <= 12
    assert int(year) in EXPIRY_YEARS
    assert card.image.shape == (HEIGHT, WIDTH)
    assert card.image.dtype == np.uint8


def test_each_cell_shows_an_image_of_its_digit_by_the_cards_writer() -> None:
    card = draw_card(WRITER, np.random.default_rng(0))

    cells = cut_cells(card.image)

    written = [int(character) for character in card.number + card.expiry.replace("/", "")]
    for cell, digit in zip(cells, written, strict=True):
        # Nearest sampling of the drawn ink at the centres of the source's 8x8 pixels.
        seen = cell[2:14, 2:14].reshape(4, 3, 4, 3).mean(axis=(1, 3))
        sources = WRITER.images[digit].reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
        assert np.abs(sources - seen).mean(axis=(1, 2)).min() < 12


def test_cells_cover_all_ink_and_can_be_pasted_back() -> None:
    image = draw_card(WRITER, np.random.default_rng(0)).image

    cells = cut_cells(image)

    assert cells.shape == (DIGITS, 16, 16)
    assert cells.sum(dtype=int) == image.sum(dtype=int)
    empty = np.zeros((HEIGHT, WIDTH), np.float32)
    np.testing.assert_array_equal(paste_cells(empty, cells.astype(np.float32)), image)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["v1", "v2"]))
def test_a_picture_survives_encoding_and_is_a_few_kilobytes_of_json(seed: int, camera: Any) -> None:
    rng = np.random.default_rng(seed)
    image = photograph(draw_card(WRITER, rng).image, camera, rng)

    text = json.dumps(encode_image(image))

    np.testing.assert_array_equal(decode_image(json.loads(text)), image)
    assert len(text) < 8 * 1024


def deflated(size: int) -> str:
    return base64.b64encode(zlib.compress(bytes(size))).decode()


@pytest.mark.parametrize(
    ("encoded", "complaint"),
    [
        (None, "must be an object"),
        ({"width": WIDTH, "height": HEIGHT}, "must be an object"),
        ({"width": 5, "height": HEIGHT, "pixels": deflated(5 * HEIGHT)}, f"must be {WIDTH} pixels wide"),
        ({"width": WIDTH, "height": HEIGHT, "pixels": "*"}, "not deflated bytes"),
        ({"width": WIDTH, "height": HEIGHT, "pixels": "é"}, "not deflated bytes"),
        ({"width": WIDTH, "height": HEIGHT, "pixels": "AAAA"}, "not deflated bytes"),
        ({"width": WIDTH, "height": HEIGHT, "pixels": deflated(7)}, f"{WIDTH * HEIGHT} bytes"),
        ({"width": WIDTH, "height": HEIGHT, "pixels": deflated(10**7)}, f"{WIDTH * HEIGHT} bytes"),
    ],
)
def test_what_is_no_picture_of_a_card_is_set_aside_with_the_reason(encoded: Any, complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint) as caught:
        decode_image(encoded)

    assert caught.value.reason == "not_a_card"


def test_the_png_holds_the_same_pixels() -> None:
    image = draw_card(WRITER, np.random.default_rng(0)).image

    with Pillow.open(io.BytesIO(to_png(image))) as opened:
        np.testing.assert_array_equal(np.asarray(opened), image)
