"""Records become tables (pandas) and charts (altair). Pure: what is drawn depends on the arguments alone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import altair as alt
import numpy as np
import pandas as pd

from dashboard.wording import (
    ago,
    compact_json,
    cost,
    duration,
    full_moment,
    local_time,
    number,
    percent,
    percent_range,
    short_id,
)
from quality import histogram
from quality.distances import PPM
from quality.intervals import rate_interval, rate_intervals
from quality.rates import Latency, Number, Numbers, summarise
from quality.windows import MINUTE_US, add_all
from storage.ledger import PartitionIntake
from storage.records import (
    Batch,
    BatchItem,
    DeadLetter,
    Release,
    Scorecard,
    Signal,
    Voc,
    Window,
)
from storage.windows import contribution_of

#: A chart has at most this many points of time; wider spans get wider ones.
POINTS_AT_MOST: Final = 180
#: Versions that are set side by side; older ones are chosen one by one.
VERSIONS_SHOWN: Final = 4
_WIDTHS_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480)

#: The versions in the order of their first appearance; distinguishable without colour vision too.
_PALETTE: Final = ("#2F5D8C", "#C2703D", "#4E8F7B", "#8C6BB1", "#7A7F87", "#B08D2E")
_SIGNAL_COLOUR: Final = "#B3261E"
_RELEASE_COLOUR: Final = "#4A5560"
_HEIGHT: Final = 230


# --- Numbers of windows -------------------------------------------------------------------------------------


def numbers_of(windows: Sequence[Window]) -> Numbers:
    """What people read of windows per minute; QPS is over the minutes from the first to the last."""
    minutes = [window.minute_us for window in windows if window.n]
    span_us = max(minutes) - min(minutes) + MINUTE_US if minutes else 0
    return summarise(add_all(map(contribution_of, windows)), span_us / 1_000_000)


def correction_rate(windows: Sequence[Window]) -> Number:
    """The share of predictions that were edited or rejected, which is what the drift detector watches."""
    n, k = sum(row.n for row in windows), sum(row.n_edit + row.n_reject for row in windows)
    return Number(k / n, n, *rate_interval(n, k)) if n else Number(None, 0)


def online_table(numbers: Numbers, corrected: Number) -> pd.DataFrame:
    """The online numbers of one version: measure, value, interval, n."""
    rows = [
        _share_row("Corrected (edit or reject)", corrected),
        _share_row("Edited", numbers.edit_rate),
        _share_row("Accepted", numbers.accept_rate),
        _share_row("Rejected", numbers.reject_rate),
        _share_row("Mean edit distance", numbers.distance),
        *_latency_rows("Latency served", numbers.served_us),
        *_latency_rows("Latency shown", numbers.shown_us),
        ("Predictions per second", number(numbers.qps.value), "counted", number(numbers.qps.n)),
    ]
    return pd.DataFrame(rows, columns=["Measure", "Value", "95 % interval", "n"])


def version_table(by_version: Mapping[str, Sequence[Window]], champion: str | None) -> pd.DataFrame:
    """The versions of a model side by side, in the given order."""
    rows = []
    for version, windows in by_version.items():
        numbers, corrected = numbers_of(windows), correction_rate(windows)
        rows.append(
            {
                "Version": f"{version}, champion" if version == champion else version,
                "Predictions": number(corrected.n),
                "Corrected": _with_interval(corrected),
                "Mean edit distance": _with_interval(numbers.distance),
                "Served p50 / p95 / p99": _quantiles(numbers.served_us),
                "Shown p50 / p95 / p99": _quantiles(numbers.shown_us),
                "Per second": number(numbers.qps.value),
            }
        )
    return pd.DataFrame(rows)


def slice_table(windows: Sequence[Window]) -> pd.DataFrame:
    """One row per slice and version, the largest first; shares are numbers, so that the reader can sort."""
    rows = sorted((row for row in windows if row.n), key=lambda row: (-row.n, row.slice, row.version))
    n = np.array([row.n for row in rows], dtype=np.int64)
    k = np.array([row.n_edit + row.n_reject for row in rows], dtype=np.int64)
    low, high = rate_intervals(n, k)
    return pd.DataFrame(
        {
            "Slice": [row.slice for row in rows],
            "Version": [row.version for row in rows],
            "Predictions": n,
            "Corrected": k / np.maximum(n, 1),
            "from": low,
            "to": high,
            "Mean edit distance": [
                row.distance_ppm / PPM / row.n_distance if row.n_distance else None for row in rows
            ],
            "Served p50, ms": [_milliseconds(row.served, 0.5) for row in rows],
            "Served p95, ms": [_milliseconds(row.served, 0.95) for row in rows],
        }
    )


# --- Over time ----------------------------------------------------------------------------------------------


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


def over_time(windows: Iterable[Window], width_us: int, zone: ZoneInfo) -> pd.DataFrame:
    """Windows per minute as one row per version and point of time, with all that the charts draw.

    `time` is the reader's wall clock without a zone; latencies are in ms, shares in 0..1.
    """
    groups: dict[tuple[int, str], list[Window]] = {}
    for window in windows:
        if window.n:
            groups.setdefault((window.minute_us // width_us * width_us, window.version), []).append(window)
    rows = []
    for (start_us, version), group in sorted(groups.items()):
        served = histogram.merge(row.served for row in group)
        shown = histogram.merge(row.shown for row in group)
        rows.append(
            {
                "time": _wall_clock(start_us, zone),
                "clock": full_moment(start_us, zone)[:-3],
                "version": version,
                "n": sum(row.n for row in group),
                "corrected": sum(row.n_edit + row.n_reject for row in group),
                "n_distance": sum(row.n_distance for row in group),
                "distance_sum": sum(row.distance_ppm for row in group) / PPM,
                "served_p50": _milliseconds(served, 0.5),
                "served_p95": _milliseconds(served, 0.95),
                "served_p99": _milliseconds(served, 0.99),
                "shown_p50": _milliseconds(shown, 0.5),
                "shown_p95": _milliseconds(shown, 0.95),
                "shown_p99": _milliseconds(shown, 0.99),
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
    table["qps"] = table["n"] / (width_us / 1_000_000)
    return table


def marks_of(
    releases: Iterable[Release], signals: Iterable[Signal], since_us: int, until_us: int, zone: ZoneInfo
) -> pd.DataFrame:
    """Moments that explain a change in a chart: releases and signals within the span."""
    rows = [
        (release.time_us, "release", f"version {release.version}", release.reason) for release in releases
    ] + [(signal.time_us, "signal", "signal", signal.reason) for signal in signals]
    late_us = since_us + (until_us - since_us) * 5 // 6
    return pd.DataFrame(
        [
            {
                "time": _wall_clock(time_us, zone),
                "clock": full_moment(time_us, zone),
                "kind": kind,
                "label": label,
                "reason": reason,
                # Near the right edge the label stands on the left of its line, where it is not cut.
                "late": time_us > late_us,
            }
            for time_us, kind, label, reason in sorted(rows)
            if since_us <= time_us < until_us
        ],
        columns=["time", "clock", "kind", "label", "reason", "late"],
    )


def rate_chart(table: pd.DataFrame, marks: pd.DataFrame, allowed: float | None) -> alt.LayerChart:
    """The correction rate per version with its interval, and the rate that is allowed."""
    tooltip = [
        alt.Tooltip("clock:N", title="Time"),
        alt.Tooltip("version:N", title="Version"),
        alt.Tooltip("rate:Q", title="Corrected", format=".1%"),
        alt.Tooltip("rate_low:Q", title="from", format=".1%"),
        alt.Tooltip("rate_high:Q", title="to", format=".1%"),
        alt.Tooltip("n:Q", title="Predictions", format=","),
    ]
    layers = _band_and_line(table, "rate", "Corrected", ".0%", tooltip)
    if allowed is not None:
        limit = alt.Chart(pd.DataFrame({"allowed": [allowed]}))
        layers.append(
            limit.mark_rule(color=_SIGNAL_COLOUR, strokeDash=[2, 3], opacity=0.7).encode(y="allowed:Q")
        )
    return _layered([*layers, *_mark_layers(marks)])


def distance_chart(table: pd.DataFrame, marks: pd.DataFrame) -> alt.LayerChart:
    """The mean edit distance per version with its interval."""
    tooltip = [
        alt.Tooltip("clock:N", title="Time"),
        alt.Tooltip("version:N", title="Version"),
        alt.Tooltip("distance:Q", title="Mean edit distance", format=".2%"),
        alt.Tooltip("n_distance:Q", title="Measured", format=","),
    ]
    measured = table[table["n_distance"] > 0]
    return _layered(
        [*_band_and_line(measured, "distance", "Mean edit distance", ".0%", tooltip), *_mark_layers(marks)]
    )


def latency_chart(table: pd.DataFrame, marks: pd.DataFrame, kind: str) -> alt.LayerChart:
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
                title="Percentile",
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
    return _layered([lines, *_mark_layers(marks)])


def qps_chart(table: pd.DataFrame, marks: pd.DataFrame) -> alt.LayerChart:
    """Predictions per second and version."""
    tooltip = [
        alt.Tooltip("clock:N", title="Time"),
        alt.Tooltip("version:N", title="Version"),
        alt.Tooltip("qps:Q", title="Per second", format=",.2f"),
        alt.Tooltip("n:Q", title="Predictions", format=","),
    ]
    return _layered([_line(table, "qps", "Predictions per second", "~s", tooltip), *_mark_layers(marks)])


# --- Offline ------------------------------------------------------------------------------------------------


def scorecard_table(cards: Sequence[Scorecard], champion: str | None, candidate: str | None) -> pd.DataFrame:
    """Scorecards side by side: one row per part, before the change, after it, and all."""
    meaning = {
        "before": "From before the change",
        "after": "From after the change",
        "all": "All",
    }
    rows = []
    for part, name in meaning.items():
        by_version = {card.version: card for card in cards if card.part == part}
        if not by_version:
            continue
        row = {"Frozen examples": name}
        for role, version in (("champion", champion), ("candidate", candidate)):
            card = by_version.get(version or "")
            column = f"Version {version}, {role}"
            if card is None:
                continue
            row["n"] = number(card.n)
            row[f"{column}: wrong"] = _with_interval(wrong_rate(card))
            row[f"{column}: distance"] = percent(card.distance_ppm / PPM / card.n if card.n else None)
            row[f"{column}: p50 / p95"] = f"{duration(card.latency_us_p50)} / {duration(card.latency_us_p95)}"
            row[f"{column}: per second"] = number(card.per_second)
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")


def offline_table(cards: Sequence[Scorecard]) -> pd.DataFrame:
    """The scorecards of one version: measure, value, interval, n."""
    by_part = {card.part: card for card in cards}
    rows = []
    for part, name in (
        ("all", "Wrong, all"),
        ("before", "Wrong, before the change"),
        ("after", "Wrong, after it"),
    ):
        if part in by_part and by_part[part].n:
            rows.append(_share_row(name, wrong_rate(by_part[part])))
    whole = by_part.get("all") or (cards[0] if cards else None)
    if whole is not None and whole.n:
        rows.append(("Mean edit distance", percent(whole.distance_ppm / PPM / whole.n), "–", number(whole.n)))
        rows.append(("Latency p50", duration(whole.latency_us_p50), "–", number(whole.n)))
        rows.append(("Latency p95", duration(whole.latency_us_p95), "–", number(whole.n)))
        rows.append(("Examples per second, batched", number(whole.per_second), "–", number(whole.n)))
    return pd.DataFrame(rows, columns=["Measure", "Value", "95 % interval", "n"])


def wrong_rate(card: Scorecard) -> Number:
    """The share of frozen examples answered wrongly."""
    if not card.n:
        return Number(None, 0)
    return Number(card.n_wrong / card.n, card.n, *rate_interval(card.n, card.n_wrong))


def release_table(releases: Sequence[Release], zone: ZoneInfo) -> pd.DataFrame:
    """Releases, in the given order."""
    return pd.DataFrame(
        {
            "Time": [full_moment(release.time_us, zone) for release in releases],
            "Version": [release.version for release in releases],
            "Action": [release.action for release in releases],
            "By": [release.who for release in releases],
            "Why": [release.reason for release in releases],
        }
    )


# --- Lists --------------------------------------------------------------------------------------------------


def voc_table(vocs: Sequence[Voc], zone: ZoneInfo, now_us: int) -> pd.DataFrame:
    """The inbox; line breaks become spaces, the detail has the whole text."""
    return pd.DataFrame(
        {
            "Said": [" ".join(voc.text.split()) for voc in vocs],
            "Rating": pd.array([voc.rating for voc in vocs], dtype="Int64"),
            "Status": [voc.status for voc in vocs],
            "Model": [voc.model or "–" for voc in vocs],
            "When": [ago(voc.time_us, now_us) for voc in vocs],
            "Time": [full_moment(voc.time_us, zone) for voc in vocs],
        }
    )


def batch_table(batches: Sequence[Batch], zone: ZoneInfo) -> pd.DataFrame:
    """Batches, in the given order."""
    return pd.DataFrame(
        {
            "Batch": [short_id(batch.id) for batch in batches],
            "Model": [batch.model for batch in batches],
            "Status": [batch.status for batch in batches],
            "Labelled": [f"{batch.n_labelled:,} of {batch.quantity:,}" for batch in batches],
            "Cost": [cost(batch.unit_price, batch.quantity, batch.currency) for batch in batches],
            "Guide": [batch.guide_version for batch in batches],
            "Run": [short_id(batch.run_id) if batch.run_id else "–" for batch in batches],
            "Created": [full_moment(batch.created_us, zone) for batch in batches],
        }
    )


def part_table(items: Sequence[BatchItem]) -> pd.DataFrame:
    """What a batch is composed of: items, labelled and flagged ones by part."""
    wanted, labelled, flagged = Counter[str](), Counter[str](), Counter[str]()
    for item in items:
        wanted[item.part] += 1
        labelled[item.part] += item.labeled_us is not None
        flagged[item.part] += bool(item.flags)
    return pd.DataFrame(
        [
            (part, number(count), percent(count / len(items)), number(labelled[part]), number(flagged[part]))
            for part, count in wanted.most_common()
        ],
        columns=["Part", "Items", "Share", "Labelled", "Flagged"],
    )


def item_table(items: Sequence[BatchItem]) -> pd.DataFrame:
    """The items of a batch with the reasons why each was chosen."""
    return pd.DataFrame(
        {
            "Prediction": [item.prediction_id for item in items],
            "Part": [item.part for item in items],
            "Why": ["; ".join(item.reasons) for item in items],
            "Score": [item.score for item in items],
            "Label": [compact_json(item.label) for item in items],
            "Flags": [", ".join(item.flags) for item in items],
            "Labeler": [item.labeler or "–" for item in items],
            "Group": [item.group for item in items],
        }
    )


def ledger_table(partitions: Sequence[PartitionIntake], now_us: int) -> pd.DataFrame:
    """The ledger by partition; in each row consumed = new + duplicate + dead-lettered."""
    return pd.DataFrame(
        {
            "Topic": [part.topic for part in partitions],
            "Partition": [str(part.partition) for part in partitions],
            "Consumed": [number(part.n) for part in partitions],
            "New": [number(part.n_new) for part in partitions],
            "Duplicate": [number(part.n_duplicate) for part in partitions],
            "Dead-lettered": [number(part.n_dead) for part in partitions],
            "Next offset": [number(part.next_offset) for part in partitions],
            "Last stored": [ago(part.stored_us, now_us) for part in partitions],
        }
    )


def intake_totals(partitions: Sequence[PartitionIntake]) -> dict[str, int]:
    """The ledger over all partitions."""
    return {
        "Events consumed": sum(part.n for part in partitions),
        "New": sum(part.n_new for part in partitions),
        "Duplicate": sum(part.n_duplicate for part in partitions),
        "Dead-lettered": sum(part.n_dead for part in partitions),
    }


def dead_letter_table(letters: Sequence[DeadLetter], zone: ZoneInfo) -> pd.DataFrame:
    """Dead letters, in the given order."""
    return pd.DataFrame(
        {
            "Reason": [letter.reason for letter in letters],
            "Detail": [letter.detail for letter in letters],
            "Topic": [letter.topic for letter in letters],
            "Partition": [letter.partition for letter in letters],
            "Offset": [letter.offset for letter in letters],
            "Position": [letter.position for letter in letters],
            "Stored": [full_moment(letter.stored_us, zone) for letter in letters],
        }
    )


# --- Parts of the above -------------------------------------------------------------------------------------


def _share_row(name: str, share: Number) -> tuple[str, str, str, str]:
    interval = (
        percent_range((share.low, share.high)) if share.low is not None and share.high is not None else "–"
    )
    return name, percent(share.value), interval, number(share.n)


def _latency_rows(name: str, latency: Latency) -> list[tuple[str, str, str, str]]:
    rows = []
    for quantile in ("p50", "p95", "p99"):
        found: Number = getattr(latency, quantile)
        interval = f"{duration(found.low)}–{duration(found.high)}" if found.low is not None else "–"
        rows.append((f"{name} {quantile}", duration(found.value), interval, number(found.n)))
    return rows


def _with_interval(share: Number) -> str:
    if share.value is None or share.low is None or share.high is None:
        return "–"
    return f"{percent(share.value)} ({percent_range((share.low, share.high))}, n {share.n:,})"


def _quantiles(latency: Latency) -> str:
    if latency.p50.value is None:
        return "–"
    return " / ".join(duration(found.value) for found in (latency.p50, latency.p95, latency.p99))


def _milliseconds(data: bytes, q: float) -> float | None:
    value_us = histogram.quantile_us(data, q)
    return None if value_us is None else value_us / 1000


def _wall_clock(time_us: int, zone: ZoneInfo) -> pd.Timestamp:
    return pd.Timestamp(local_time(time_us, zone).replace(tzinfo=None))


def _time_axis() -> alt.X:
    # The wall clock is drawn as if it were UTC, so that a browser elsewhere shows the same times.
    return alt.X(
        "time:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(labelOverlap=True, grid=False)
    )


def _version_colour(table: pd.DataFrame) -> alt.Color:
    versions = list(dict.fromkeys(table["version"]))
    colours = [_PALETTE[place % len(_PALETTE)] for place in range(len(versions))]
    return alt.Color(
        "version:N",
        title="Version",
        scale=alt.Scale(domain=versions, range=colours),
        legend=alt.Legend(orient="top"),
    )


def _line(
    table: pd.DataFrame, measure: str, name: str, number_format: str, tooltip: list[alt.Tooltip]
) -> alt.Chart:
    return (
        alt.Chart(table)
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=18))
        .encode(
            x=_time_axis(),
            y=alt.Y(
                f"{measure}:Q", title=name, axis=alt.Axis(format=number_format), scale=alt.Scale(zero=True)
            ),
            color=_version_colour(table),
            tooltip=tooltip,
        )
    )


def _band_and_line(
    table: pd.DataFrame, measure: str, name: str, number_format: str, tooltip: list[alt.Tooltip]
) -> list[alt.Chart]:
    band = (
        alt.Chart(table)
        .mark_area(opacity=0.15)
        .encode(
            x=_time_axis(),
            y=alt.Y(f"{measure}_low:Q", title=name),
            y2=f"{measure}_high:Q",
            color=_version_colour(table),
        )
    )
    return [band, _line(table, measure, name, number_format, tooltip)]


def _mark_layers(marks: pd.DataFrame) -> list[alt.Chart]:
    """A vertical line and a label per moment; labels of releases and signals are on two levels."""
    layers = []
    tooltip = [
        alt.Tooltip("clock:N", title="Time"),
        alt.Tooltip("label:N", title="What"),
        alt.Tooltip("reason:N", title="Why"),
    ]
    for kind, colour, dash, level in (
        ("release", _RELEASE_COLOUR, [1, 0], 6),
        ("signal", _SIGNAL_COLOUR, [5, 3], 20),
    ):
        chosen = marks[marks["kind"] == kind]
        if chosen.empty:
            continue
        layers.append(
            alt.Chart(chosen)
            .mark_rule(color=colour, strokeDash=dash, strokeWidth=1.4)
            .encode(x=_time_axis(), tooltip=tooltip)
        )
        for late, align, shift in ((False, "left", 4), (True, "right", -4)):
            labelled = chosen[chosen["late"] == late]
            if not labelled.empty:
                layers.append(
                    alt.Chart(labelled)
                    .mark_text(align=align, dx=shift, color=colour, fontSize=11, baseline="middle")
                    .encode(x=_time_axis(), y=alt.value(level), text="label:N")
                )
    return layers


def _layered(layers: list[Any]) -> alt.LayerChart:
    return alt.layer(*layers).properties(height=_HEIGHT)
