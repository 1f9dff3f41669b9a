from itertools import chain

import numpy as np
import pytest
from sklearn.datasets import load_digits

from examples.card_reader.digits import IMAGES_PER_CLASS, share_out


@pytest.mark.parametrize("seed", [0, 1])
def test_no_image_belongs_to_two_writers(seed: int) -> None:
    writers = list(chain.from_iterable(share_out(seed).values()))

    indices = np.concatenate([writer.indices.ravel() for writer in writers])

    assert len(writers) == 87
    assert len(np.unique(indices)) == len(indices) == 87 * 10 * IMAGES_PER_CLASS


def test_every_writer_owns_images_of_all_ten_classes() -> None:
    target = load_digits().target

    for writer in chain.from_iterable(share_out(0).values()):
        for digit in range(10):
            assert (target[writer.indices[digit]] == digit).all()


def test_images_are_those_of_the_data_set_in_256_grey_levels() -> None:
    images = load_digits().images

    writer = share_out(0)["first"][0]

    assert writer.images[7, 1].max() <= 255
    np.testing.assert_allclose(writer.images[7, 1] * (16 / 255), images[writer.indices[7, 1]], atol=0.04)


def test_each_writer_belongs_to_one_cohort_and_no_cohort_is_small() -> None:
    cohorts = share_out(0)

    names = [writer.name for writers in cohorts.values() for writer in writers]

    assert len(set(names)) == len(names)
    assert {name: len(writers) for name, writers in cohorts.items()} == {
        "founders": 43,
        "first": 24,
        "second": 20,
    }


def test_the_same_seed_gives_the_same_shares_and_another_seed_others() -> None:
    def founders(seed: int) -> list[int]:
        return [int(index) for writer in share_out(seed)["founders"] for index in writer.indices.flat]

    assert founders(3) == founders(3)
    assert founders(3) != founders(4)
