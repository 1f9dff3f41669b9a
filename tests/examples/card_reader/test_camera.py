from typing import get_args

import numpy as np
import pytest

from examples.card_reader.camera import Camera, photograph
from examples.card_reader.cards import HEIGHT, WIDTH, Image, draw_card
from examples.card_reader.digits import share_out

CARD: Image = draw_card(share_out(0)["first"][0], np.random.default_rng(0)).image


def distance(camera: Camera, seeds: range) -> float:
    taken = [photograph(CARD, camera, np.random.default_rng(seed)) for seed in seeds]
    return float(np.mean([np.abs(image.astype(float) - CARD).mean() for image in taken]))


@pytest.mark.parametrize("camera", get_args(Camera))
def test_a_photograph_has_the_size_of_the_card_and_at_most_sixteen_grey_levels(camera: Camera) -> None:
    taken = photograph(CARD, camera, np.random.default_rng(0))

    assert taken.shape == (HEIGHT, WIDTH)
    assert taken.dtype == np.uint8
    assert len(np.unique(taken)) <= 17


@pytest.mark.parametrize("camera", get_args(Camera))
def test_the_same_randomness_takes_the_same_photograph(camera: Camera) -> None:
    first, again, other = (photograph(CARD, camera, np.random.default_rng(seed)) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_new_camera_is_further_from_the_card_than_the_old_one() -> None:
    assert distance("v2", range(20)) > 1.1 * distance("v1", range(20))


def test_only_the_new_camera_mirrors_lamps() -> None:
    dark = np.zeros((HEIGHT, WIDTH), np.uint8)

    brightest = {
        camera: max(int(photograph(dark, camera, np.random.default_rng(seed)).max()) for seed in range(20))
        for camera in get_args(Camera)
    }

    assert brightest["v1"] < 100
    assert brightest["v2"] > 180


def test_taking_a_photograph_leaves_the_card_as_it_was() -> None:
    before = CARD.copy()

    photograph(CARD, "v2", np.random.default_rng(0))

    np.testing.assert_array_equal(CARD, before)
