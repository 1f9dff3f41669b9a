"""How late the feedback on a model comes, and how much of it is still to come: read from outcomes and windows."""

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from sqlalchemy import Connection, case, func, select

from quality.intervals import rate_interval
from quality.maturity import HORIZONS_US, LONGEST_WINDOW_US, Delays, exposed_rate, learn_delays
from quality.rates import Number
from quality.windows import DAY_US, HOUR_US, MINUTE_US, WEEK_US
from storage.insertion import in_span
from storage.slices import ALL
from storage.tables import outcomes, predictions, windows

#: Windows in which delays may be learnt, the longest first; the horizon of the detector is the last.
_WINDOWS_US: Final = (LONGEST_WINDOW_US, WEEK_US, *sorted(HORIZONS_US, reverse=True))
#: So many corrections are enough to learn from; otherwise shorter windows are looked at too.
_ENOUGH: Final = 200
#: A cohort is read in so many spans of time, and of each the first so many predictions: what is read is bounded.
_SPANS: Final = 24
_PREDICTIONS_PER_SPAN: Final = 1000
#: Ages older than a day are told apart by the hour.
_FINE_US: Final = DAY_US
#: A minute of predictions is spread over so many ages.
_AGES_PER_MINUTE: Final = 12


def read_delays(
    c: Connection, *, model: str, now_us: int, horizon_us: int, given_us: int | None = None
) -> Delays | None:
    """When corrections come after their predictions; None as long as no cohort with a correction is old enough.

    It is learnt in the longest window in which enough corrections are known, from predictions that are older than
    the window; the shortest is `horizon_us`. An attribution window that was given is the longest.
    """
    found: Delays | None = None
    longest_us = max(given_us or LONGEST_WINDOW_US, horizon_us)
    wanted = sorted(
        {longest_us, horizon_us, *(each for each in _WINDOWS_US if horizon_us < each < longest_us)}
    )
    for window_us in reversed(wanted):
        delays = learn_delays(_read_cohort(c, model, now_us - window_us, window_us), window_us)
        if delays is not None and (found is None or delays.n > found.n):
            found = delays
        if found is not None and found.n >= _ENOUGH:
            break
    return found if found is None else replace(found, given_us=given_us)


def read_exposures(
    c: Connection,
    *,
    model: str,
    slice: str | None = None,  # noqa: A002
    since_us: int,
    until_us: int,
    now_us: int,
    delays: Delays,
) -> dict[tuple[str, str], float]:
    """The predictions of a span by version and slice, each counted by the share of its corrections that has come."""
    w = windows.c
    wanted = [w.model == model, *in_span(w.minute_us, since_us, until_us)]
    if slice is not None:
        wanted.append(w.slice == slice)
    is_fine = w.minute_us >= now_us - _FINE_US
    place_us = case((is_fine, w.minute_us), else_=w.minute_us - w.minute_us % HOUR_US)
    rows = c.execute(
        select(w.version, w.slice, place_us.label("place_us"), func.sum(w.n).label("n"))
        .where(*wanted)
        # By its name: PostgreSQL does not see that two expressions with parameters are the same.
        .group_by(w.version, w.slice, "place_us")
    ).all()
    places_us = np.array([row.place_us for row in rows], dtype=np.int64)
    widths_us = np.where(places_us >= now_us - _FINE_US, MINUTE_US, HOUR_US)
    passed_us = np.clip(now_us - places_us, 0, widths_us)
    shares_of_width = (np.arange(_AGES_PER_MINUTE) + 0.5) / _AGES_PER_MINUTE
    ages_us = now_us - places_us[:, None] - passed_us[:, None] * shares_of_width
    come = delays.share_by(ages_us).mean(axis=1)
    exposures: dict[tuple[str, str], float] = defaultdict(float)
    for row, share in zip(rows, come, strict=True):
        exposures[row.version, row.slice] += int(row.n) * float(share)
    return dict(exposures)


@dataclass(frozen=True, slots=True)
class Corrections:
    """The share of a version's predictions that were edited or rejected, read in three ways."""

    #: Silence taken for consent: too low as long as feedback is still to come.
    so_far: Number
    #: What it will be once all feedback is in, if users answer as late as they did: provisional.
    fresh: Number
    #: Of a span of the same length that ended `settled_us` ago, of which hardly any feedback is to come.
    matured: Number
    settled_us: int | None


def read_corrections(
    c: Connection,
    *,
    model: str,
    slice: str = ALL,  # noqa: A002
    since_us: int,
    now_us: int,
    delays: Delays | None,
) -> dict[str, Corrections]:
    """The corrections of each version that predicted from `since_us` on, with what is known without waiting."""
    recent = _sum_corrections(c, model, slice, since_us, now_us)
    exposures: Mapping[tuple[str, str], float] = {}
    matured: Mapping[str, tuple[int, int, int]] = {}
    settled_us = None
    if delays is not None:
        settled_us = delays.settled_us
        exposures = read_exposures(
            c, model=model, slice=slice, since_us=since_us, until_us=now_us, now_us=now_us, delays=delays
        )
        matured = _sum_corrections(c, model, slice, since_us - settled_us, now_us - settled_us)
    found = {}
    for version, (n, k, last_us) in recent.items():
        newest_us = read_newest(c, model=model, version=version, minute_us=last_us)
        age_us = None if newest_us is None else max(now_us - newest_us, 0)
        exposure = exposures.get((version, slice))
        maturity = None if exposure is None else exposure / n
        fresh = Number(None, n, maturity=maturity, age_us=age_us)
        if exposure is not None:
            rate = exposed_rate(k, exposure)
            fresh = Number(rate.rate, n, rate.low, rate.high, maturity, age_us)
        found[version] = Corrections(
            replace(_rate(n, k), maturity=maturity, age_us=age_us),
            fresh,
            _rate(*matured[version][:2]) if version in matured else Number(None, 0),
            settled_us,
        )
    return found


def _sum_corrections(
    c: Connection,
    model: str,
    slice: str,  # noqa: A002
    since_us: int,
    until_us: int,
) -> dict[str, tuple[int, int, int]]:
    """Predictions, corrections and the last minute of each version with predictions in a span."""
    w = windows.c
    is_used = case((w.n > 0, w.minute_us), else_=None)
    rows = c.execute(
        select(
            w.version,
            func.sum(w.n).label("n"),
            func.sum(w.n_edit + w.n_reject).label("k"),
            func.max(is_used).label("last_us"),
        )
        .where(w.model == model, w.slice == slice, *in_span(w.minute_us, since_us, until_us))
        .group_by(w.version)
    )
    return {row.version: (int(row.n), int(row.k), int(row.last_us)) for row in rows if row.n}


def _rate(n: int, k: int) -> Number:
    return Number(k / n, n, *rate_interval(n, k))


def read_newest(c: Connection, *, model: str, version: str, minute_us: int) -> int | None:
    """When the newest prediction of a version was made, whose last minute with predictions is `minute_us`."""
    p = predictions.c
    newest_us: int | None = c.scalar(
        select(func.max(p.time_us)).where(
            p.model == model, p.version == version, *in_span(p.time_us, minute_us, minute_us + MINUTE_US)
        )
    )
    return newest_us


def _read_cohort(c: Connection, model: str, until_us: int, window_us: int) -> list[int]:
    """The delays, up to the window, of the corrections of predictions that were made before `until_us`."""
    p, o = predictions.c, outcomes.c
    length_us = max(window_us, DAY_US)
    edges = [until_us - length_us + length_us * place // _SPANS for place in range(_SPANS + 1)]
    delays: list[int] = []
    for since_us, end_us in itertools.pairwise(edges):
        made = (
            select(p.id)
            .where(p.model == model, *in_span(p.time_us, since_us, end_us))
            .order_by(p.time_us)
            .limit(_PREDICTIONS_PER_SPAN)
            .subquery()
        )
        corrected = o.action.in_(("edit", "reject")) & (o.delay_us <= window_us)
        delays += c.scalars(
            select(o.delay_us).join(made, o.prediction_id == made.c.id).where(corrected)
        ).all()
    return delays
