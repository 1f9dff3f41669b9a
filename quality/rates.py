"""The numbers people read, computed from the sum of windows: each with its n and its interval."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quality import histogram
from quality.distances import PPM
from quality.intervals import mean_interval, rate_interval
from quality.windows import Contribution


@dataclass(frozen=True, slots=True)
class Number:
    """A value from `n` observations with the bounds of its time-uniform 95 % interval; None where unknown."""

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    #: Share of the expected feedback that has come; None where it is unknown, or no feedback is waited for.
    maturity: float | None = None
    #: How long ago the newest event came that it may count.
    age_us: int | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles in microseconds, within 1 %."""

    p50: Number
    p95: Number
    p99: Number


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a version did over a span of windows."""

    #: Shares of all predictions, silent ones included.
    edit_rate: Number
    accept_rate: Number
    reject_rate: Number
    #: Mean in 0..1 over accepted and edited predictions.
    distance: Number
    served_us: Latency
    shown_us: Latency
    #: Predictions per second. It is counted, not estimated, and so has no interval.
    qps: Number


def summarise(
    contribution: Contribution,
    span_seconds: float,
    *,
    maturity: float | None = None,
    age_us: int | None = None,
) -> Numbers:
    """Return the numbers of a sum of windows that cover `span_seconds`, and to which an event came `age_us` ago.

    The intervals hold however often the same growing sum is looked at. Each span that starts anew, such as
    another day or version, has intervals of its own. `maturity` is told with those numbers that feedback moves.
    """
    n = contribution.n

    def told(number: Number) -> Number:
        return replace(number, age_us=age_us)

    def moved(number: Number) -> Number:
        return replace(number, maturity=maturity, age_us=age_us)

    return Numbers(
        edit_rate=moved(_rate(n, contribution.n_edit)),
        accept_rate=moved(_rate(n, contribution.n_accept)),
        reject_rate=moved(_rate(n, contribution.n_reject)),
        distance=moved(_distance(contribution)),
        served_us=Latency(*map(told, _quantiles(contribution.served))),
        shown_us=Latency(*map(moved, _quantiles(contribution.shown))),
        qps=told(Number(n / span_seconds if span_seconds > 0 else None, n)),
    )


def _rate(n: int, k: int) -> Number:
    if n == 0:
        return Number(None, 0)
    return Number(k / n, n, *rate_interval(n, k))


def _distance(contribution: Contribution) -> Number:
    n, total = contribution.n_distance, contribution.distance_ppm / PPM
    interval = mean_interval(n, total, contribution.distance_ppm_squares / PPM)
    return Number(None, 0) if interval is None else Number(total / n, n, *interval)


def _quantiles(counts: Mapping[int, int]) -> list[Number]:
    data = histogram.encode(counts)
    return [_quantile(data, q) for q in (0.5, 0.95, 0.99)]


def _quantile(data: bytes, q: float) -> Number:
    n = histogram.count(data)
    return Number(
        histogram.quantile_us(data, q), n, *(histogram.quantile_interval_us(data, q) or (None, None))
    )
