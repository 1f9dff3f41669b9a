"""False alarms and delays of what watches data drift: a number, outputs that come often, and embeddings."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from errata.settings import DataDrift
from quality.conformal import (
    MEMORIES,
    add_bets,
    bet_on_cells,
    bet_on_places,
    bin_edges,
    bins_of,
    place_among,
)
from quality.evidence import no_evidence, restart
from quality.two_samples import Learnt, bet_on_pairs

LEVEL: Final = 1e6
#: As in the settings: a quarter of the reference chooses the bins.
REFERENCE: Final = 2000
CHOOSING: Final = 500
LAG: Final = 5 * REFERENCE
#: None, the one of the settings, and one that was the default before.
TOLERANCES: Final = (0.0, DataDrift().tolerance, 0.02)
#: Values of a day whose mean swings, and by how much, in standard deviations.
DAY: Final = 20_000
SWINGS: Final = (0.025, 0.05, 0.1)
#: Events from the reference to the change, and after it.
BEFORE: Final = 8000
AFTER: Final = 10_000
#: Events that are taken in at once after a change.
STEP: Final = 10
#: Where nothing has changed, more are, which is faster.
_NULL_STEP: Final = 200

FloatArray = npt.NDArray[np.float64]
#: Draws some events, before or after the change, and returns what the bets make of them at each of TOLERANCES.
Bet = Callable[[int, bool], list[FloatArray]]

_SHARES: Final = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01, 0.0])
_N_DIMENSIONS: Final = 384


def run_numbers(seed: int, n_events: int, n_streams: int) -> list[dict[str, Any]]:
    """False alarms and delays of a number, at each tolerance; and alarms of one that swings by day."""
    changes = {"0.2 sd": (0.2, 1.0), "0.5 sd": (0.5, 1.0), "1 sd": (1.0, 1.0), "sd x 1.5": (0.0, 1.5)}
    found = measure_kind([seed, 0], watch_number, changes, n_events, n_streams)
    for swing in SWINGS:
        alarms = _count_in_parts([seed, 0, 800], partial(watch_swing, swing=swing), n_events // 2)
        for each, alarm in zip(found, alarms, strict=True):
            each.setdefault("swings", {})[f"{swing:g} sd"] = round(2e6 * alarm / n_events, 3)
    return found


def run_outputs(seed: int, n_events: int, n_streams: int) -> list[dict[str, Any]]:
    """False alarms and delays of the outputs that come often, at each tolerance."""
    changes = {
        "a tenth changes places": _shifted(0, 4, 0.1),
        "a new output in 5 %": _with_new(0.05),
        "a new output in 20 %": _with_new(0.2),
    }
    return measure_kind([seed, 1], watch_outputs, changes, n_events, n_streams)


def run_embeddings(seed: int, n_events: int, n_streams: int) -> list[dict[str, Any]]:
    """False alarms and delays of embeddings, at each tolerance."""
    changes = {"0.3 sd of one thing": (0.3, 1.0), "1 sd in a fifth": (1.0, 0.2), "1 sd": (1.0, 1.0)}
    return measure_kind([seed, 2], watch_embeddings, changes, n_events, n_streams)


def measure_kind(
    seed: Sequence[int],
    watch: Callable[[np.random.Generator, Any], Bet],
    changes: Mapping[str, Any],
    n_events: int,
    n_streams: int,
) -> list[dict[str, Any]]:
    """False alarms and delays of one kind, at each tolerance: all of them see the same streams."""
    any_change = next(iter(changes.values()))
    alarms = _count_in_parts([*seed, 600], lambda rng: watch(rng, any_change), n_events)
    delays: list[dict[str, Any]] = [{} for _ in TOLERANCES]
    for place, (name, change) in enumerate(changes.items()):
        seen = np.array(
            [
                measure_delays(watch(np.random.default_rng([*seed, 700, place, stream]), change))
                for stream in range(n_streams)
            ]
        )
        for each, found in zip(delays, seen.T, strict=True):
            median = float(np.median(found))
            each[name] = {
                "median": median if np.isfinite(median) else None,
                "missed": float(np.isinf(found).mean()),
            }
    return [
        {
            "tolerance": tolerance,
            "null_events": n_events,
            "false_alarms_per_million": round(1e6 * alarm / n_events, 3),
            "delay_events": delay,
            "streams": n_streams,
        }
        for tolerance, alarm, delay in zip(TOLERANCES, alarms, delays, strict=True)
    ]


def count_alarms(bet: Bet, n_events: int) -> list[int]:
    """How often the bets reach the level in a stream that does not change, at each of TOLERANCES."""
    follow, alarms = _Evidence(), np.zeros(len(TOLERANCES), dtype=np.int64)
    for _ in range(0, n_events, _NULL_STEP):
        alarms += follow.take_in(bet(_NULL_STEP, False))
    counted: list[int] = alarms.tolist()
    return counted


def measure_delays(bet: Bet) -> list[float]:
    """Events from a change to the first alarm after it, at each of TOLERANCES; infinite where there is none."""
    follow, seen = _Evidence(), np.full(len(TOLERANCES), np.inf)
    for _ in range(0, BEFORE, _NULL_STEP):
        follow.take_in(bet(_NULL_STEP, False))
    for start in range(0, AFTER, STEP):
        seen = np.where(follow.take_in(bet(STEP, True)) & np.isinf(seen), start + STEP, seen)
        if np.isfinite(seen).all():
            break
    delays: list[float] = seen.tolist()
    return delays


class _Evidence:
    """The evidence of bets at each tolerance; it begins anew after an alarm."""

    def __init__(self) -> None:
        self._log_r: list[FloatArray] = []

    def take_in(self, made: Sequence[FloatArray]) -> npt.NDArray[np.bool_]:
        """Return which tolerances let it alarm."""
        before = self._log_r or [no_evidence(1, each.shape[1]) for each in made]
        after = [restart(add_bets(log_r, each), LEVEL) for log_r, each in zip(before, made, strict=True)]
        self._log_r = [log_r for log_r, _ in after]
        return np.array([alarmed[0] for _, alarmed in after])


def _count_in_parts(
    seed: Sequence[int], watch: Callable[[np.random.Generator], Bet], n_events: int
) -> list[int]:
    """False alarms in streams of up to half a million events."""
    n_parts = max(n_events // 500_000, 1)
    counted = [
        count_alarms(watch(np.random.default_rng([*seed, part])), n_events // n_parts)
        for part in range(n_parts)
    ]
    return [sum(each) for each in zip(*counted, strict=True)]


def watch_number(rng: np.random.Generator, change: tuple[float, float]) -> Bet:
    """A normal number whose mean moves by `change`'s first, and whose standard deviation becomes its second."""

    def draw(n: int, is_after: bool) -> FloatArray:
        mean, spread = change if is_after else (0.0, 1.0)
        return rng.normal(mean, spread, n)

    return _bet_on_numbers(rng, draw)


def watch_swing(rng: np.random.Generator, swing: float) -> Bet:
    """A normal number whose mean swings by day."""
    came = 0

    def draw(n: int, _: bool) -> FloatArray:
        nonlocal came
        came += n
        return rng.normal(size=n) + swing * np.sin(2 * np.pi * (came - n + np.arange(n)) / DAY)

    return _bet_on_numbers(rng, draw)


def _bet_on_numbers(rng: np.random.Generator, draw: Callable[[int, bool], FloatArray]) -> Bet:
    edges = bin_edges(draw(CHOOSING, False))
    counts = np.bincount(bins_of(draw(REFERENCE - CHOOSING, False), edges), minlength=len(edges) + 1).astype(
        np.int64
    )

    def bet(n: int, is_after: bool) -> list[FloatArray]:
        nonlocal counts
        places, counts = place_among(counts, bins_of(draw(n, is_after), edges), rng.random(n))
        return [bet_on_places(places, tolerance) for tolerance in TOLERANCES]

    return bet


def watch_outputs(rng: np.random.Generator, after: FloatArray) -> Bet:
    """Ten outputs and a rest, whose shares become `after`."""
    drawn = rng.choice(len(_SHARES), size=REFERENCE - CHOOSING, p=_SHARES)
    counts = np.bincount(drawn, minlength=len(_SHARES)).astype(np.int64)
    widths = (counts + 0.5) / (counts + 0.5).sum()
    recent = np.zeros((len(MEMORIES), len(_SHARES)))

    def bet(n: int, is_after: bool) -> list[FloatArray]:
        nonlocal counts, recent
        cells = rng.choice(len(_SHARES), size=n, p=after if is_after else _SHARES)
        places, counts = place_among(counts, cells, rng.random(n))
        made = [bet_on_cells(recent, places, widths, tolerance) for tolerance in TOLERANCES]
        # What is recent does not depend on the tolerance.
        recent = made[0][1]
        return [log_factors for log_factors, _ in made]

    return bet


def watch_embeddings(rng: np.random.Generator, change: tuple[float, float]) -> Bet:
    """Vectors in which sixteen things vary: the first moves by `change`'s first, in a share that is its second."""
    mixing = rng.normal(size=(16, _N_DIMENSIONS)).astype(np.float32)

    def draw(n: int, is_after: bool) -> npt.NDArray[np.float32]:
        latent = rng.standard_normal((n, 16), dtype=np.float32)
        if is_after:
            shift, share = change
            latent[:, 0] += shift * (rng.random(n) < share)
        noise = rng.standard_normal((n, _N_DIMENSIONS), dtype=np.float32)
        return latent @ mixing + noise

    # A ring: where a new one is put, the one that came so many before is taken out.
    before, place, learnt = draw(LAG, False), 0, Learnt.nothing(_N_DIMENSIONS)

    def bet(n: int, is_after: bool) -> list[FloatArray]:
        nonlocal place, learnt
        new = draw(n, is_after)
        old = before[place : place + n].copy()
        before[place : place + n] = new
        place = (place + n) % LAG
        made = [bet_on_pairs(learnt, new, old, tolerance) for tolerance in TOLERANCES]
        # What is learnt does not depend on the tolerance.
        learnt = made[0][2]
        return [log_factors for log_factors, _, _ in made]

    return bet


def _shifted(giving: int, taking: int, share: float) -> FloatArray:
    after = _SHARES.copy()
    after[giving] -= share
    after[taking] += share
    return after


def _with_new(share: float) -> FloatArray:
    after = _SHARES * (1 - share)
    after[-1] += share
    return after
