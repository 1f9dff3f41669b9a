"""Who writes the cards: real handwritten digits, shared out to writers, and the writers to three cohorts.

The digits are scikit-learn's `load_digits`: 1,797 images of 8x8 pixels, the test part of "Optical Recognition
of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0). No image belongs
to two writers, and a card is made of one writer's images only: whatever is split by writer is split by image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Cohort = Literal["founders", "first", "second"]

#: Images of each class that a writer owns. The rarest class has 174 images: enough for 87 writers.
IMAGES_PER_CLASS = 2

#: Of a hundred writers, how many belong to each cohort.
COHORT_PERCENT: Mapping[Cohort, int] = {"founders": 50, "first": 28, "second": 22}


@dataclass(frozen=True)
class Writer:
    """One person's handwriting: `images[digit][k]` is an image (0..255), `indices[digit][k]` its place in the data."""

    name: str
    images: NDArray[np.uint8]  # (10, IMAGES_PER_CLASS, 8, 8)
    indices: NDArray[np.int64]  # (10, IMAGES_PER_CLASS)


def share_out(seed: int) -> dict[Cohort, tuple[Writer, ...]]:
    """Give every writer images of all ten classes, and every writer one cohort, the same for the same seed.

    `founders` are the people version 1 is trained and evaluated on, `first` the customers before the new
    release, `second` those after it. Images left over when the rarest class is used up belong to nobody.
    """
    rng = np.random.default_rng(seed)
    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)
    shuffled = [rng.permutation(np.flatnonzero(data.target == digit)) for digit in range(10)]
    writers = []
    for number in range(min(map(len, shuffled)) // IMAGES_PER_CLASS):
        own = slice(number * IMAGES_PER_CLASS, (number + 1) * IMAGES_PER_CLASS)
        indices = np.stack([of_class[own] for of_class in shuffled])
        writers.append(Writer(f"writer-{number:02}", pixels[indices], indices))
    cohorts: dict[Cohort, tuple[Writer, ...]] = {}
    start, percent = 0, 0
    for cohort in get_args(Cohort):
        percent += COHORT_PERCENT[cohort]
        end = len(writers) * percent // 100
        cohorts[cohort] = tuple(writers[start:end])
        start = end
    return cohorts
