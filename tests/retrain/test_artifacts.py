import json
from pathlib import Path

import pytest
import torch

from errata.errors import Malformed
from retrain.artifacts import artifact_sha256, hash_file, write_atomically
from retrain.weights import read_artifact, write_artifact

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3).t(), "steps": torch.tensor(7)}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "version", WEIGHTS, {"kind": "tiny", "shape": {"width": 3}})
    return tmp_path / "version"


def test_what_is_written_is_read_again(directory: Path) -> None:
    weights, description = read_artifact(directory)

    assert {name: tensor.tolist() for name, tensor in weights.items()} == {
        "layer.weight": [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]],
        "steps": 7,
    }
    assert description["kind"] == "tiny"
    assert description["shape"] == {"width": 3}


def test_the_same_content_has_the_same_digest_wherever_it_lies(directory: Path, tmp_path: Path) -> None:
    write_artifact(tmp_path / "copy", WEIGHTS, {"shape": {"width": 3}, "kind": "tiny"})
    (tmp_path / "copy" / "notes.txt").write_text("not part of the artifact")

    assert artifact_sha256(tmp_path / "copy") == artifact_sha256(directory)


@pytest.mark.parametrize("kind", ["weights", "description"])
def test_another_content_has_another_digest(directory: Path, tmp_path: Path, kind: str) -> None:
    weights = {**WEIGHTS, "steps": torch.tensor(8)} if kind == "weights" else WEIGHTS
    description = {"kind": "tiny", "shape": {"width": 3 if kind == "weights" else 4}}
    write_artifact(tmp_path / "other", weights, description)

    assert artifact_sha256(tmp_path / "other") != artifact_sha256(directory)


@pytest.mark.parametrize("name", ["weights.safetensors", "network.json"])
def test_an_artifact_with_a_file_missing_is_set_aside(directory: Path, name: str) -> None:
    (directory / name).unlink()

    for use in (read_artifact, artifact_sha256):
        with pytest.raises(Malformed, match=f"{name} is missing"):
            use(directory)


def test_weights_of_another_version_under_a_description_are_set_aside(directory: Path) -> None:
    path = directory / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")

    for use in (read_artifact, artifact_sha256):
        with pytest.raises(Malformed, match="is not the file"):
            use(directory)


def test_weights_that_are_no_safetensors_are_set_aside_unopened_by_pickle(directory: Path) -> None:
    path = directory / "weights.safetensors"
    torch.save(WEIGHTS, path)
    (directory / "network.json").write_text(json.dumps({"weights_sha256": hash_file(path)}))

    with pytest.raises(Malformed, match="not a safetensors file"):
        read_artifact(directory)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weights_sha256": 1}'])
def test_a_description_that_says_nothing_is_set_aside(directory: Path, text: str) -> None:
    (directory / "network.json").write_text(text)

    with pytest.raises(Malformed, match=r"network\.json"):
        read_artifact(directory)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError("power cut")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="power cut"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
