"""Evidence of change without knowing the level: whether the next event is like all before it.

A conformal p-value is the share of the past that is at least as extreme as the new value, ties broken by chance; as
long as the order of events says nothing, p-values are independent and uniform, whatever the distribution (Vovk et
al., Retrain or not retrain, COPA 2021). Bets on small p-values then make a Shiryaev-Roberts detector with exactly
the bound of quality/evidence.py. Chance is the hash of a prediction's id, so that a replay gives the same bits.

What came after a change dilutes the past, so small changes may be missed: run this beside a ceiling, not instead.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quality.evidence import ALTERNATIVES, HIGHEST_RATE, FloatArray, IntArray

#: Bets on the place of a value among the past: that values rise or fall, and that they spread or gather.
TILTS = (-0.9, -0.5, -0.2, 0.2, 0.5, 0.9)
SPREADS = (-0.3, 0.15, 0.3, 0.45)
N_PLACE_BETS = len(TILTS) + len(SPREADS)

#: How fast the bets on cells forget, as half-lives in events, and how much they put on a cell at most.
MEMORIES = (100, 1000)
CLIPS = (1.5, 2.5, 6.0)
N_CELL_BETS = len(MEMORIES) * len(CLIPS)
#: The bets on cells are worth so many events before anything was seen, and are made for so many events at once.
_PRIOR = 50.0
_AT_ONCE = 10

N_BINS = 64


@dataclass(frozen=True, slots=True)
class Past:
    """What a stream of 0 and 1 has had so far, for each slice."""

    n: IntArray
    k: IntArray

    @classmethod
    def empty(cls, n_slices: int) -> "Past":
        """Return a past without events."""
        return cls(np.zeros(n_slices, dtype=np.int64), np.zeros(n_slices, dtype=np.int64))


def chance_of(ids: Sequence[str], salt: str) -> FloatArray:
    """Return a number in (0, 1) for each UUID, as good as random and the same at every replay."""
    halves = np.frombuffer(bytes.fromhex("".join(ids).replace("-", "")), dtype=">u8").astype(np.uint64)
    first, second = np.frombuffer(hashlib.blake2b(salt.encode(), digest_size=16).digest(), dtype="<u8")
    mixed = _mix(_mix(halves[0::2] ^ first) + (halves[1::2] ^ second))
    # 53 bits, as many as a double has, and never 0.
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread the bits of each word over all of it (the end of SplitMix64; Steele, Lea and Flood, OOPSLA 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def add_outcomes(
    log_r: FloatArray,
    past: Past,
    slice_of: npt.ArrayLike,
    corrected: npt.ArrayLike,
    chance: npt.ArrayLike,
    multiples: Sequence[float] = ALTERNATIVES,
) -> tuple[FloatArray, Past]:
    """Take in events in their order, each with its slice, whether it was corrected, and its chance.

    The bets are on `multiples` of the rate of the past. Returns the new state and past. The order must not depend on
    the outcomes, and has to be the same at a replay: by time, then by id.
    """
    slice_of, corrected = (np.asarray(each, dtype=np.int64) for each in (slice_of, corrected))
    if not len(slice_of):
        return log_r, past
    order = np.argsort(_narrow(slice_of, len(past.n)), kind="stable")
    slice_of, corrected = slice_of[order], corrected[order]
    chance = np.asarray(chance, dtype=np.float64)[order]
    starts, slices, counts = _segments(slice_of)
    # Events and corrections of the slice before each event.
    summed = np.cumsum(corrected) - corrected
    n_before = np.arange(len(slice_of)) + np.repeat(past.n[slices] - starts, counts)
    k_before = summed + np.repeat(past.k[slices] - summed[starts], counts)
    is_corrected = corrected == 1
    tied = np.where(is_corrected, k_before, n_before - k_before) + 1
    above = np.where(is_corrected, 0, k_before)
    p_values = (above + chance * tied) / (n_before + 1)
    # The rate of the past, which no event of its own has a part in.
    rate = np.clip((k_before + 0.5) / (n_before + 1.0), 1e-6, HIGHEST_RATE / max(multiples))
    # One row a bet, since numpy is fast along rows that are long.
    rates = rate * np.asarray(multiples)[:, None]
    factors = np.where(p_values <= rate, rates / rate, (1 - rates) / (1 - rate))
    n, k = past.n.copy(), past.k.copy()
    n[slices] += counts
    k[slices] += np.add.reduceat(corrected, starts)
    return _add_factors(log_r, np.log(factors), starts, slices, counts), Past(n, k)


def add_values(
    log_r: FloatArray, counts: IntArray, bins: npt.ArrayLike, chance: npt.ArrayLike, tolerance: float = 0.0
) -> tuple[FloatArray, IntArray]:
    """Take in values of one stream, each as the number of its bin, in their order; return state and bin counts.

    `log_r` has one row with a bet for each of TILTS and SPREADS. With a `tolerance` the bound also holds for every
    stream whose distribution stays within that total variation of the past: changes too small to matter are none.
    Bins are chosen once, from a reference (`bin_edges`).
    """
    places, counts = place_among(counts, bins, chance)
    return add_bets(log_r, bet_on_places(places, tolerance)), counts


def place_among(counts: IntArray, bins: npt.ArrayLike, chance: npt.ArrayLike) -> tuple[FloatArray, IntArray]:
    """Return the place of each value among all before it, in (0, 1), and the counts with all of them.

    Values are numbers of bins, in their order; those of one bin have their places by `chance`. As long as the order
    says nothing, places are independent and uniform. What the counts become does not depend on the order.
    """
    bins = np.asarray(bins, dtype=np.int64)
    # The counts before each value, those of the same step included: a row for each value.
    came = np.zeros((len(bins), len(counts)), dtype=np.int64)
    came[np.arange(len(bins)), bins] = 1
    before = counts + np.cumsum(came, axis=0) - came
    tied = before[np.arange(len(bins)), bins] + 1
    below = np.cumsum(before, axis=1)[np.arange(len(bins)), bins] - tied + 1
    places = (below + np.asarray(chance, dtype=np.float64) * tied) / (before.sum(axis=1) + 1)
    return places, counts + came.sum(axis=0)


def bet_on_places(places: FloatArray, tolerance: float = 0.0) -> FloatArray:
    """Return the logarithm of what each bet, of TILTS and of SPREADS, makes of each place: arrays (values, bets)."""
    centred = 2 * places - 1
    tilted = 1 + np.asarray(TILTS)[None, :] * centred[:, None]
    spread = 1 + np.asarray(SPREADS)[None, :] * (3 * centred**2 - 1)[:, None]
    factors = np.concatenate([tilted, spread], axis=1)
    largest = np.concatenate([1 + np.abs(TILTS), 1 + np.maximum(2 * np.array(SPREADS), -np.array(SPREADS))])
    smallest = np.concatenate([1 - np.abs(TILTS), 1 + np.minimum(2 * np.array(SPREADS), -np.array(SPREADS))])
    log_factors: FloatArray = np.log(factors) - np.log1p(tolerance * (largest - smallest))
    return log_factors


def bet_on_cells(
    recent: FloatArray, places: FloatArray, widths: FloatArray, tolerance: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Return what bets on the cells that places fall into make of each place, as logarithms; and what is recent.

    Cells part (0, 1) into `widths`, which are the probabilities of a uniform place. Bets are on the shares that the
    cells had recently, by a Dirichlet-multinomial of `recent` (memories, cells), which forgets by half in MEMORIES
    places: any cells may grow or shrink, in any way. Each of CLIPS bounds how much is put on a cell.
    """
    widths = np.asarray(widths, dtype=np.float64)
    cells = np.minimum(np.searchsorted(np.cumsum(widths), places, side="right"), len(widths) - 1)
    clips = np.asarray(CLIPS)[:, None, None]
    log_factors = np.empty((len(places), N_CELL_BETS))
    for start in range(0, len(cells), _AT_ONCE):
        some = cells[start : start + _AT_ONCE]
        shares = (_PRIOR * widths + recent) / (_PRIOR + recent.sum(axis=1, keepdims=True))
        factors = np.clip((shares / widths)[None, :, :], 1 / clips, clips)
        # Of all distributions within the tolerance of a uniform one, none makes more of a bet than this.
        most = (factors * widths).sum(axis=2) + tolerance * (factors.max(axis=2) - factors.min(axis=2))
        made = np.log(factors / most[:, :, None])
        log_factors[start : start + len(some)] = made[:, :, some].reshape(N_CELL_BETS, len(some)).T
        kept = 0.5 ** (len(some) / np.asarray(MEMORIES))
        recent = recent * kept[:, None] + np.bincount(some, minlength=len(widths))
    return log_factors, recent


def add_bets(log_r: FloatArray, log_factors: FloatArray) -> FloatArray:
    """Take in what the bets made of each event of one stream, in their order; `log_r` has one row."""
    if not len(log_factors):
        return log_r
    one = np.array([0])
    return _add_factors(log_r, np.ascontiguousarray(log_factors.T), one, one, np.array([len(log_factors)]))


def bin_edges(reference: npt.ArrayLike, n_bins: int = N_BINS) -> FloatArray:
    """Return the inner edges of bins that a reference fills evenly.

    A value that it has so often that it fills several bins has one of its own: what falls below it is told from it.
    """
    shares = np.arange(1, n_bins) / n_bins
    edges, often = np.unique(np.quantile(np.asarray(reference, dtype=np.float64), shares), return_counts=True)
    return np.unique(np.concatenate([edges, np.nextafter(edges[often > 1], -np.inf)]))


def bins_of(values: npt.ArrayLike, edges: FloatArray) -> IntArray:
    """Return the bin of each value: bin i holds the values above edge i - 1, up to edge i."""
    return np.searchsorted(edges, np.asarray(values, dtype=np.float64), side="left").astype(np.int64)


def _narrow(slice_of: IntArray, n_slices: int) -> npt.NDArray[Any]:
    """The same numbers in 16 bits where they fit: numpy sorts these by their digits, several times as fast."""
    return slice_of.astype(np.uint16) if n_slices <= 1 << 16 else slice_of


def _segments(slice_of: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return where each slice begins in a sorted array, which slice it is, and how many events it has."""
    starts = np.flatnonzero(np.diff(slice_of, prepend=-1))
    return starts, slice_of[starts], np.diff(starts, append=len(slice_of))


def _add_factors(
    log_r: FloatArray, log_factors: FloatArray, starts: IntArray, slices: IntArray, counts: IntArray
) -> FloatArray:
    """Return log R after R <- (R + 1) x factor for each event of each segment, without a loop over events.

    `log_factors` has a row for each bet. Written out, R after a segment is R before times all factors, plus for each
    event the product of the factors from it on. These are differences of running sums of logarithms; they are added
    up beside the largest of their segment, so that none is too large for a number.
    """
    summed = np.cumsum(log_factors, axis=1)
    before = summed - log_factors
    ends = np.take(summed, starts + counts - 1, axis=1)
    since = np.repeat(ends, counts, axis=1) - before
    largest = np.maximum.reduceat(since, starts, axis=1)
    since -= np.repeat(largest, counts, axis=1)
    started = largest + np.log(np.add.reduceat(np.exp(since, out=since), starts, axis=1))
    whole = ends - np.take(before, starts, axis=1)
    after = log_r.copy()
    after[slices] = np.logaddexp(log_r[slices].T + whole, started).T
    return after
