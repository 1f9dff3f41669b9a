from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from examples.card_reader.cards import DIGITS, EXPIRY_YEARS, HEIGHT, WIDTH, check_digit, satisfies_luhn
from examples.card_reader.network import (
    DigitNetwork,
    NetworkShape,
    decode_expiries,
    decode_numbers,
    read_cards,
)

TINY = NetworkShape(channels=(2, 3, 4), features=5)


def random_logs(seed: int, cards: int, digits: int, sharpness: float = 2.0) -> NDArray[np.float64]:
    logits = np.random.default_rng(seed).normal(0, sharpness, (cards, digits, 10))
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=2, keepdims=True)))


def sure_logs(digits: list[int]) -> NDArray[np.float64]:
    logs = np.full((1, len(digits), 10), np.log(0.001))
    logs[0, np.arange(len(digits)), digits] = np.log(0.991)
    return logs


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 8.0))
@settings(max_examples=50)
def test_a_decoded_number_is_always_valid_and_its_confidence_a_probability(
    seed: int, sharpness: float
) -> None:
    numbers, confidence = decode_numbers(random_logs(seed, 3, 16, sharpness))

    assert all(map(satisfies_luhn, numbers))
    assert ((confidence > 0) & (confidence <= 1 + 1e-9)).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_decoded_number_is_the_most_probable_of_all_valid_ones(seed: int) -> None:
    # All cells but four are certain, so that all 10,000 numbers that remain possible can be tried.
    rng = np.random.default_rng(seed)
    known = rng.integers(0, 10, 16)
    open_places = [1, 6, 11, 15]
    logs = np.full((1, 16, 10), -np.inf)
    logs[0, np.arange(16), known] = 0.0
    logs[0, open_places] = random_logs(seed, 1, 4)[0]
    probabilities = {}
    for digits in product(range(10), repeat=4):
        known[open_places] = digits
        number = "".join(map(str, known))
        if satisfies_luhn(number):
            probabilities[number] = np.exp(logs[0, open_places, digits].sum())

    numbers, confidence = decode_numbers(logs)

    best = max(probabilities, key=probabilities.__getitem__)
    assert numbers == [best]
    assert confidence[0] == pytest.approx(probabilities[best] / sum(probabilities.values()))


def test_one_doubtful_misread_digit_is_put_right() -> None:
    true = [4, 1, 1, 1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 9]
    true.append(check_digit(true))
    logs = sure_logs(true)
    logs[0, 5] = np.log(0.001)
    logs[0, 5, [3, true[5]]] = np.log([0.6, 0.39])

    numbers, confidence = decode_numbers(logs)

    assert numbers == ["".join(map(str, true))]
    assert 0.5 < confidence[0] < 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_a_decoded_expiry_is_a_month_and_a_year_that_a_card_can_bear(seed: int) -> None:
    (expiry,), _ = decode_expiries(random_logs(seed, 1, 4))

    assert 1 <= int(expiry[:2]) <= 12
    assert int(expiry[3:]) in EXPIRY_YEARS


def test_an_impossible_month_is_read_as_the_most_probable_possible_one() -> None:
    logs = sure_logs([7, 1, 2, 9])
    logs[0, 0, 1] = np.log(0.004)

    expiries, _ = decode_expiries(logs)

    assert expiries == ["11/29"]


def test_a_card_reads_the_same_in_any_batch() -> None:
    torch.manual_seed(0)
    network = DigitNetwork(TINY).eval()
    images = list(np.random.default_rng(0).integers(0, 256, (70, HEIGHT, WIDTH), dtype=np.uint8))

    together = read_cards(network, images, torch.device("cpu"))
    alone = read_cards(network, images[66:67], torch.device("cpu"))

    assert len(together) == 70
    assert (together[66].number, together[66].expiry) == (alone[0].number, alone[0].expiry)
    assert together[66].confidence == pytest.approx(alone[0].confidence, rel=1e-3)
    assert together[66].features.shape == (TINY.features,)
    assert together[66].digit_probabilities.shape == (DIGITS, 10)
    np.testing.assert_allclose(together[66].digit_probabilities.sum(axis=1), 1, atol=1e-5)


def test_no_cards_are_no_readings() -> None:
    assert read_cards(DigitNetwork(TINY).eval(), [], torch.device("cpu")) == []


def test_a_shape_survives_its_description() -> None:
    assert NetworkShape(**TINY.describe()) == TINY
