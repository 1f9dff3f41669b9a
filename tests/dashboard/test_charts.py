"""Windows become points of time and charts."""

from dataclasses import replace

import numpy as np
import pytest

from dashboard import charts
from errata.settings import Requirements
from quality.requirements import list_requirements
from storage.records import Release, Signal
from tests.dashboard.records import MINUTE_US, NOW_US, SEOUL, START_US, a_window


def a_signal(minute: float, decision="opened") -> Signal:
    return Signal(
        id="s",
        model="card-reader",
        version="1",
        slice="all",
        time_us=START_US + int(minute * MINUTE_US),
        change_us=None,
        n_events=10,
        n_corrections=5,
        log_evidence=14.0,
        ceiling=0.056,
        decision=decision,
        reason="It rose since 2026-11-23T05:00:00.5Z.",
        run_id=None,
    )


def a_release(minute: float, version: str) -> Release:
    return Release(
        id="r",
        model="card-reader",
        version=version,
        action="promote",
        reason="It is better.",
        who="gate",
        time_us=START_US + int(minute * MINUTE_US),
    )


@pytest.mark.parametrize(
    ("minutes", "width"), [(15, 1), (60, 1), (360, 2), (1440, 10), (10_080, 60), (43_200, 240)]
)
def test_a_chart_has_a_bounded_number_of_points(minutes, width):
    assert charts.bucket_width_us(minutes * MINUTE_US) == width * MINUTE_US
    assert minutes / width <= charts.POINTS_AT_MOST


def test_points_of_time_sum_minutes_and_keep_versions_apart():
    windows = [a_window(0), a_window(1), a_window(2), a_window(1, version="2", n=50)]
    table = charts.over_time(windows, 2 * MINUTE_US, SEOUL, NOW_US)
    assert table[["clock", "version", "n"]].values.tolist() == [
        ["2026-11-23 14:00", "1", 200],
        ["2026-11-23 14:00", "2", 50],
        ["2026-11-23 14:02", "1", 100],
    ]
    assert (table["rate_low"] <= table["rate"]).all()
    assert (table["rate"] <= table["rate_high"]).all()
    assert table["qps"][0] == pytest.approx(200 / 120)
    assert table["served_p50"][0] == pytest.approx(20, rel=0.02)


def test_time_is_the_wall_clock_of_the_reader():
    table = charts.over_time([a_window()], MINUTE_US, SEOUL, NOW_US)
    assert str(table["time"][0]) == "2026-11-23 14:00:30+00:00"
    assert table["clock"][0] == "2026-11-23 14:00"


def test_the_minute_that_has_not_ended_counts_for_the_part_that_has():
    table = charts.over_time([a_window()], MINUTE_US, SEOUL, START_US + MINUTE_US // 2)
    assert table["qps"][0] == pytest.approx(100 / 30)


def test_a_point_without_any_distance_has_none():
    silent = a_window(n_edit=0, n_accept=0, n_reject=0, n_distance=0, distance_ppm=0, distance_ppm_squares=0)
    assert np.isnan(charts.over_time([silent], MINUTE_US, SEOUL, NOW_US)["distance"][0])


def test_marks_are_those_within_the_span_and_late_ones_are_labelled_to_the_left():
    marks = charts.marks_of(
        [a_release(-5, "1"), a_release(10, "2"), a_release(59, "3")],
        [a_signal(5)],
        START_US,
        START_US + 60 * MINUTE_US,
        SEOUL,
    )
    assert marks["label"].tolist() == ["signal", "version 2", "version 3"]
    assert marks["late"].tolist() == [False, False, True]


def test_the_reasons_of_marks_are_in_the_time_of_the_reader():
    marks = charts.marks_of([], [a_signal(5)], START_US, START_US + 60 * MINUTE_US, SEOUL)
    assert marks["reason"].tolist() == ["It rose since 14:00."]


def test_warnings_mark_nothing():
    signals = [a_signal(5, "warned"), a_signal(6, "calmed")]
    assert charts.marks_of([], signals, START_US, START_US + 60 * MINUTE_US, SEOUL).empty


def test_a_warning_that_knows_no_level_is_marked():
    risen = replace(a_signal(5, "warned"), rule="past")
    marks = charts.marks_of([], [risen], START_US, START_US + 60 * MINUTE_US, SEOUL)
    assert marks["kind"].tolist() == ["repeated"]


def test_a_signal_that_opened_no_run_is_set_apart_and_a_flood_of_them_is_thinned():
    flood = [a_signal(10 + place / 60, "suppressed") for place in range(600)]
    marks = charts.marks_of([], [a_signal(9), *flood], START_US, START_US + 60 * MINUTE_US, SEOUL)
    assert marks["kind"].value_counts().to_dict() == {"signal": 1, "repeated": 30}


def test_the_axis_begins_just_before_the_first_prediction_and_is_never_only_a_few_points_long():
    until_us = START_US + 60 * MINUTE_US
    early, late = [a_window(20)], [a_window(58)]
    for windows, begins_us in (
        (early, START_US + 19 * MINUTE_US),
        (late, until_us - charts.POINTS_AT_LEAST * MINUTE_US),
    ):
        assert charts.drawn_since_us(windows, START_US, until_us, MINUTE_US) == begins_us
    assert charts.drawn_since_us(late, until_us - MINUTE_US, until_us, MINUTE_US) == until_us - MINUTE_US


@pytest.mark.parametrize("with_marks", [False, True])
def test_every_chart_is_valid(with_marks):
    table = charts.over_time([a_window(0), a_window(1, version="2")], MINUTE_US, SEOUL, NOW_US)
    until_us = START_US + 60 * MINUTE_US
    marks = charts.marks_of(
        [a_release(1, "2")] if with_marks else [],
        [a_signal(1), a_signal(2, "suppressed")] if with_marks else [],
        START_US,
        until_us,
        SEOUL,
    )
    axis = charts.axis_of(START_US, until_us, SEOUL)
    for chart in (
        charts.rate_chart(table, marks, axis, 0.056 if with_marks else None),
        charts.distance_chart(table, marks, axis),
        charts.latency_chart(table, marks, axis, "served"),
        charts.latency_chart(table, marks, axis, "shown"),
        charts.qps_chart(table, marks, axis),
    ):
        specification = chart.to_dict(validate=True)
        ends = specification["layer"][0]["encoding"]["x"]["scale"]["domain"]
        assert [(end["hours"], end["minutes"]) for end in ends] == [(14, 0), (15, 0)]
        assert all(rows for rows in specification["datasets"].values())


def test_versions_keep_their_colours_in_all_charts():
    table = charts.over_time([a_window(0), a_window(1, version="2")], MINUTE_US, SEOUL, NOW_US)
    marks = charts.marks_of([], [], START_US, START_US, SEOUL)
    axis = charts.axis_of(START_US, NOW_US, SEOUL)
    scales = [
        charts.qps_chart(table, marks, axis).to_dict()["layer"][0]["encoding"]["color"]["scale"],
        charts.rate_chart(table, marks, axis, None).to_dict()["layer"][1]["encoding"]["color"]["scale"],
    ]
    assert scales[0] == scales[1]
    assert scales[0]["domain"] == ["1", "2"]


def test_strips_show_the_share_of_minutes_that_met_each_requirement():
    wanted = list_requirements(Requirements(edit_rate=0.05, served_p95_ms=10, qps=1))
    windows = [a_window(0, n_edit=4), a_window(1, n_edit=9), a_window(2, n_edit=4)]
    table = charts.met_over_time(windows, wanted, 2 * MINUTE_US, SEOUL)
    assert table[["requirement", "clock", "met", "n"]].values.tolist() == [
        ["Latency served, p95", "2026-11-23 14:00", 0, 2],
        ["Edited", "2026-11-23 14:00", 1, 2],
        ["Latency served, p95", "2026-11-23 14:02", 0, 1],
        ["Edited", "2026-11-23 14:02", 1, 1],
    ]
    drawn = charts.met_chart(table, charts.axis_of(START_US, NOW_US, SEOUL)).to_dict()
    assert drawn["layer"][0]["encoding"]["y"]["sort"] == ["Latency served, p95", "Edited"]
    assert charts.met_over_time([], wanted, MINUTE_US, SEOUL).empty
