"""A version on disk is `network.json`, which names the digest of its `weights.safetensors`: whole, or refused.

Nothing here needs PyTorch, so that a worker can release or roll back; the tensors are read in retrain/weights.py.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from errata.errors import Malformed
from errata.resolver import DESCRIPTION, WEIGHTS


def artifact_sha256(directory: Path) -> str:
    """The digest of a whole artifact: of its description, which holds the digest of the weights.

    Raises Malformed when the weights are not those of the description.
    """
    read_description(directory)
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


def read_description(directory: Path) -> dict[str, Any]:
    """The description of an artifact whose weights are the ones it names; raises Malformed otherwise."""
    path = directory / DESCRIPTION
    try:
        description = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Malformed("artifact", f"{path} is missing: the artifact was not written to its end") from None
    except ValueError as error:
        raise Malformed("artifact", f"{path} is not JSON: {error}") from error
    if not isinstance(description, dict) or not isinstance(description.get("weights_sha256"), str):
        raise Malformed("artifact", f"{path} must be an object with weights_sha256")
    if hash_file(directory / WEIGHTS) != description["weights_sha256"]:
        raise Malformed("artifact", f"{directory / WEIGHTS} is not the file that {DESCRIPTION} describes")
    return description
