"""Trainers for tests: a network is right about the cameras it was trained on, and the weights are one number."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from errata.errors import Malformed
from errata.settings import Training
from retrain.trainer import Output, Progress, Sample
from retrain.weights import read_artifact, write_artifact


def write_network(directory: Path, cameras: Sequence[str]) -> None:
    """An artifact that is right about pictures of these cameras."""
    write_artifact(directory, {"weight": torch.ones(1)}, {"cameras": sorted(cameras)})


class FakeNetwork:
    def __init__(self, cameras: Sequence[str]) -> None:
        self.cameras = cameras

    def predict(self, inputs: Sequence[Any]) -> list[Output]:
        if not all(isinstance(each, dict) for each in inputs):
            raise Malformed("not_a_picture", "an input must be an object with a camera")
        return [
            Output(f"label {each['number']}" if each["camera"] in self.cameras else "?", 0.9, None)
            for each in inputs
        ]


@dataclass
class FakeTrainer:
    """Learns the cameras of its samples; `forgets` leaves out what the champion knew."""

    forgets: bool = False
    learns: bool = True
    raises: Exception | None = None
    trainings: int = 0

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
        self.trainings += 1
        assert champion is not None
        known = set(read_artifact(champion)[1]["cameras"])
        progress(0.5, {"loss": 0.1})
        if self.raises is not None:
            raise self.raises
        if self.forgets:
            known.clear()
        if self.learns:
            known |= {sample.input["camera"] for sample in (*new, *old) if sample in new or not self.forgets}
        write_network(directory, sorted(known))
        progress(1.0, {"loss": 0.01})

    def load(self, directory: Path, device: torch.device) -> FakeNetwork:
        return FakeNetwork(read_artifact(directory)[1]["cameras"])


trainer = FakeTrainer()
forgetful = FakeTrainer(forgets=True)
useless = FakeTrainer(learns=False)
broken = FakeTrainer(raises=RuntimeError("the GPU is on fire"))
