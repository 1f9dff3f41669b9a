"""Requirement sheets: what is asked of a model, beside what one of its versions did in the service."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from errata.settings import Model
from quality.maturity import Delays
from quality.requirements import Checked, check_online, list_requirements
from quality.windows import minute_of
from storage import releases
from storage.maturity import read_exposures, read_newest
from storage.slices import ALL
from storage.windows import contribution_of, read_spans, read_windows


@dataclass(frozen=True, slots=True)
class Sheet:
    """The requirements of a model, each checked on the predictions of one version in a span that ends now."""

    model: str
    version: str
    span_us: int
    checked: Sequence[Checked]


def find_served(c: Connection, model: str) -> str | None:
    """The champion; where no version was released, the one that predicted last; None without predictions."""
    champion = releases.champion(c, model)
    if champion is not None:
        return champion.version
    spans = read_spans(c, model=model)
    return max(spans, key=lambda version: spans[version][1], default=None)


def read_sheet(
    c: Connection,
    *,
    model: str,
    version: str,
    settings: Model,
    delays: Delays | None,
    now_us: int,
    span_us: int,
) -> Sheet:
    """The sheet of a version over the minutes of `span_us`, with the running one."""
    since_us = minute_of(now_us - span_us)
    windows = read_windows(c, model=model, version=version, since_us=since_us)
    n = sum(window.n for window in windows)
    maturity = None
    if delays is not None and n:
        exposures = read_exposures(
            c, model=model, slice=ALL, since_us=since_us, until_us=now_us, now_us=now_us, delays=delays
        )
        maturity = exposures.get((version, ALL), 0.0) / n
    last_us = max((window.minute_us for window in windows if window.n), default=None)
    newest_us = None if last_us is None else read_newest(c, model=model, version=version, minute_us=last_us)
    checked = check_online(
        list_requirements(settings.requirements),
        [contribution_of(window) for window in windows],
        span_us / 1_000_000,
        maturity=maturity,
        age_us=None if newest_us is None else max(now_us - newest_us, 0),
    )
    return Sheet(model, version, span_us, checked)
