"""Version 1 of the card reader, from the founders' own cards, before there is any customer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from errata.settings import Training
from examples.card_reader.camera import Camera, photograph
from examples.card_reader.cards import draw_card, encode_image
from examples.card_reader.digits import Writer, share_out
from examples.card_reader.trainer import trainer
from retrain.trainer import Progress, Sample

#: Of a hundred founders, those who never train: version 1 is measured on their cards.
EVALUATION_PERCENT = 30
TRAIN_CARDS = 500
EVALUATION_CARDS = 360
STEPS = 900
BATCH_DIGITS = 96


@dataclass(frozen=True)
class FirstVersion:
    """What version 1 leaves behind: examples to replay, and frozen examples to measure every version on."""

    train: list[Sample]
    evaluation: list[Sample]


def train_first_version(directory: Path, seed: int, device: torch.device, progress: Progress) -> FirstVersion:
    """Train version 1 into `directory` on the founders' cards, taken with camera v1."""
    founders = share_out(seed)["founders"]
    rng = np.random.default_rng(seed)
    held_out = len(founders) * EVALUATION_PERCENT // 100
    first = FirstVersion(
        train=collect_samples(founders[held_out:], TRAIN_CARDS, "v1", rng, "founders-train"),
        evaluation=collect_samples(founders[:held_out], EVALUATION_CARDS, "v1", rng, "founders-evaluation"),
    )
    settings = Training(steps=STEPS, batch_examples=BATCH_DIGITS)
    trainer.train(first.train, [], None, directory, settings, seed=seed, device=device, progress=progress)
    return first


def collect_samples(
    writers: Sequence[Writer], count: int, camera: Camera, rng: np.random.Generator, prefix: str
) -> list[Sample]:
    """`count` labelled cards of `writers` in turn; an example is named `prefix` and its place."""
    samples = []
    for place in range(count):
        writer = writers[place % len(writers)]
        card = draw_card(writer, rng)
        samples.append(
            Sample(
                example_id=f"{prefix}-{place:04}",
                input=encode_image(photograph(card.image, camera, rng)),
                label={"number": card.number, "expiry": card.expiry},
                group=writer.name,
            )
        )
    return samples
