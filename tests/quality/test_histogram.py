"""Latencies as counts in logarithmic buckets."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.errors import Malformed
from quality.histogram import (
    LAST_BUCKET,
    ZERO_BUCKET,
    bucket_of,
    buckets_of,
    count,
    decode,
    encode,
    merge,
    quantile_interval_us,
    quantile_us,
)
from quality.intervals import accepted_counts

latencies = st.integers(1, 10**13)
values = st.lists(st.integers(-5, 10**10), min_size=1, max_size=60)
counts = st.dictionaries(st.integers(ZERO_BUCKET, LAST_BUCKET), st.integers(-(10**9), 10**9), max_size=8)
parts = st.lists(counts.map(encode), max_size=5)


def histogram_of(latencies_us: list[int]) -> bytes:
    return encode(Counter(map(bucket_of, latencies_us)))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_one_and_many_values_fall_into_the_same_buckets(latencies_us: list[int]) -> None:
    many = buckets_of(np.array(latencies_us, dtype=np.int64))
    assert many.tolist() == [bucket_of(value) for value in latencies_us]


@given(latencies, latencies)
def test_buckets_keep_the_order_of_values(a: int, b: int) -> None:
    assert (bucket_of(a) <= bucket_of(b)) or a > b


def test_zero_and_below_have_a_bucket_of_their_own() -> None:
    assert bucket_of(0) == bucket_of(-7) == ZERO_BUCKET < bucket_of(1)


def test_values_beyond_64_bits_fall_into_the_last_bucket() -> None:
    assert bucket_of(2**63 - 1) == bucket_of(10**30) == LAST_BUCKET


@given(latencies)
def test_a_value_is_given_back_within_one_percent(value: int) -> None:
    estimate = quantile_us(histogram_of([value]), 0.5)
    assert estimate is not None
    assert abs(estimate - value) <= 0.01 * value + 0.5


@given(values, st.sampled_from([0.0, 0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_one_percent_of_the_value_at_its_rank(latencies_us: list[int], q: float) -> None:
    exact = max(0, sorted(latencies_us)[max(1, math.ceil(round(q * len(latencies_us), 9))) - 1])
    estimate = quantile_us(histogram_of(latencies_us), q)
    assert estimate is not None
    assert abs(estimate - exact) <= 0.01 * exact + 0.5


@given(counts)
def test_encoding_is_canonical(by_bucket: dict[int, int]) -> None:
    data = encode(by_bucket)
    assert decode(data) == {bucket: n for bucket, n in by_bucket.items() if n}
    assert encode(dict(reversed(by_bucket.items()))) == data
    assert encode(decode(data)) == data


@given(parts, st.randoms())
def test_merging_is_exact_and_free_of_order_and_grouping(histograms: list[bytes], random: object) -> None:
    total: Counter[int] = Counter()
    for data in histograms:
        total.update(decode(data))
    merged = merge(histograms)
    assert merged == encode(total)
    random.shuffle(histograms)  # type: ignore[attr-defined]
    assert merge([merge(histograms[:2]), merge(histograms[2:])]) == merged
    assert count(merged) == sum(map(count, histograms))


@given(counts, counts)
def test_what_was_merged_can_be_taken_back(a: dict[int, int], b: dict[int, int]) -> None:
    taken_back = {bucket: -n for bucket, n in b.items()}
    assert merge([encode(a), encode(b), encode(taken_back)]) == encode(a)


def test_counts_are_added_beyond_the_precision_of_floats() -> None:
    assert decode(merge([encode({5: 2**60}), encode({5: 1})])) == {5: 2**60 + 1}


def test_nothing_has_no_quantile() -> None:
    assert quantile_us(b"", 0.5) is None
    assert quantile_interval_us(b"", 0.5) is None
    assert merge([]) == b""


@given(values, st.sampled_from([0.5, 0.9]))
def test_an_interval_holds_its_quantile(latencies_us: list[int], q: float) -> None:
    data = histogram_of(latencies_us * 3)
    interval = quantile_interval_us(data, q)
    estimate = quantile_us(data, q)
    if interval is not None:
        assert estimate is not None
        assert interval[0] <= estimate <= interval[1]


def test_an_interval_ends_at_the_ranks_of_the_confidence_sequence() -> None:
    # One value in each of 500 neighbouring buckets: the bucket tells the rank.
    fewest, most = accepted_counts(500, 0.9)
    interval = quantile_interval_us(encode(dict.fromkeys(range(1000, 1500), 1)), 0.9)
    assert interval is not None
    assert bucket_of(interval[0] - 1) + 1 == bucket_of(interval[0]) == 1000 + fewest - 1
    assert bucket_of(interval[1] + 1) - 1 == bucket_of(interval[1]) == 1000 + most


def test_an_interval_shrinks_as_values_come_in() -> None:
    rng = np.random.default_rng(5)
    latencies_us = rng.lognormal(11, 0.5, 100_000).astype(np.int64)
    widths = []
    for n in (1000, 10_000, 100_000):
        interval = quantile_interval_us(encode(Counter(buckets_of(latencies_us[:n]).tolist())), 0.95)
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_an_interval_waits_until_values_above_the_quantile_can_be_expected() -> None:
    assert quantile_interval_us(encode({100: 679}), 0.99) is None
    assert quantile_interval_us(encode({100: 680}), 0.99) is not None


def test_intervals_miss_the_true_quantile_in_few_streams_however_often_one_looks() -> None:
    rng = np.random.default_rng(6)
    truth = math.exp(10 + 1.6448536 * 0.4)
    missed = 0
    for _ in range(100):
        buckets = buckets_of(rng.lognormal(10, 0.4, 3000).astype(np.int64))
        intervals = [
            quantile_interval_us(encode(Counter(buckets[:n].tolist())), 0.95) for n in range(200, 3001, 200)
        ]
        missed += any(interval and not interval[0] <= truth <= interval[1] for interval in intervals)
    assert missed <= 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"123", "pairs of 10 bytes, not 3"),
        (encode({4: 1}) + encode({3: 1}), "must rise"),
        (encode({4: 1}) * 2, "must rise"),
        (b"\xff\x7f" + b"\x01" * 8, "buckets from -1 to 2184"),
        (b"\x01\x00" + bytes(8), "count 0"),
    ],
)
def test_other_bytes_are_no_histogram(data: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=message) as caught:
        decode(data)
    assert caught.value.reason == "bad_histogram"


@pytest.mark.parametrize("q", [-0.1, 1.1])
def test_a_quantile_lies_between_0_and_1(q: float) -> None:
    with pytest.raises(ValueError, match="q must be"):
        quantile_us(encode({1: 1}), q)
    with pytest.raises(ValueError, match="q must be"):
        quantile_interval_us(encode({1: 1}), q)


def test_negative_counts_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="negative counts"):
        quantile_us(encode({1: -1}), 0.5)
