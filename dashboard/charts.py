"""What the numbers were over time: windows become points of time, and these charts (altair). Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd

from dashboard.tables import milliseconds
from dashboard.wording import full_moment, local_time, with_local_times
from quality import histogram
from quality.distances import PPM
from quality.intervals import rate_intervals
from quality.requirements import Requirement, count_minutes
from quality.windows import MINUTE_US, Contribution
from storage.records import Release, Signal, Window
from storage.windows import contribution_of

#: A chart has at most this many points of time; wider spans get wider ones.
POINTS_AT_MOST: Final = 180
#: An axis is at least this many points long, so that the first minutes of a service are not stretched over it.
POINTS_AT_LEAST: Final = 10
_WIDTHS_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480)
#: The versions in the order of their first appearance; distinguishable without colour vision too.
_PALETTE: Final = ("#2F5D8C", "#C2703D", "#4E8F7B", "#8C6BB1", "#7A7F87", "#B08D2E")
#: Marks are read on white and on black.
_SIGNAL_COLOUR: Final = "#D1453B"
_RELEASE_COLOUR: Final = "#7A8590"
_HEIGHT: Final = 290
#: The height of a chart that stands above other things.
LOW: Final = 220
#: The height of one strip.
_STRIP: Final = 28
#: What the legend and the time axis take of the height.
_AROUND: Final = 130
#: Midnight is a date; any other time is a time of day.
_TIME_LABEL: Final = (
    "utchours(datum.value) || utcminutes(datum.value) || utcseconds(datum.value)"
    " ? utcFormat(datum.value, '%H:%M') : utcFormat(datum.value, '%-d %b')"
)


class Axis(NamedTuple):
    """The first and the last moment of a chart on the reader's wall clock."""

    first: pd.Timestamp
    last: pd.Timestamp


def bucket_width_us(span_us: int) -> int:
    """The width of one point of time, such that a span has no more than POINTS_AT_MOST of them."""
    for minutes in _WIDTHS_MINUTES:
        if span_us <= minutes * MINUTE_US * POINTS_AT_MOST:
            return minutes * MINUTE_US
    return _WIDTHS_MINUTES[-1] * MINUTE_US


def name_of_width(width_us: int) -> str:
    """`minute`, `5 minutes`, `2 hours`."""
    minutes = width_us // MINUTE_US
    if minutes == 1:
        return "minute"
    if minutes < 60:
        return f"{minutes} minutes"
    return "hour" if minutes == 60 else f"{minutes // 60} hours"


def drawn_since_us(windows: Sequence[Window], since_us: int, until_us: int, width_us: int) -> int:
    """Where the time axis begins: a point before the first prediction, so that no empty hours are drawn."""
    first_us = min(window.minute_us for window in windows) // width_us * width_us - width_us
    return max(since_us, min(first_us, until_us - POINTS_AT_LEAST * width_us))


def axis_of(since_us: int, until_us: int, zone: ZoneInfo) -> Axis:
    """The ends of the time axis of all charts of a screen."""
    return Axis(_wall_clock(since_us, zone), _wall_clock(until_us, zone))


def over_time(windows: Iterable[Window], width_us: int, zone: ZoneInfo, now_us: int) -> pd.DataFrame:
    """Windows per minute as one row per version and point of time, with all that the charts draw.

    `time` is the middle of the part that has passed, on the reader's wall clock, labelled as UTC so that a
    browser elsewhere draws the same times; `clock` is its beginning in words. Latencies are in ms, shares in
    0..1. Minutes from `now_us` on have not passed yet.
    """
    groups: dict[tuple[int, str], list[Window]] = {}
    for window in windows:
        if window.n:
            groups.setdefault((window.minute_us // width_us * width_us, window.version), []).append(window)
    rows = []
    for (start_us, version), group in sorted(groups.items()):
        served = histogram.merge(row.served for row in group)
        shown = histogram.merge(row.shown for row in group)
        passed_us = max(min(width_us, now_us - start_us), 1_000_000)
        rows.append(
            {
                "time": _wall_clock(start_us + passed_us // 2, zone),
                "clock": full_moment(start_us, zone)[:-3],
                "version": version,
                "seconds": passed_us / 1_000_000,
                "n": sum(row.n for row in group),
                "corrected": sum(row.n_edit + row.n_reject for row in group),
                "n_distance": sum(row.n_distance for row in group),
                "distance_sum": sum(row.distance_ppm for row in group) / PPM,
                "served_p50": milliseconds(served, 0.5),
                "served_p95": milliseconds(served, 0.95),
                "served_p99": milliseconds(served, 0.99),
                "shown_p50": milliseconds(shown, 0.5),
                "shown_p95": milliseconds(shown, 0.95),
                "shown_p99": milliseconds(shown, 0.99),
            }
        )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table["rate"] = table["corrected"] / table["n"]
    table["rate_low"], table["rate_high"] = rate_intervals(table["n"], table["corrected"])
    # The sum of distances in 0..1 has a valid interval by the same method as a count of corrections.
    table["distance"] = table["distance_sum"] / table["n_distance"].where(table["n_distance"] > 0)
    table["distance_low"], table["distance_high"] = rate_intervals(
        table["n_distance"], table[["distance_sum", "n_distance"]].min(axis=1)
    )
    table["qps"] = table["n"] / table["seconds"]
    return table


def marks_of(
    releases: Iterable[Release], signals: Iterable[Signal], since_us: int, until_us: int, zone: ZoneInfo
) -> pd.DataFrame:
    """Moments that explain a change in a chart: releases and signals within the span.

    An alarm that opened no run, because one was open already or had just ended, is `repeated`; of those that
    come thick and fast only some are kept. Warnings of a detector that may yet alarm, and that a rate is calm again,
    explain nothing.
    """
    rows = [
        (release.time_us, "release", f"version {release.version}", release.reason) for release in releases
    ]
    rows += [
        (signal.time_us, "signal" if signal.decision == "opened" else "repeated", "signal", signal.reason)
        for signal in signals
        if signal.decision in ("opened", "suppressed") or signal.rule == "past"
    ]
    late_us = since_us + (until_us - since_us) * 5 // 6
    kept, apart_us, shown_us = [], (until_us - since_us) // POINTS_AT_MOST, since_us
    for row in sorted(rows):
        if not since_us <= row[0] < until_us or (row[1] == "repeated" and row[0] < shown_us + apart_us):
            continue
        kept.append(row)
        shown_us = row[0] if row[1] == "repeated" else shown_us
    return pd.DataFrame(
        [
            {
                "time": _wall_clock(time_us, zone),
                "clock": full_moment(time_us, zone),
                "kind": kind,
                "label": label,
                "reason": with_local_times(reason, zone, time_us),
                # Near the right edge the label stands on the left of its line, where it is not cut.
                "late": time_us > late_us,
            }
            for time_us, kind, label, reason in kept
        ],
        columns=["time", "clock", "kind", "label", "reason", "late"],
    )


def rate_chart(
    table: pd.DataFrame, marks: pd.DataFrame, axis: Axis, allowed: float | None, height: int = _HEIGHT
) -> alt.LayerChart:
    """The correction rate per version with its interval, and the rate that is allowed."""
    tooltip = [
        alt.Tooltip("clock:N", title="Time"),
        alt.Tooltip("version:N", title="Version"),
        alt.Tooltip("rate:Q", title="Corrected", format=".1%"),
        alt.Tooltip("rate_low:Q", title="from", format=".1%"),
        alt.Tooltip("rate_high:Q", title="to", format=".1%"),
        alt.Tooltip("n:Q", title="Predictions", format=","),
    ]
    # The axis ends well above the points that have some weight; a band that is wider is cut there.
    weighty = table[table["n"] >= table["n"].median() / 4]
    top = min(1.0, max(0.1, 2 * (allowed or 0.0), 1.8 * float(weighty["rate"].max())))
    layers = [
        _band(table, "rate", "Corrected", ".0%", top),
        _line(table, "rate", "Corrected", ".0%", tooltip, top),
    ]
    if allowed is not None:
        limit = alt.Chart(pd.DataFrame({"allowed": [allowed]}))
        layers.append(
            limit.mark_rule(color=_SIGNAL_COLOUR, strokeDash=[2, 3], opacity=0.7).encode(y="allowed:Q")
        )
    return _layered([*layers, *_mark_layers(marks)], axis, height)


def distance_chart(table: pd.DataFrame, marks: pd.DataFrame, axis: Axis) -> alt.LayerChart:
    """The mean edit distance per version; a point's interval is wider than the chart, so it is in its tooltip."""
    tooltip = [
        alt.Tooltip("clock:N", title="Time"),
        alt.Tooltip("version:N", title="Version"),
        alt.Tooltip("distance:Q", title="Mean edit distance", format=".2%"),
        alt.Tooltip("distance_low:Q", title="from", format=".2%"),
        alt.Tooltip("distance_high:Q", title="to", format=".2%"),
        alt.Tooltip("n_distance:Q", title="Measured", format=","),
    ]
    measured = table[table["n_distance"] > 0]
    line = _line(measured, "distance", "Mean edit distance", "~%", tooltip)
    return _layered([line, *_mark_layers(marks)], axis)


def latency_chart(table: pd.DataFrame, marks: pd.DataFrame, axis: Axis, kind: str) -> alt.LayerChart:
    """Latency percentiles in ms; `kind` is served or shown. The line style says which percentile."""
    names = {f"{kind}_p50": "p50", f"{kind}_p95": "p95", f"{kind}_p99": "p99"}
    long = table.melt(
        id_vars=["time", "clock", "version"], value_vars=list(names), var_name="percentile", value_name="ms"
    ).dropna(subset=["ms"])
    long["percentile"] = long["percentile"].map(names)
    lines = (
        alt.Chart(long)
        .mark_line(strokeWidth=1.6)
        .encode(
            x=_time_axis(),
            y=alt.Y("ms:Q", title="ms", scale=alt.Scale(zero=True)),
            color=_version_colour(long),
            strokeDash=alt.StrokeDash(
                "percentile:N",
                title=None,
                sort=["p50", "p95", "p99"],
                scale=alt.Scale(domain=["p50", "p95", "p99"], range=[[1, 0], [6, 3], [2, 2]]),
                legend=alt.Legend(orient="top", symbolStrokeColor=_RELEASE_COLOUR),
            ),
            tooltip=[
                alt.Tooltip("clock:N", title="Time"),
                alt.Tooltip("version:N", title="Version"),
                alt.Tooltip("percentile:N", title="Percentile"),
                alt.Tooltip("ms:Q", title="ms", format=",.1f"),
            ],
        )
    )
    return _layered([lines, *_mark_layers(marks)], axis)


def qps_chart(table: pd.DataFrame, marks: pd.DataFrame, axis: Axis) -> alt.LayerChart:
    """Predictions per second and version."""
    tooltip = [
        alt.Tooltip("clock:N", title="Time"),
        alt.Tooltip("version:N", title="Version"),
        alt.Tooltip("qps:Q", title="Per second", format=",.2f"),
        alt.Tooltip("n:Q", title="Predictions", format=","),
    ]
    line = _line(table, "qps", "Predictions per second", ".3~f", tooltip)
    return _layered([line, *_mark_layers(marks)], axis)


def met_over_time(
    windows: Iterable[Window], requirements: Sequence[Requirement], width_us: int, zone: ZoneInfo
) -> pd.DataFrame:
    """The share of minutes that met each requirement by their own value, for each point of time of `width_us`."""
    groups: dict[int, list[Contribution]] = {}
    for window in windows:
        groups.setdefault(window.minute_us // width_us * width_us, []).append(contribution_of(window))
    rows = []
    for start_us, minutes in sorted(groups.items()):
        for requirement in requirements:
            met, n = count_minutes(requirement, minutes)
            if n:
                rows.append(
                    {
                        "time": _wall_clock(start_us, zone),
                        "end": _wall_clock(start_us + width_us, zone),
                        "clock": full_moment(start_us, zone)[:-3],
                        "requirement": requirement.measure.title,
                        "share": met / n,
                        "met": met,
                        "n": n,
                    }
                )
    return pd.DataFrame(rows)


def met_chart(table: pd.DataFrame, axis: Axis) -> alt.LayerChart:
    """One strip per requirement: blue where all minutes met it, orange where none did."""
    names = list(dict.fromkeys(table["requirement"]))
    strips = (
        alt.Chart(table)
        .mark_rect(clip=True)
        .encode(
            x=_time_axis(),
            x2="end:T",
            y=alt.Y(
                "requirement:N",
                title=None,
                sort=names,
                scale=alt.Scale(padding=0.25),
                axis=alt.Axis(labelLimit=220, labelOverlap=False),
            ),
            color=alt.Color(
                "share:Q",
                title="Minutes that met it",
                scale=alt.Scale(domain=[0, 1], range=[_PALETTE[1], _PALETTE[0]]),
                legend=alt.Legend(orient="top", format=".0%", values=[0, 0.5, 1], gradientLength=160),
            ),
            tooltip=[
                alt.Tooltip("clock:N", title="From"),
                alt.Tooltip("requirement:N", title="Requirement"),
                alt.Tooltip("met:Q", title="Minutes that met it"),
                alt.Tooltip("n:Q", title="of minutes"),
            ],
        )
    )
    return _layered([strips], axis, _STRIP * len(names) + _AROUND)


def _wall_clock(time_us: int, zone: ZoneInfo) -> pd.Timestamp:
    return pd.Timestamp(local_time(time_us, zone).replace(tzinfo=UTC))


def _time_axis(ends: Axis | None = None) -> alt.X:
    scale = alt.Scale(type="utc") if ends is None else alt.Scale(type="utc", domain=[*map(_date_time, ends)])
    return alt.X(
        "time:T",
        title=None,
        scale=scale,
        axis=alt.Axis(labelExpr=_TIME_LABEL, labelOverlap=True, grid=False, tickCount=8),
    )


def _date_time(end: pd.Timestamp) -> alt.DateTime:
    return alt.DateTime(
        utc=True, year=end.year, month=end.month, date=end.day, hours=end.hour, minutes=end.minute
    )


def _version_colour(table: pd.DataFrame) -> alt.Color:
    versions = list(dict.fromkeys(table["version"]))
    colours = [_PALETTE[place % len(_PALETTE)] for place in range(len(versions))]
    return alt.Color(
        "version:N",
        title=None,
        scale=alt.Scale(domain=versions, range=colours),
        legend=alt.Legend(orient="top", labelExpr="'version ' + datum.label", symbolOpacity=1),
    )


def _line(
    table: pd.DataFrame,
    measure: str,
    name: str,
    number_format: str,
    tooltip: list[alt.Tooltip],
    top: float | None = None,
) -> alt.Chart:
    line = alt.Chart(table).mark_line(strokeWidth=1.8, clip=True, point=alt.OverlayMarkDef(size=18))
    drawn: alt.Chart = line.encode(
        x=_time_axis(),
        y=_measure_axis(measure, name, number_format, top),
        color=_version_colour(table),
        tooltip=tooltip,
    )
    return drawn


def _band(table: pd.DataFrame, measure: str, name: str, number_format: str, top: float) -> alt.Chart:
    band = alt.Chart(table).mark_area(opacity=0.15, clip=True)
    drawn: alt.Chart = band.encode(
        x=_time_axis(),
        y=_measure_axis(f"{measure}_low", name, number_format, top),
        y2=f"{measure}_high:Q",
        color=_version_colour(table),
    )
    return drawn


def _measure_axis(column: str, name: str, number_format: str, top: float | None) -> alt.Y:
    scale = alt.Scale(zero=True) if top is None else alt.Scale(domain=[0, top])
    return alt.Y(f"{column}:Q", title=name, axis=alt.Axis(format=number_format), scale=scale)


def _mark_layers(marks: pd.DataFrame) -> list[alt.Chart]:
    """A vertical line and a label per moment, releases and signals on two levels; a triangle for a repeated signal."""
    tooltip = [
        alt.Tooltip("clock:N", title="Time"),
        alt.Tooltip("label:N", title="What"),
        alt.Tooltip("reason:N", title="Why"),
    ]
    layers = []
    repeated = marks[marks["kind"] == "repeated"]
    if not repeated.empty:
        triangles = alt.Chart(repeated).mark_point(
            shape="triangle-down", size=32, filled=True, color=_SIGNAL_COLOUR, opacity=0.45
        )
        layers.append(triangles.encode(x=_time_axis(), y=alt.value(2), tooltip=tooltip))
    for kind, colour, dash, level in (
        ("release", _RELEASE_COLOUR, [1, 0], 14),
        ("signal", _SIGNAL_COLOUR, [5, 3], 28),
    ):
        chosen = marks[marks["kind"] == kind]
        if chosen.empty:
            continue
        layers.append(
            alt.Chart(chosen)
            .mark_rule(color=colour, strokeDash=dash, strokeWidth=1.4)
            .encode(x=_time_axis(), tooltip=tooltip)
        )
        for late, labelled in chosen.groupby("late"):
            text = alt.Chart(labelled).mark_text(
                align="right" if late else "left",
                dx=-4 if late else 4,
                color=colour,
                fontSize=11,
                baseline="middle",
            )
            layers.append(text.encode(x=_time_axis(), y=alt.value(level), text="label:N"))
    return layers


def _layered(layers: list[alt.Chart], axis: Axis, height: int = _HEIGHT) -> alt.LayerChart:
    """The layers over one time axis; nothing that lies outside of it widens it."""
    first, *others = layers
    first = first.encode(x=_time_axis(axis))
    return alt.LayerChart(layer=[first, *others], height=height)
