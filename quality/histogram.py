"""Latencies as counts in logarithmic buckets: merged by adding integers, quantiles within 1 % (DDSketch).

Bucket i holds the integers in (gamma^(i-1), gamma^i] with gamma = 101/99 (Masson, Rim and Lee, VLDB 2019).
The bounds are computed with integers, so every machine puts a value into the same bucket.
"""

import bisect
import functools
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from errata.errors import Malformed
from quality.intervals import accepted_counts

#: Values of 0 and, where a clock ran backwards, below.
ZERO_BUCKET = -1
#: The bucket of 2^63 - 1; larger values are counted there.
LAST_BUCKET = 2184

IntArray = npt.NDArray[np.int64]

_NUMERATOR, _DENOMINATOR = 101, 99
_N_BUCKETS = LAST_BUCKET - ZERO_BUCKET + 1
_PAIR = np.dtype([("bucket", "<i2"), ("count", "<i8")])


@dataclass(frozen=True, slots=True)
class Histograms:
    """Many histograms as columns: `counts[i]` values in `buckets[i]` of the histogram number `rows[i]`."""

    rows: IntArray
    buckets: IntArray
    counts: IntArray


def bucket_of(value_us: int) -> int:
    """Return the bucket of one latency."""
    if value_us <= 0:
        return ZERO_BUCKET
    return min(bisect.bisect_left(_upper_bounds(), value_us), LAST_BUCKET)


def buckets_of(values_us: IntArray) -> IntArray:
    """Return the bucket of each latency, as `bucket_of` does."""
    buckets = np.searchsorted(_upper_bounds_array(), values_us, side="left")
    return np.where(values_us <= 0, ZERO_BUCKET, buckets).astype(np.int64)


def encode(counts: Mapping[int, int]) -> bytes:
    """Write counts canonically: little-endian (int16 bucket, int64 count) by bucket, none counting 0."""
    pairs = sorted(pair for pair in counts.items() if pair[1])
    return struct.pack("<" + "hq" * len(pairs), *chain.from_iterable(pairs))


def decode(data: bytes) -> dict[int, int]:
    """Read what `encode` wrote. Raises Malformed("bad_histogram") for anything else."""
    pairs = _read(data)
    return dict(zip(pairs["bucket"].tolist(), pairs["count"].tolist(), strict=True))


def decode_all(parts: Sequence[bytes]) -> Histograms:
    """Read what `encode` wrote many times, number by number. Raises Malformed("bad_histogram")."""
    sizes, odd = np.divmod(np.array([len(part) for part in parts], dtype=np.int64), _PAIR.itemsize)
    if odd.any():
        raise Malformed("bad_histogram", f"a histogram is pairs of {_PAIR.itemsize} bytes")
    pairs = _read_pairs(b"".join(parts))
    rows = np.repeat(np.arange(len(parts), dtype=np.int64), sizes)
    return Histograms(rows, pairs["bucket"].astype(np.int64), pairs["count"].astype(np.int64))


def encode_all(summed: Histograms, n_rows: int) -> list[bytes]:
    """Write each of `n_rows` histograms, which `sum_all` has summed, as `encode` does."""
    pairs = np.empty(len(summed.rows), dtype=_PAIR)
    pairs["bucket"], pairs["count"] = summed.buckets, summed.counts
    data = pairs.tobytes()
    ends = np.searchsorted(summed.rows, np.arange(n_rows + 1)) * _PAIR.itemsize
    return [data[start:end] for start, end in pairwise(ends.tolist())]


def sum_all(histograms: Histograms) -> Histograms:
    """Add up what is in the same bucket of the same histogram; sorted, without counts of 0."""
    places = histograms.rows * _N_BUCKETS + (histograms.buckets - ZERO_BUCKET)
    order = np.argsort(places, kind="stable")
    places = places[order]
    (starts,) = np.nonzero(np.diff(places, prepend=-1))
    if not len(starts):
        return histograms
    counts = np.add.reduceat(histograms.counts[order], starts)
    kept = counts != 0
    rows, buckets = np.divmod(places[starts][kept], _N_BUCKETS)
    return Histograms(rows, buckets + ZERO_BUCKET, counts[kept])


def take_all(summed: Histograms, chosen: IntArray) -> Histograms:
    """The histograms with the numbers `chosen`, which become the numbers 0, 1, …; repetitions are allowed."""
    starts, ends = (np.searchsorted(summed.rows, chosen, side=side) for side in ("left", "right"))
    sizes = ends - starts
    rows = np.repeat(np.arange(len(chosen), dtype=np.int64), sizes)
    # Within each histogram its own pairs, one after another.
    pairs = np.arange(len(rows)) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    return Histograms(rows, summed.buckets[pairs], summed.counts[pairs])


def join_all(parts: Sequence[Histograms], n_rows: Sequence[int]) -> Histograms:
    """The histograms of each part, `n_rows[i]` of them, numbered on from those of the part before."""
    starts = [0, *np.cumsum(n_rows).tolist()]
    return Histograms(
        np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.buckets for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )


def merge(parts: Iterable[bytes]) -> bytes:
    """Add histograms exactly, in any order; the counts of a part may be negative, to take others back."""
    pairs = _read_pairs(b"".join(parts))
    counts = np.zeros(_N_BUCKETS, dtype=np.int64)
    np.add.at(counts, pairs["bucket"].astype(np.int64) - ZERO_BUCKET, pairs["count"].astype(np.int64))
    (places,) = np.nonzero(counts)
    merged = np.empty(len(places), dtype=_PAIR)
    merged["bucket"], merged["count"] = places + ZERO_BUCKET, counts[places]
    return merged.tobytes()


def count(data: bytes) -> int:
    """Return how many values were counted."""
    return int(_read(data)["count"].sum())


def quantile_us(data: bytes, q: float) -> int | None:
    """Return the value that a share `q` of the values does not exceed, within 1 % and rounding.

    None if there are no values. Raises ValueError for q outside 0..1 and for negative counts.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q must be in 0..1, not {q}")
    buckets, cumulated = _cumulate(data)
    if not len(buckets):
        return None
    rank = max(1, math.ceil(Fraction(repr(q)) * int(cumulated[-1])))
    return _middle_us(_bucket_at(buckets, cumulated, rank))


def quantile_interval_us(data: bytes, q: float, alpha: float = 0.05) -> tuple[int, int] | None:
    """Return bounds that hold the true quantile at all times together with probability 1 - alpha.

    The number of values below the true quantile is binomial, so a beta-binomial confidence sequence for its
    rate bounds the quantile's rank (Howard and Ramdas, Bernoulli 2022). The bounds are the outer edges of the
    buckets at those ranks, the lower one 0 while no rank bounds it. None while no rank bounds it from above:
    for the 99th percentile that takes 680 values.
    """
    if not 0 < q < 1:
        raise ValueError(f"q must be between 0 and 1, not {q}")
    buckets, cumulated = _cumulate(data)
    if not len(buckets):
        return None
    n = int(cumulated[-1])
    fewest, most = accepted_counts(n, q, alpha)
    if most >= n:
        return None
    low = _lowest_us(_bucket_at(buckets, cumulated, fewest)) if fewest else 0
    return low, _highest_us(_bucket_at(buckets, cumulated, most + 1))


@functools.cache
def _upper_bounds() -> tuple[int, ...]:
    """Return the largest integer of each bucket from 0 to LAST_BUCKET."""
    numerator, denominator, bounds = 1, 1, []
    for _ in range(LAST_BUCKET + 1):
        bounds.append(numerator // denominator)
        numerator, denominator = numerator * _NUMERATOR, denominator * _DENOMINATOR
    return tuple(bounds)


@functools.cache
def _upper_bounds_array() -> IntArray:
    return np.array(_upper_bounds()[:LAST_BUCKET], dtype=np.int64)


def _lowest_us(bucket: int) -> int:
    if bucket <= 0:
        return bucket - ZERO_BUCKET
    return _upper_bounds()[bucket - 1] + 1


def _highest_us(bucket: int) -> int:
    return 0 if bucket == ZERO_BUCKET else _upper_bounds()[bucket]


def _middle_us(bucket: int) -> int:
    """Return 2 gamma^i / (gamma + 1), which is within 1 % of both edges of bucket i, rounded half up."""
    if bucket == ZERO_BUCKET:
        return 0
    numerator: int = 2 * _DENOMINATOR * _NUMERATOR**bucket
    denominator: int = (_NUMERATOR + _DENOMINATOR) * _DENOMINATOR**bucket
    return (2 * numerator + denominator) // (2 * denominator)


def _bucket_at(buckets: IntArray, cumulated: IntArray, rank: int) -> int:
    return int(buckets[np.searchsorted(cumulated, rank, side="left")])


def _cumulate(data: bytes) -> tuple[IntArray, IntArray]:
    pairs = _read(data)
    if (pairs["count"] < 0).any():
        raise ValueError("negative counts have no quantiles: merge the part with what it takes back")
    return pairs["bucket"].astype(np.int64), np.cumsum(pairs["count"].astype(np.int64))


def _read(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    pairs = _read_pairs(data)
    if not (pairs["bucket"][1:] > pairs["bucket"][:-1]).all():
        raise Malformed("bad_histogram", "the buckets of a histogram must rise")
    if not pairs["count"].all():
        raise Malformed("bad_histogram", "a histogram has no buckets that count 0")
    return pairs


def _read_pairs(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    if len(data) % _PAIR.itemsize:
        raise Malformed("bad_histogram", f"a histogram is pairs of {_PAIR.itemsize} bytes, not {len(data)}")
    pairs = np.frombuffer(data, dtype=_PAIR)
    if ((pairs["bucket"] < ZERO_BUCKET) | (pairs["bucket"] > LAST_BUCKET)).any():
        raise Malformed("bad_histogram", f"a histogram has buckets from {ZERO_BUCKET} to {LAST_BUCKET}")
    return pairs
