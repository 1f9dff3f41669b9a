"""Streams of corrections whose truth is known: many side by side, a step at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: A rate for each event number, the same in all streams.
Rate = Callable[[IntArray], FloatArray]

#: Events of a stream in a step.
STEP = 20


@dataclass(frozen=True, slots=True)
class Step:
    """A step of every stream: the number of its first event, the rate, and the corrections of each stream."""

    first: int
    rate: float
    k: IntArray


def steps(
    rng: np.random.Generator, rate: Rate, n_streams: int, n_events: int, size: int = STEP
) -> Iterator[Step]:
    """Draw independent corrections, `size` events of each stream at a time."""
    firsts = np.arange(0, n_events, size)
    rates = rate(firsts)
    for first, each in zip(firsts.tolist(), rates.tolist(), strict=True):
        yield Step(first, each, rng.binomial(size, each, n_streams))


def level(rate: float) -> Rate:
    """A rate that stays."""
    return lambda number: np.full(len(number), rate)


def jump(before: float, after: float, at: int) -> Rate:
    """A rate that changes once."""
    return lambda number: np.where(number < at, before, after)


def season(rate: float, swing: float, period: int) -> Rate:
    """A rate that swings by a share of itself in each `period` of events."""
    return lambda number: rate * (1 + swing * np.sin(2 * np.pi * number / period))


def session_means(
    rng: np.random.Generator, rate: float, correlation: float, size: int, n_sessions: int
) -> IntArray:
    """Corrections of sessions of `size` events with an intraclass correlation (beta-binomial)."""
    shape = (1 - correlation) / correlation
    return rng.binomial(size, rng.beta(rate * shape, (1 - rate) * shape, n_sessions))
