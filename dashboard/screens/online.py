"""The screen Online numbers: what the service shows, minute by minute, per version and slice."""

import streamlit as st

from dashboard import cached_reads as reads
from dashboard import charts, frame, tables
from dashboard.wording import ago, moment, percent, span
from errata.settings import Settings
from quality.horizons import say_horizon

LIVE_SPAN_US = 6 * 3600 * 1_000_000


@frame.guarded
def show() -> None:
    """Choosers bound to the URL, four charts over the same time, and a table by slice."""
    frame.title(
        "Online numbers", "Corrections, edit distance, latency and traffic over time, by version and slice."
    )
    with frame.choosers():
        model = frame.choose_model()
        if model is None:
            return
        slice_name = st.selectbox("Slice", _list_slices(model), key="slice", bind="query-params", width=220)
        span_us = frame.choose_span("1 h")
    # Many minutes take a while to read; wide spans are drawn anew only when the reader asks.
    live = st.fragment(_show_charts, run_every=15 if span_us <= LIVE_SPAN_US else None)
    live(model, slice_name or "all", span_us)
    _show_slices(model, *frame.since_until(span_us))


def _list_slices(model: str) -> list[str]:
    return ["all", *(name for name in reads.list_slices(model) if name != "all")]


@frame.guarded
def _show_charts(model: str, slice_name: str, span_us: int) -> None:
    settings = reads.read_settings()
    zone, now_us = reads.time_zone(settings), reads.now_us()
    width_us = charts.bucket_width_us(span_us)
    since_us, until_us = frame.since_until(span_us)
    since_us -= since_us % width_us
    windows = reads.read_windows(model, slice_name, since_us, until_us, width_us)
    if not windows:
        st.info("No predictions in the chosen time and slice.")
        return
    table = charts.over_time(windows, width_us, zone, now_us)
    since_us = charts.drawn_since_us(windows, since_us, until_us, width_us)
    axis = charts.axis_of(since_us, until_us, zone)
    signals = reads.read_signals(model)
    marks = charts.marks_of(reads.list_releases(model), signals, since_us, until_us, zone)
    allowed = next(
        (signal.ceiling for signal in signals if signal.slice == slice_name and signal.ceiling), None
    )
    last_us = max(found.last_us for found in reads.sum_versions(model, since_us, until_us).values())
    frame.show_caption(
        f"Data to {moment(last_us, zone, now_us)} ({ago(last_us, now_us)}), "
        f"one point per {charts.name_of_width(width_us)}; the band is the 95 % interval"
    )
    _show_corrections(model, slice_name, frame.since_until(span_us)[0])
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Corrected (edited or rejected)", anchor=False)
        st.altair_chart(charts.rate_chart(table, marks, axis, allowed))
        frame.show_caption(_say_allowed(model, allowed, settings))
        st.subheader("Latency served", anchor=False)
        st.altair_chart(charts.latency_chart(table, marks, axis, "served"))
    with right:
        st.subheader("Mean edit distance", anchor=False)
        st.altair_chart(charts.distance_chart(table, marks, axis))
        frame.show_caption(
            "Of accepted and edited predictions; silence and rejects have none. Intervals are in the tooltip."
        )
        st.subheader("Latency shown to the user", anchor=False)
        st.altair_chart(charts.latency_chart(table, marks, axis, "shown"))
    st.subheader("Predictions per second", anchor=False)
    st.altair_chart(charts.qps_chart(table, marks, axis))


def _show_corrections(model: str, slice_name: str, since_us: int) -> None:
    """The rate so far beside what it will be, and beside the last that is known for good."""
    found = reads.read_corrections(model, slice_name, since_us)
    if not found:
        return
    frame.show_table(tables.correction_table(found, reads.now_us()))
    settled_us = next(iter(found.values())).settled_us
    if settled_us is None:
        frame.show_caption(
            "How late corrections come is not known yet: no predictions with a correction are old enough."
        )
        return
    frame.show_caption(
        "So far: silence is taken for consent. Fresh: what the rate will be once all feedback is in, if users answer "
        "as late as they did; for looking, not for deciding. Matured: predictions of a span as long, older than "
        f"{span(settled_us)}, by when nearly all corrections have come."
    )


def _say_allowed(model: str, allowed: float | None, settings: Settings) -> str:
    ripe = ""
    if model in settings.models:
        ages = ", ".join(say_horizon(each) for each in settings.models[model].detector.horizons_us)
        ripe = f" Detectors read outcomes {ages} after their predictions."
    marked = "Dashed: a signal opened a run; triangles: signals that opened none; grey: releases."
    if allowed is None:
        return f"{marked}{ripe}"
    return f"Dotted: the rate that was allowed, {percent(allowed)}. {marked}{ripe}"


def _show_slices(model: str, since_us: int, until_us: int) -> None:
    st.subheader("By slice", anchor=False)
    windows = reads.sum_windows(model, since_us, until_us)
    if not windows:
        frame.show_text("No predictions in the chosen time.")
        return
    st.dataframe(
        tables.slice_table(windows),
        hide_index=True,
        column_config={
            "Predictions": st.column_config.NumberColumn(format="localized"),
            **{
                name: st.column_config.NumberColumn(format="percent")
                for name in ("Corrected", "from", "to", "Mean edit distance")
            },
            "Served p50, ms": st.column_config.NumberColumn(format="%.1f"),
            "Served p95, ms": st.column_config.NumberColumn(format="%.1f"),
        },
    )
    frame.show_caption("from and to: the 95 % interval of the share that was corrected.")
