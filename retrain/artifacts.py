"""A version on disk: `weights.safetensors` (tensors, never pickles) and `network.json` (what they belong to)."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from errata.errors import Malformed
from errata.resolver import DESCRIPTION, WEIGHTS


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
    description = _read_description(directory)
    if hash_file(directory / WEIGHTS) != description["weights_sha256"]:
        raise Malformed("artifact", f"{directory / WEIGHTS} is not the file that {DESCRIPTION} describes")
    try:
        return load_file(directory / WEIGHTS), description
    except SafetensorError as error:
        raise Malformed("artifact", f"{directory / WEIGHTS} is not a safetensors file: {error}") from error


def artifact_sha256(directory: Path) -> str:
    """The digest of a whole artifact: of its description, which holds the digest of the weights.

    Raises Malformed when the weights are not those of the description.
    """
    description = _read_description(directory)
    if hash_file(directory / WEIGHTS) != description["weights_sha256"]:
        raise Malformed("artifact", f"{directory / WEIGHTS} is not the file that {DESCRIPTION} describes")
    return hash_file(directory / DESCRIPTION)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises Malformed when there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise Malformed("artifact", f"{path} is missing: the artifact was not written to its end") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path`; a reader, or a restart after a power cut, sees the old file or the new one."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    # The rename itself lasts only once its directory is on disk.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_description(directory: Path) -> dict[str, Any]:
    path = directory / DESCRIPTION
    try:
        description = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Malformed("artifact", f"{path} is missing: the artifact was not written to its end") from None
    except ValueError as error:
        raise Malformed("artifact", f"{path} is not JSON: {error}") from error
    if not isinstance(description, dict) or not isinstance(description.get("weights_sha256"), str):
        raise Malformed("artifact", f"{path} must be an object with weights_sha256")
    return description
