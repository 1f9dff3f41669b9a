from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from errata.errors import Malformed
from errata.settings import Training
from retrain.training import Point, Rows, draw_rows, fit, schedule, split_minibatch

SETTINGS = Training(steps=12, batch_examples=8)

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(count: int, seed: int = 0) -> Rows:
    """Points in four dimensions; the class is the sign of the first."""
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return Rows(inputs, (inputs[:, 0] > 0).long(), torch.ones(count))


NONE = rows(0)


def tiny() -> nn.Module:
    """With everything that resuming must restore: buffers (batch norm) and layers that draw (dropout)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def shake(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return inputs + 0.1 * torch.randn(inputs.shape, generator=generator)


def ignore(share: float, figures: Mapping[str, float]) -> None: ...


def train(
    checkpoint: Path, *, network: nn.Module | None = None, **changes: Any
) -> tuple[nn.Module, list[Point]]:
    network = network or tiny()
    arguments: dict[str, Any] = {
        "new": rows(20),
        "old": rows(20, seed=1),
        "settings": SETTINGS,
        "seed": 3,
        "device": torch.device("cpu"),
        "loss": functional.cross_entropy,
        "augment": shake,
        "checkpoint": checkpoint,
        "progress": ignore,
        "checkpoint_steps": 5,
    }
    arguments.update(changes)
    curve = fit(network, arguments.pop("new"), arguments.pop("old"), **arguments)
    return network, curve


def assert_same_weights(left: nn.Module, right: nn.Module) -> None:
    for name, tensor in left.state_dict().items():
        assert torch.equal(tensor, right.state_dict()[name]), name


def differs(left: nn.Module, right: nn.Module) -> bool:
    return any(not torch.equal(t, right.state_dict()[n]) for n, t in left.state_dict().items())


def test_training_learns(tmp_path: Path) -> None:
    network, curve = train(
        tmp_path / "c",
        new=rows(400),
        settings=Training(steps=80, batch_examples=64),
        learning_rate=0.03,
        checkpoint_steps=80,
    )

    held_out = rows(200, seed=7)
    accuracy = (network(held_out.inputs).argmax(1) == held_out.targets).float().mean()
    assert accuracy > 0.9
    assert curve[-1].loss < curve[0].loss
    assert not network.training


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first, _ = train(tmp_path / "a")
    torch.rand(5)  # What others draw from the global random state makes no difference.
    again, _ = train(tmp_path / "b")
    other, _ = train(tmp_path / "c", seed=4)

    assert_same_weights(first, again)
    assert differs(first, other)


@pytest.mark.parametrize("last_step", [1, 5, 7, 11, 12])
def test_killed_at_any_step_and_resumed_it_ends_with_the_weights_of_an_uninterrupted_training(
    tmp_path: Path, last_step: int
) -> None:
    def kill(share: float, figures: Mapping[str, float]) -> None:
        if round(share * SETTINGS.steps) == last_step:
            raise KeyboardInterrupt

    whole, whole_curve = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", progress=kill)
    shares: list[float] = []
    resumed, resumed_curve = train(tmp_path / "killed", progress=lambda share, _: shares.append(share))

    assert_same_weights(whole, resumed)
    assert whole_curve == resumed_curve
    # A checkpoint is every five steps: what was done before the last one is not done again.
    assert len(shares) == SETTINGS.steps - (last_step - 1) // 5 * 5


def test_a_finished_training_called_again_repeats_nothing(tmp_path: Path) -> None:
    first, curve = train(tmp_path / "c")

    def refuse(share: float, figures: Mapping[str, float]) -> None:
        raise AssertionError("a step was repeated")

    again, curve_again = train(tmp_path / "c", progress=refuse)

    assert_same_weights(first, again)
    assert curve == curve_again


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"new": rows(20, seed=8)},
        {"old": NONE},
        {"settings": Training(steps=13, batch_examples=8)},
        {"learning_rate": 1e-3},
    ],
    ids=["seed", "new", "old", "settings", "learning_rate"],
)
def test_the_checkpoint_of_another_training_is_not_resumed(tmp_path: Path, change: dict[str, Any]) -> None:
    train(tmp_path / "shared")

    after_another, _ = train(tmp_path / "shared", **change)
    alone, _ = train(tmp_path / "alone", **change)

    assert_same_weights(after_another, alone)


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04torn"])
def test_a_checkpoint_that_cannot_be_read_means_starting_over(tmp_path: Path, content: bytes) -> None:
    whole, _ = train(tmp_path / "whole")
    (tmp_path / "torn").write_bytes(content)

    restarted, _ = train(tmp_path / "torn")

    assert_same_weights(whole, restarted)


def test_training_leaves_the_callers_randomness_untouched(tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)

    train(tmp_path / "c")

    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(("new", "old"), [(rows(20), NONE), (NONE, rows(20))])
def test_training_needs_only_one_kind_of_examples(tmp_path: Path, new: Rows, old: Rows) -> None:
    _, curve = train(tmp_path / "c", new=new, old=old)

    assert curve[-1].step == SETTINGS.steps


def test_training_on_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="nothing to train on"):
        train(tmp_path / "c", new=NONE, old=NONE)


@pytest.mark.parametrize(
    ("share", "new", "old", "split"),
    [
        (0.5, 9, 9, (4, 4)),
        (0.25, 9, 9, (6, 2)),
        (0.0, 9, 9, (8, 0)),
        (0.5, 9, 0, (8, 0)),
        (0.5, 0, 9, (0, 8)),
    ],
)
def test_a_minibatch_has_a_fixed_share_of_old_examples(
    share: float, new: int, old: int, split: tuple[int, int]
) -> None:
    assert split_minibatch(Training(batch_examples=8, replay_share=share), new, old) == split


def test_rows_are_drawn_by_weight() -> None:
    weighted = Rows(torch.arange(3), torch.arange(3), torch.tensor([1.0, 0.0, 3.0]))

    drawn = draw_rows(weighted, 4000, torch.Generator().manual_seed(0))

    counts = torch.bincount(drawn.inputs, minlength=3)
    assert counts[1] == 0
    assert counts[2] / 4000 == pytest.approx(0.75, abs=0.03)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_almost_nothing() -> None:
    rates = [schedule(step, 100) for step in range(100)]

    assert rates[9] == rates[10] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.03
    assert schedule(0, 1) == 1.0
