from pathlib import Path

import numpy as np
import pytest
import torch

from examples.card_reader import first_version
from examples.card_reader.cards import satisfies_luhn
from examples.card_reader.digits import share_out
from examples.card_reader.first_version import collect_samples, train_first_version
from examples.card_reader.trainer import trainer


def test_version_1_leaves_samples_of_founders_alone_split_by_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TRAIN_CARDS": 40, "EVALUATION_CARDS": 12, "STEPS": 3, "BATCH_DIGITS": 8}.items():
        monkeypatch.setattr(first_version, name, value)
    shares: list[float] = []

    first = train_first_version(tmp_path, 0, torch.device("cpu"), lambda share, _: shares.append(share))

    founders = {writer.name for writer in share_out(0)["founders"]}
    trained, evaluated = ({sample.group for sample in part} for part in (first.train, first.evaluation))
    assert (len(first.train), len(first.evaluation)) == (40, 12)
    assert trained | evaluated == founders
    assert not trained & evaluated
    assert shares[-1] == 1.0
    outputs = trainer.load(tmp_path, torch.device("cpu")).predict([first.evaluation[0].input])
    assert satisfies_luhn(outputs[0].output["number"])


def test_collected_samples_have_names_of_their_own_and_take_writers_in_turn() -> None:
    writers = share_out(0)["second"][:2]

    samples = collect_samples(writers, 5, "v2", np.random.default_rng(0), "card")

    assert [sample.example_id for sample in samples] == [f"card-{place:04}" for place in range(5)]
    assert [sample.group for sample in samples] == [writers[place % 2].name for place in range(5)]
