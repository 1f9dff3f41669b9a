from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errata.errors import Malformed
from errata.settings import Training
from examples.card_reader.cards import DIGITS
from examples.card_reader.digits import share_out
from examples.card_reader.first_version import collect_samples
from examples.card_reader.network import NetworkShape
from examples.card_reader.trainer import CardTrainer, as_rows, jitter
from retrain.artifacts import artifact_sha256
from retrain.trainer import Progress, Sample, load_trainer
from retrain.weights import read_artifact, write_artifact

CPU = torch.device("cpu")
TINY = CardTrainer(NetworkShape(channels=(4, 8, 8), features=8))
SETTINGS = Training(steps=6, batch_examples=16)

pytestmark = pytest.mark.usefixtures("one_thread")


def cards(count: int, seed: int = 0) -> list[Sample]:
    return collect_samples(share_out(0)["founders"][:4], count, "v1", np.random.default_rng(seed), "card")


def ignore(share: float, figures: Mapping[str, float]) -> None: ...


def train(directory: Path, champion: Path | None = None, seed: int = 1, progress: Progress = ignore) -> Path:
    TINY.train(
        cards(4), cards(3, seed=9), champion, directory, SETTINGS, seed=seed, device=CPU, progress=progress
    )
    return directory


def test_the_settings_can_name_the_trainer() -> None:
    assert isinstance(load_trainer("examples.card_reader.trainer:trainer"), CardTrainer)


def test_a_trained_version_reads_cards(tmp_path: Path) -> None:
    network = TINY.load(train(tmp_path), CPU)

    outputs = network.predict([sample.input for sample in cards(3)])

    assert [sorted(output.output) for output in outputs] == [["expiry", "number"]] * 3
    assert all(0 < output.confidence <= 1 for output in outputs)
    assert [len(output.features or []) for output in outputs] == [8] * 3


def test_the_same_seed_gives_the_same_artifact_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (
        artifact_sha256(train(tmp_path / name, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )

    assert first == again
    assert first != other


def test_training_killed_half_way_ends_with_the_same_artifact(tmp_path: Path) -> None:
    def kill(share: float, figures: Mapping[str, float]) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", progress=kill)

    assert artifact_sha256(train(tmp_path / "killed")) == artifact_sha256(train(tmp_path / "whole"))


def test_nothing_but_the_artifact_stays_in_the_directory(tmp_path: Path) -> None:
    train(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.json", "weights.safetensors"]


def test_training_goes_on_from_the_champion_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    champion = train(tmp_path / "champion")
    before = artifact_sha256(champion)

    train(tmp_path / "candidate", champion)

    old, _ = read_artifact(champion)
    new, _ = read_artifact(tmp_path / "candidate")
    fresh, _ = read_artifact(train(tmp_path / "fresh", seed=5))
    name = "body.3.weight"
    assert (new[name] - old[name]).norm() < 0.5 * (fresh[name] - old[name]).norm()
    assert artifact_sha256(champion) == before


@pytest.mark.parametrize(
    "label",
    [
        None,
        "4111111111111111",
        {"number": "4111111111111111"},
        {"number": "411111111111111", "expiry": "01/30"},
        {"number": "4111111111111111", "expiry": "1/30"},
        {"number": "411111111111111x", "expiry": "01/30"},
    ],
)
def test_a_label_that_is_not_a_card_names_the_example(label: Any) -> None:
    sample = replace(cards(1)[0], label=label)

    with pytest.raises(Malformed, match="card-0000") as caught:
        as_rows([sample])

    assert caught.value.reason == "not_a_card_label"


def test_a_card_is_twenty_rows_that_share_its_weight() -> None:
    samples = [replace(sample, weight=weight) for sample, weight in zip(cards(2), (1.0, 3.0), strict=True)]

    rows = as_rows(samples)

    written = "".join(sample.label["number"] + sample.label["expiry"].replace("/", "") for sample in samples)
    assert rows.inputs.shape == (2 * DIGITS, 1, 16, 16)
    assert "".join(map(str, rows.targets.tolist())) == written
    assert rows.weights.tolist() == [1.0] * DIGITS + [3.0] * DIGITS


def test_no_samples_are_no_rows() -> None:
    assert len(as_rows([])) == 0


def test_jitter_changes_every_cell_a_little_and_the_same_way_for_the_same_generator() -> None:
    cells = as_rows(cards(2)).inputs

    first, again = (jitter(cells, torch.Generator().manual_seed(3)) for _ in range(2))

    torch.testing.assert_close(first, again, rtol=0, atol=0)
    change = (first - cells).abs().mean(dim=(1, 2, 3))
    assert (change > 0).all()
    assert change.mean() < 0.15
    assert first.min() >= 0
    assert first.max() <= 1


def test_an_artifact_of_another_kind_or_shape_is_set_aside(tmp_path: Path) -> None:
    weights, description = read_artifact(train(tmp_path / "card"))
    write_artifact(tmp_path / "other", weights, {**description, "kind": "translator"})
    wider = {"channels": [5, 8, 8], "features": 8}
    write_artifact(tmp_path / "misshapen", weights, {**description, "shape": wider})

    with pytest.raises(Malformed, match="translator"):
        TINY.load(tmp_path / "other", CPU)
    with pytest.raises(Malformed, match="do not fit"):
        TINY.load(tmp_path / "misshapen", CPU)
