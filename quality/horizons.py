"""Several detectors of one slice, each reading outcomes at an age of its own: the horizons.

A short horizon sees a drift soonest; a long one sees what users correct late. Horizons are no single martingale, so
their evidence is never averaged: each has its own reference, evidence and alarm, and they share the level. One change
is told once, by whichever sees it first.
"""

from quality.drift import DetectorState
from quality.windows import DAY_US, HOUR_US, MINUTE_US

_SECOND_US = 1_000_000
#: Units from the largest; a length is told in days from two on, so that the day of 24 hours is called so.
_UNITS = (
    (DAY_US, 2 * DAY_US, "d", "day"),
    (HOUR_US, HOUR_US, "h", "hour"),
    (MINUTE_US, MINUTE_US, "min", "minute"),
    (_SECOND_US, 0, "s", "second"),
)


def name_horizon(horizon_us: int) -> str:
    """The name of the detector of a horizon: `10s`, `1h`, `24h`, `7d`. Two horizons never share one."""
    count, short, _ = _measure(horizon_us)
    return f"{count}{short}"


def name_past(horizon_us: int) -> str:
    """The name of the detector of a horizon that knows no level (quality/past.py): `1h/past`."""
    return f"{name_horizon(horizon_us)}/past"


def say_horizon(horizon_us: int) -> str:
    """A horizon in a sentence: `10 seconds`, `1 hour`, `24 hours`, `7 days`."""
    count, _, unit = _measure(horizon_us)
    return f"{count} {unit}" if count == "1" else f"{count} {unit}s"


def share_level(events_per_false_alarm: float, n_detectors: int) -> float:
    """The level of each of `n_detectors` that look at the same events, so that together they keep the level.

    P(any false alarm within t events) <= t x the sum of 1 / level, under any dependence: evenly shared, each level
    is so many times as high.
    """
    return events_per_false_alarm * n_detectors


def is_same_drift(other: DetectorState, since_us: int | None, until_us: int) -> bool:
    """Whether an alarm about the predictions from `since_us` to `until_us` is of the drift that `other` alarmed of.

    It is where both are about some of the same predictions. An alarm of `other` that has ended is the same until a
    day of predictions has come after it.
    """
    if other.alarm_since_us is not None and until_us < other.alarm_since_us:
        return False
    if other.stage == "alarmed":
        return True
    ended_us = other.alarm_until_us
    return (
        ended_us is not None
        and since_us is not None
        and since_us <= ended_us
        and until_us < ended_us + DAY_US
    )


def _measure(length_us: int) -> tuple[str, str, str]:
    for unit_us, least_us, short, unit in _UNITS:
        if length_us >= least_us and length_us % unit_us == 0:
            return str(length_us // unit_us), short, unit
    return f"{length_us / _SECOND_US:.6f}".rstrip("0"), "s", "second"
