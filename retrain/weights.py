"""The tensors of a version: safetensors, never pickles, which could run code when they are read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from errata.errors import Malformed
from errata.resolver import DESCRIPTION, WEIGHTS
from retrain.artifacts import read_description, write_atomically


def write_artifact(
    directory: Path, state_dict: Mapping[str, torch.Tensor], description: Mapping[str, Any]
) -> None:
    """Write both files into `directory`; a reader finds a whole artifact or refuses it, never a mixture.

    The description is written last and names the digest of the weights it belongs to.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    weights = save(tensors)
    whole = {**description, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / WEIGHTS, weights)
    write_atomically(directory / DESCRIPTION, json.dumps(whole, indent=2, sort_keys=True).encode())


def read_artifact(directory: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the description of an artifact.

    Raises Malformed when a file is missing or unreadable, or the weights are not those of the description.
    """
    description = read_description(directory)
    try:
        return load_file(directory / WEIGHTS), description
    except SafetensorError as error:
        raise Malformed("artifact", f"{directory / WEIGHTS} is not a safetensors file: {error}") from error
