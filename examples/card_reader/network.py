"""The network that reads a digit cell, and how twenty cells become a number and an expiry.

Reading is exact maximum likelihood: of all 16-digit numbers that satisfy the Luhn check, the most probable one is
found by dynamic programming over (position, checksum so far), and its probability is divided by that of all valid
numbers. Most single misread digits are put right this way. `confidence` takes the cells as independent.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from examples.card_reader.cards import DIGITS, EXPIRY_YEARS, NUMBER_DIGITS, Image, cut_cells

CHUNK_CARDS = 64


@dataclass(frozen=True)
class NetworkShape:
    """The sizes of the network's layers."""

    channels: tuple[int, int, int] = (16, 32, 64)
    features: int = 32

    def describe(self) -> dict[str, Any]:
        """The shape as JSON, from which `NetworkShape(**...)` makes it again."""
        return asdict(self)


class DigitNetwork(nn.Module):
    """Three convolutions and two linear layers: digit cells (B, 1, 16, 16) in 0..1 to logits (B, 10).

    Strides take the place of pooling, which would cost more than the convolutions on a CPU.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        first, second, third = shape.channels
        self.body = nn.Sequential(
            nn.Conv2d(1, first, 5, stride=2, padding=2, bias=False),  # (B, first, 8, 8)
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False),  # (B, second, 4, 4)
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, padding=1, bias=False),  # (B, third, 4, 4)
            nn.BatchNorm2d(third),
            nn.ReLU(),
        )
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(16 * third, shape.features), nn.ReLU())
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(shape.features, 10)

    def forward(self, cells: Tensor) -> Tensor:
        """Logits (B, 10)."""
        return self.read(cells)[0]

    def read(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 10) and the activations they come from (B, features)."""
        features = self.features(self.body(cells))
        logits: Tensor = self.head(self.dropout(features))
        return logits, features


@dataclass(frozen=True)
class Reading:
    """What a network reads on one card."""

    number: str
    expiry: str
    #: The probability that number and expiry are both right, given that the number is valid and the month is.
    confidence: float
    digit_probabilities: NDArray[np.float32]  # (20, 10)
    features: NDArray[np.float32]  # the mean over the digits


def as_cells(images: NDArray[np.uint8]) -> Tensor:
    """Pictures (N, HEIGHT, WIDTH) as the network's input (N * 20, 1, 16, 16), float32 in 0..1."""
    cells = cut_cells(images)  # (N, 20, 16, 16)
    return torch.from_numpy(cells).flatten(0, 1).unsqueeze(1).float() / 255


def read_cards(network: DigitNetwork, images: Sequence[Image], device: torch.device) -> list[Reading]:
    """Read each picture; `network` must be on `device` and in evaluation mode."""
    readings: list[Reading] = []
    for start in range(0, len(images), CHUNK_CARDS):
        cells = as_cells(np.stack(images[start : start + CHUNK_CARDS])).to(device)
        with torch.inference_mode():
            logits, features = network.read(cells)
            logs = functional.log_softmax(logits, dim=1).cpu().numpy().reshape(-1, DIGITS, 10)
            means = features.cpu().numpy().reshape(len(logs), DIGITS, -1).mean(axis=1)
        numbers, number_confidence = decode_numbers(logs[:, :NUMBER_DIGITS])
        expiries, expiry_confidence = decode_expiries(logs[:, NUMBER_DIGITS:])
        readings += map(
            Reading, numbers, expiries, (number_confidence * expiry_confidence).tolist(), np.exp(logs), means
        )
    return readings


def decode_numbers(logs: NDArray[np.floating]) -> tuple[list[str], NDArray[np.float64]]:
    """The most probable valid number of each card, and its probability among all valid ones.

    `logs` are log-probabilities (N, 16, 10). `best[:, r]` and `total[:, r]` are over all prefixes whose Luhn sum
    is r mod 10.
    """
    count = len(logs)
    best = np.full((count, 10), -np.inf)
    total = np.zeros((count, 10))
    best[:, 0] = 0.0
    total[:, 0] = 1.0
    choices = []
    for position in range(NUMBER_DIGITS):
        before = _BEFORE[position % 2]  # (10 sums, 10 digits)
        log = logs[:, position, None, :].astype(np.float64)  # (N, 1, 10 digits)
        scores = best[:, before] + log  # (N, 10 sums, 10 digits)
        choices.append(scores.argmax(axis=2))
        best = scores.max(axis=2)
        total = (total[:, before] * np.exp(log)).sum(axis=2)
    digits = np.empty((count, NUMBER_DIGITS), np.int64)
    rows, sums = np.arange(count), np.zeros(count, np.int64)
    for position in reversed(range(NUMBER_DIGITS)):
        digits[:, position] = choices[position][rows, sums]
        sums = _BEFORE[position % 2][sums, digits[:, position]]
    numbers = ["".join(map(str, row)) for row in digits.tolist()]
    return numbers, np.exp(best[:, 0]) / total[:, 0]


def decode_expiries(logs: NDArray[np.floating]) -> tuple[list[str], NDArray[np.float64]]:
    """The most probable MM/YY that a card can bear, and its probability among those; `logs` are (N, 4, 10)."""
    months, month_confidence = _decode_pairs(logs[:, :2], range(1, 13))
    years, year_confidence = _decode_pairs(logs[:, 2:], EXPIRY_YEARS)
    expiries = [f"{month:02}/{year:02}" for month, year in zip(months, years, strict=True)]
    return expiries, month_confidence * year_confidence


def _decode_pairs(
    logs: NDArray[np.floating], allowed: range
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The most probable value out of `allowed`, and its probability among those; `logs` are (N, 2, 10)."""
    values = np.array(allowed)
    joint = np.exp(logs[:, 0, values // 10].astype(np.float64) + logs[:, 1, values % 10])  # (N, values)
    return values[joint.argmax(axis=1)], joint.max(axis=1) / joint.sum(axis=1)


def _sums_before() -> NDArray[np.int64]:
    """[position % 2][sum after][digit] -> Luhn sum before; of sixteen digits the even positions count double."""
    digit = np.arange(10)
    values = np.stack([2 * digit - 9 * (digit > 4), digit])  # (2, 10)
    before: NDArray[np.int64] = (np.arange(10)[None, :, None] - values[:, None, :]) % 10
    return before


_BEFORE = _sums_before()
