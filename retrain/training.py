"""The training loop that every model shares.

- AdamW; the learning rate warms up, then falls along a cosine.
- A minibatch has a fixed share of old examples (experience replay, Rolnick et al. 2019): without them a network
  that learns a few hundred hard examples forgets more than it learns.
- Every random choice of step i is seeded by (seed, i) alone, so that a run that was killed and goes on from its
  checkpoint ends with the weights of an uninterrupted one.
- bfloat16 autocast on CUDA; float32 elsewhere.
"""

import hashlib
import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from errata.errors import Malformed
from errata.settings import Training
from retrain.artifacts import write_atomically
from retrain.trainer import Progress

#: From the inputs of a minibatch to those the network sees; draws from the generator alone.
Augment = Callable[[Tensor, torch.Generator], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]

WARM_UP_SHARE = 0.1
FINAL_LEARNING_RATE_SHARE = 0.02


@dataclass(frozen=True)
class Rows:
    """What a network learns from, one row each; an example may be several rows."""

    inputs: Tensor  # (N, ...)
    targets: Tensor  # (N, ...)
    weights: Tensor  # (N,), how often a row is drawn in relation to the others

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Point:
    """The curve of a training at one step."""

    step: int
    loss: float
    learning_rate: float


def fit(
    network: nn.Module,
    new: Rows,
    old: Rows,
    *,
    settings: Training,
    seed: int,
    device: torch.device,
    loss: Loss,
    augment: Augment,
    checkpoint: Path,
    progress: Progress,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.01,
    checkpoint_steps: int = 200,
) -> list[Point]:
    """Train `network` in place for `settings.steps` steps and return its curve, a point each 1 % of the way.

    Goes on from `checkpoint` if that file is of this very training (same rows, settings, seed, initial weights)
    and starts over otherwise. The caller deletes the file once the result is safe. Raises Malformed when there
    are neither new nor old rows.
    """
    if len(new) + len(old) == 0:
        raise Malformed(
            "no_examples", "there is nothing to train on: both the new and the old examples are empty"
        )
    identity = _identify(network, new, old, settings, seed, learning_rate, weight_decay)
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    start, curve = _resume(checkpoint, identity, network, optimizer, device)
    new_draws, old_draws = split_minibatch(settings, len(new), len(old))
    point_steps = max(1, settings.steps // 100)

    # The caller's random state is given back untouched: layers such as dropout draw from the global one.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for step in range(start, settings.steps):
            generator = _seed_step(seed, step, device)
            drawn = [
                draw_rows(rows, count, generator) for rows, count in ((new, new_draws), (old, old_draws))
            ]
            inputs = torch.cat([rows.inputs for rows in drawn])  # (B, ...)
            targets = torch.cat([rows.targets for rows in drawn]).to(device)
            inputs = augment(inputs, generator).to(device)
            rate = learning_rate * schedule(step, settings.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                step_loss = loss(network(inputs), targets)
            optimizer.zero_grad(set_to_none=True)
            step_loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

            done = step + 1
            if done % point_steps == 0 or done == settings.steps:
                curve.append(Point(done, float(step_loss.detach()), rate))
                progress(done / settings.steps, {"loss": curve[-1].loss, "learning_rate": rate})
            if done % checkpoint_steps == 0 or done == settings.steps:
                _save(checkpoint, identity, done, network, optimizer, curve)
    network.eval()
    return curve


def schedule(step: int, steps: int) -> float:
    """The share of the peak learning rate at `step`: a linear warm-up, then a cosine to almost nothing."""
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    fallen = (step - warm_up) / max(1, steps - warm_up)
    return FINAL_LEARNING_RATE_SHARE + (1 - FINAL_LEARNING_RATE_SHARE) * (1 + math.cos(math.pi * fallen)) / 2


def split_minibatch(settings: Training, new_rows: int, old_rows: int) -> tuple[int, int]:
    """How many rows of a minibatch are new and how many old: all of one kind if there are none of the other."""
    size = settings.batch_examples
    if new_rows == 0 or old_rows == 0:
        return (size, 0) if new_rows else (0, size)
    old = round(settings.replay_share * size)
    return size - old, old


def draw_rows(rows: Rows, count: int, generator: torch.Generator) -> Rows:
    """`count` rows drawn by weight, with replacement."""
    if count == 0:
        return Rows(rows.inputs[:0], rows.targets[:0], rows.weights[:0])
    # Inverse transform of the cumulative weights: unlike torch.multinomial it has no limit of 2^24 rows.
    cumulative = rows.weights.double().cumsum(0)
    points = torch.rand(count, generator=generator, dtype=torch.float64) * cumulative[-1]
    chosen = torch.searchsorted(cumulative, points, right=True).clamp_(max=len(rows) - 1)
    return Rows(rows.inputs[chosen], rows.targets[chosen], rows.weights[chosen])


def _seed_step(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The generator of one step; the global random state is seeded alike."""
    state = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    if device.type == "cpu":
        # torch.manual_seed would note a stack trace for every kind of GPU that is not there, thrice a step.
        torch.default_generator.manual_seed(state)
    else:
        torch.manual_seed(state)
    return torch.Generator().manual_seed(state)


def _identify(network: nn.Module, new: Rows, old: Rows, settings: Training, seed: int, *rates: float) -> str:
    """A digest of all that decides the result of a training."""
    digest = hashlib.sha256(repr((settings, seed, rates)).encode())
    tensors: Sequence[Tensor] = [
        *network.state_dict().values(),
        *(tensor for rows in (new, old) for tensor in (rows.inputs, rows.targets, rows.weights)),
    ]
    for tensor in tensors:
        digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _save(
    path: Path,
    identity: str,
    step: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    curve: Sequence[Point],
) -> None:
    """Write one file that holds weights and optimizer of the same step."""
    buffer = io.BytesIO()
    state: Mapping[str, Any] = {
        "identity": identity,
        "step": step,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "curve": [(point.step, point.loss, point.learning_rate) for point in curve],
    }
    torch.save(state, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _resume(
    path: Path, identity: str, network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[int, list[Point]]:
    """Load the checkpoint of this training; return the steps done and the curve so far."""
    # A checkpoint is a zip file, whose directory comes last: one that was cut off is none.
    if not zipfile.is_zipfile(path):
        return 0, []
    state = torch.load(path, map_location=device, weights_only=True)
    if state["identity"] != identity:
        return 0, []
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], [Point(*point) for point in state["curve"]]
