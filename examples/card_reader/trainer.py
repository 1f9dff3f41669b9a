"""The card reader's trainer: in the settings, `trainer = "examples.card_reader.trainer:trainer"`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from errata.errors import Malformed
from errata.settings import Training
from examples.card_reader.cards import DIGITS, HEIGHT, WIDTH, decode_image
from examples.card_reader.network import DigitNetwork, NetworkShape, as_cells, read_cards
from retrain.trainer import Output, Progress, Sample
from retrain.training import Rows, fit
from retrain.weights import read_artifact, write_artifact

KIND = "card_reader.DigitNetwork"
CHECKPOINT = "checkpoint.pt"

#: Light on purpose: shifts and noise of a known camera, not the tilt and glare of one nobody has seen yet.
SHIFT_PIXELS = 1.0
SCALE = 0.10
SLANT = 0.08
BRIGHTNESS = 0.10
NOISE = 0.03


class CardNetwork:
    """A card reader that is loaded and ready to answer."""

    def __init__(self, network: DigitNetwork, device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.device = device

    def predict(self, inputs: Sequence[Any]) -> list[Output]:
        """Number and expiry of each encoded picture. Raises Malformed when an input is none of a card."""
        readings = read_cards(self.network, [decode_image(encoded) for encoded in inputs], self.device)
        return [
            Output(
                {"number": reading.number, "expiry": reading.expiry},
                reading.confidence,
                [round(feature, 4) for feature in reading.features.tolist()],
            )
            for reading in readings
        ]


class CardTrainer:
    """Trains on the digit cells of cards: a row is a digit, and `batch_examples` counts digits."""

    def __init__(self, shape: NetworkShape) -> None:
        self.shape = shape

    def train(
        self,
        new: Sequence[Sample],
        old: Sequence[Sample],
        champion: Path | None,
        directory: Path,
        settings: Training,
        *,
        seed: int,
        device: torch.device,
        progress: Progress,
    ) -> None:
        """Write a candidate into `directory`; its weights start as those of `champion`, if given, else random."""
        network = _load(champion) if champion else _make(self.shape, seed)
        checkpoint = directory / CHECKPOINT
        fit(
            network,
            as_rows(new),
            as_rows(old),
            settings=settings,
            seed=seed,
            device=device,
            loss=functional.cross_entropy,
            augment=jitter,
            checkpoint=checkpoint,
            progress=progress,
        )
        write_artifact(directory, network.state_dict(), {"kind": KIND, "shape": network.shape.describe()})
        checkpoint.unlink()

    def load(self, directory: Path, device: torch.device) -> CardNetwork:
        """The card reader in `directory`. Raises Malformed when there is none."""
        return CardNetwork(_load(directory), device)


def as_rows(samples: Sequence[Sample]) -> Rows:
    """Twenty rows per card: its digit cells (uint8, to keep them small) and the digits written in them."""
    images = np.stack([decode_image(sample.input) for sample in samples]) if samples else _NO_IMAGES
    digits = [read_label(sample) for sample in samples]
    return Rows(
        as_cells(images),
        torch.tensor(digits, dtype=torch.int64).flatten(),
        torch.tensor([sample.weight for sample in samples], dtype=torch.float32).repeat_interleave(DIGITS),
    )


def read_label(sample: Sample) -> list[int]:
    """The twenty digits that `{"number": ..., "expiry": ...}` says. Raises Malformed when it does not."""
    label = sample.label
    if isinstance(label, Mapping):
        written = f"{label.get('number')}{label.get('expiry')}".replace("/", "").replace(" ", "")
        if len(written) == DIGITS and written.isascii() and written.isdigit():
            return [int(digit) for digit in written]
    raise Malformed(
        "not_a_card_label",
        f'the label of example {sample.example_id} must be {{"number": 16 digits, "expiry": "MM/YY"}}',
    )


def jitter(cells: Tensor, generator: torch.Generator) -> Tensor:
    """Each cell (B, 1, 16, 16) moved, scaled, slanted and dimmed a little, with noise."""

    def uniform(limit: float, *shape: int) -> Tensor:
        return (2 * torch.rand(len(cells), *shape, generator=generator) - 1) * limit

    side = cells.shape[-1]
    affine = torch.eye(2, 3).repeat(len(cells), 1, 1)
    affine[:, [0, 1], [0, 1]] += uniform(SCALE, 2)
    affine[:, [0, 1], [1, 0]] += uniform(SLANT, 2)
    affine[:, :, 2] = uniform(2 * SHIFT_PIXELS / side, 2)
    grid = functional.affine_grid(affine, list(cells.shape), align_corners=False)
    moved = functional.grid_sample(cells, grid, align_corners=False)
    lit = moved * (1 + uniform(BRIGHTNESS, 1, 1, 1))
    return (lit + NOISE * torch.randn(lit.shape, generator=generator)).clamp_(0, 1)


def _make(shape: NetworkShape, seed: int) -> DigitNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitNetwork(shape)


def _load(directory: Path) -> DigitNetwork:
    weights, description = read_artifact(directory)
    if description.get("kind") != KIND:
        raise Malformed("artifact", f"{directory} holds {description.get('kind')!r}, not {KIND}")
    try:
        network = DigitNetwork(NetworkShape(**description["shape"]))
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Malformed(
            "artifact", f"the weights in {directory} do not fit their description: {error}"
        ) from error
    return network


_NO_IMAGES = np.zeros((0, HEIGHT, WIDTH), np.uint8)

trainer = CardTrainer(NetworkShape())
