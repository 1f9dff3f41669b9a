"""How a card looks to the app's camera: `v1`, which version 1 was trained for, and `v2`, which replaced it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from examples.card_reader.cards import HEIGHT, WIDTH, Image, cut_cells, paste_cells

Camera = Literal["v1", "v2"]

#: The app sends sixteen grey levels, which keeps a picture at a few KB.
GREY_STEP = 16


@dataclass(frozen=True)
class Optics:
    """What a camera does to a card; a pair is the range that each photograph draws from."""

    noise: float  # standard deviation, in grey levels of 256
    shift_pixels: float  # the card finder's error along each axis, at most
    tilt_degrees: tuple[float, float]  # either way
    blur_pixels: tuple[float, float]  # standard deviation of the blur
    contrast: tuple[float, float]
    glare: float  # probability that a lamp is mirrored in the card


OPTICS: dict[Camera, Optics] = {
    "v1": Optics(10.0, 0.7, (0.0, 3.0), (0.0, 0.3), (0.9, 1.0), 0.0),
    "v2": Optics(12.0, 0.7, (3.0, 9.5), (0.4, 0.8), (0.65, 0.95), 0.3),
}


def photograph(image: Image, camera: Camera, rng: np.random.Generator) -> Image:
    """`image` as `camera` takes it.

    The app's card finder straightens the rows: a tilted card keeps its digits in their cells, but every digit is
    tilted by the same angle.
    """
    optics = OPTICS[camera]
    angle = rng.uniform(*optics.tilt_degrees) * rng.choice([-1.0, 1.0])
    cells = cut_cells(image).astype(np.float32)
    tilted = ndimage.rotate(cells, angle, axes=(1, 2), reshape=False, order=1)
    seen = paste_cells(image.astype(np.float32), tilted)
    seen = ndimage.shift(seen, rng.uniform(-optics.shift_pixels, optics.shift_pixels, 2), order=1)
    seen = ndimage.gaussian_filter(seen, rng.uniform(*optics.blur_pixels))
    seen *= rng.uniform(*optics.contrast)
    if rng.random() < optics.glare:
        seen += _glare(rng)
    seen += rng.normal(0.0, optics.noise, seen.shape)
    grey = np.round(seen / GREY_STEP) * GREY_STEP
    taken: Image = np.clip(grey, 0, 255).astype(np.uint8)
    return taken


def _glare(rng: np.random.Generator) -> NDArray[np.float32]:
    """A lamp's reflection: a bright blob somewhere on the card, saturated in the middle."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    row, column = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH)
    height, width = rng.uniform(5, 9), rng.uniform(8, 20)
    distance = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2
    blob: NDArray[np.float32] = 200 * np.exp(-distance / 2)
    return blob
