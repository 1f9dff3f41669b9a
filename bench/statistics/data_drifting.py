"""False alarms and delays of what watches data drift: a number, outputs that come often, and embeddings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

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
TOLERANCES: Final = (0.0, 0.02)
#: Events from the reference to the change, and after it.
BEFORE: Final = 8000
AFTER: Final = 10_000
#: Events that are taken in at once.
STEP: Final = 10
#: Where nothing changes, more are, which is faster.
_NULL_STEP: Final = 200

FloatArray = npt.NDArray[np.float64]
#: Draws some events, before or after the change, and returns what the bets make of them.
Bet = Callable[[int, bool], FloatArray]

_SHARES: Final = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01, 0.0])
_N_DIMENSIONS: Final = 384


def run_data_drift(seed: int, n_events: int, n_streams: int) -> dict[str, Any]:
    """For each kind and tolerance: false alarms in streams that do not change, and delays after changes."""
    return {
        "number": measure_kind(
            [seed, 0],
            watch_number,
            {"0.2 sd": (0.2, 1.0), "0.5 sd": (0.5, 1.0), "1 sd": (1.0, 1.0), "sd x 1.5": (0.0, 1.5)},
            n_events,
            n_streams,
        ),
        "outputs": measure_kind(
            [seed, 1],
            watch_outputs,
            {
                "a tenth changes places": _shifted(0, 4, 0.1),
                "a new output in 5 %": _with_new(0.05),
                "a new output in 20 %": _with_new(0.2),
            },
            n_events,
            n_streams,
        ),
        # They take several times as long.
        "embedding": measure_kind(
            [seed, 2],
            watch_embeddings,
            {"0.3 sd of one thing": (0.3, 1.0), "1 sd in a fifth": (1.0, 0.2), "1 sd": (1.0, 1.0)},
            n_events // 5,
            n_streams,
        ),
    }


def measure_kind(
    seed: Sequence[int],
    watch: Callable[[np.random.Generator, Any, float], Bet],
    changes: Mapping[str, Any],
    n_events: int,
    n_streams: int,
) -> list[dict[str, Any]]:
    """False alarms and delays of one kind, at each tolerance."""
    found = []
    n_parts = max(n_events // 500_000, 1)
    any_change = next(iter(changes.values()))
    for tolerance in TOLERANCES:
        alarms = sum(
            count_alarms(
                watch(np.random.default_rng([*seed, 600, part]), any_change, tolerance), n_events // n_parts
            )
            for part in range(n_parts)
        )
        delays = {}
        for place, (name, change) in enumerate(changes.items()):
            seen = [
                measure_delay(watch(np.random.default_rng([*seed, 700, place, stream]), change, tolerance))
                for stream in range(n_streams)
            ]
            median = float(np.median(seen))
            delays[name] = {
                "median": median if np.isfinite(median) else None,
                "missed": float(np.isinf(seen).mean()),
            }
        found.append(
            {
                "tolerance": tolerance,
                "null_events": n_events // n_parts * n_parts,
                "false_alarms_per_million": round(1e6 * alarms / n_events, 3),
                "delay_events": delays,
                "streams": n_streams,
            }
        )
    return found


def count_alarms(bet: Bet, n_events: int) -> int:
    """How often the bets reach the level in a stream that does not change."""
    log_r, alarms = None, 0
    for _ in range(0, n_events, _NULL_STEP):
        made = bet(_NULL_STEP, False)
        log_r, alarmed = restart(
            add_bets(no_evidence(1, made.shape[1]) if log_r is None else log_r, made), LEVEL
        )
        alarms += int(alarmed[0])
    return alarms


def measure_delay(bet: Bet) -> float:
    """Events from a change to the first alarm after it; infinite where there is none."""
    log_r = None
    for start in range(0, BEFORE + AFTER, STEP):
        made = bet(STEP, start >= BEFORE)
        log_r, alarmed = restart(
            add_bets(no_evidence(1, made.shape[1]) if log_r is None else log_r, made), LEVEL
        )
        if alarmed[0] and start >= BEFORE:
            return float(start + STEP - BEFORE)
    return float("inf")


def watch_number(rng: np.random.Generator, change: tuple[float, float], tolerance: float) -> Bet:
    """A normal number whose mean moves by `change`'s first, and whose standard deviation becomes its second."""
    edges = bin_edges(rng.normal(size=CHOOSING))
    counts = np.bincount(
        bins_of(rng.normal(size=REFERENCE - CHOOSING), edges), minlength=len(edges) + 1
    ).astype(np.int64)

    def bet(n: int, is_after: bool) -> FloatArray:
        nonlocal counts
        mean, spread = change if is_after else (0.0, 1.0)
        places, counts = place_among(counts, bins_of(rng.normal(mean, spread, n), edges), rng.random(n))
        return bet_on_places(places, tolerance)

    return bet


def watch_outputs(rng: np.random.Generator, after: FloatArray, tolerance: float) -> Bet:
    """Ten outputs and a rest, whose shares become `after`."""
    drawn = rng.choice(len(_SHARES), size=REFERENCE - CHOOSING, p=_SHARES)
    counts = np.bincount(drawn, minlength=len(_SHARES)).astype(np.int64)
    widths = (counts + 0.5) / (counts + 0.5).sum()
    recent = np.zeros((len(MEMORIES), len(_SHARES)))

    def bet(n: int, is_after: bool) -> FloatArray:
        nonlocal counts, recent
        cells = rng.choice(len(_SHARES), size=n, p=after if is_after else _SHARES)
        places, counts = place_among(counts, cells, rng.random(n))
        made, recent = bet_on_cells(recent, places, widths, tolerance)
        return made

    return bet


def watch_embeddings(rng: np.random.Generator, change: tuple[float, float], tolerance: float) -> Bet:
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

    def bet(n: int, is_after: bool) -> FloatArray:
        nonlocal place, learnt
        new = draw(n, is_after)
        old = before[place : place + n].copy()
        before[place : place + n] = new
        place = (place + n) % LAG
        made, _, learnt = bet_on_pairs(learnt, new, old, tolerance)
        return made

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
