"""The seam between Errata and a model: what a trainer does, how the settings name it, where it runs."""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from errata.errors import SettingsError
from errata.settings import Training

#: Called with the share of the training done (0..1) and the latest figures, such as `{"loss": 0.12}`.
Progress = Callable[[float, Mapping[str, float]], None]


@dataclass(frozen=True)
class Sample:
    """One example to learn from; `input` and `label` are the JSON that predictions and corrections carry."""

    example_id: str
    input: Any
    label: Any
    #: Whose data it is; what is split, is split between groups.
    group: str
    #: How often it is drawn, in relation to other examples.
    weight: float = 1.0


@dataclass(frozen=True)
class Output:
    """What a network says about one input, as a prediction event carries it."""

    output: Any
    #: The probability, by the network's own reckoning, that `output` is right.
    confidence: float
    #: A short vector in which alike inputs lie close together; None if the network has none.
    features: list[float] | None


class Network(Protocol):
    """A version that is loaded and ready to answer."""

    def predict(self, inputs: Sequence[Any]) -> list[Output]:
        """One output per input, in order. Raises Malformed when an input is not what the model takes."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """How one model is trained and loaded; everything else about a run is the same for all models."""

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
        """Write a candidate into `directory` as an artifact (retrain/weights.py).

        `new` are this run's examples, `old` those from before, replayed so that nothing is forgotten. Training
        starts from the artifact in `champion`, or from random weights where it is None. Interrupted and called
        again with the same arguments, it goes on from its checkpoint in `directory` and ends with the same weights.
        """
        ...

    def load(self, directory: Path, device: torch.device) -> Network:
        """The network of the artifact in `directory`. Raises Malformed when it is not one of this model."""
        ...


def load_trainer(name: str) -> Trainer:
    """The trainer that `package.module:attribute` names. Raises SettingsError with the fix if there is none."""
    where = f"training.trainer = {name!r}"
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise SettingsError(f"{where}: write package.module:attribute, such as my_model.training:trainer")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{where}: there is no module {error.name}; install it or add its folder to PYTHONPATH"
        ) from error
    try:
        trainer = getattr(module, attribute)
    except AttributeError:
        raise SettingsError(f"{where}: {module_name} has no attribute {attribute}") from None
    if isinstance(trainer, type):
        raise SettingsError(
            f"{where} is a class: name an object, such as {attribute.lower()} = {attribute}()"
        )
    if not isinstance(trainer, Trainer):
        raise SettingsError(f"{where} must have the methods train and load (retrain/trainer.py: Trainer)")
    return trainer


def choose_device(wanted: str) -> torch.device:
    """The device that `trainer.device` asks for; `auto` is CUDA if there is any, else Apple's MPS, else the CPU.

    Raises SettingsError for an unknown name, and for a device that this machine has not.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", wanted):
        raise SettingsError(f"trainer.device = {wanted!r}: use auto, cpu, cuda, cuda:N or mps")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"trainer.device = {wanted!r}, but torch {torch.__version__} sees {torch.cuda.device_count()} "
            "CUDA devices: check the driver (nvidia-smi) and that torch is a CUDA build, or use auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("trainer.device = 'mps', but this machine has no Apple GPU: use auto")
    return device
