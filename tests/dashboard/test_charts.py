"""Records become tables and charts."""

from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dashboard import charts
from quality import histogram
from quality.histogram import bucket_of
from storage.ledger import PartitionIntake
from storage.records import Release, Scorecard, Signal, Window
from tests.records import make_batch

SEOUL = ZoneInfo("Asia/Seoul")
MINUTE_US = 60_000_000
#: 2026-11-23 14:00 in Seoul.
START_US = 1_795_410_000_000_000


def a_window(minute: int = 0, **given) -> Window:
    values = {
        "model": "card-reader",
        "version": "1",
        "slice": "all",
        "minute_us": START_US + minute * MINUTE_US,
        "n": 100,
        "n_edit": 4,
        "n_accept": 60,
        "n_reject": 1,
        "n_distance": 64,
        "distance_ppm": 400_000,
        "distance_ppm_squares": 40_000,
        "served": histogram.encode({bucket_of(20_000): 90, bucket_of(80_000): 10}),
        "shown": histogram.encode({bucket_of(200_000): 65}),
    }
    return Window(**(values | given))


def a_signal(minute: float) -> Signal:
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
        decision="opened",
        reason="It rose.",
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


def test_the_correction_rate_counts_edits_and_rejects_of_all_predictions():
    rate = charts.correction_rate([a_window(0), a_window(1, n=300, n_edit=10, n_reject=5)])
    assert (rate.n, rate.value) == (400, 20 / 400)
    assert rate.low < rate.value < rate.high


def test_without_predictions_there_is_no_rate():
    assert charts.correction_rate([]).value is None
    assert charts.numbers_of([]).qps.value is None


def test_qps_is_over_the_minutes_from_the_first_to_the_last():
    numbers = charts.numbers_of([a_window(0), a_window(9)])
    assert numbers.qps.value == pytest.approx(200 / 600)


def test_every_online_number_is_shown_with_its_n_and_interval():
    table = charts.online_table(charts.numbers_of([a_window()]), charts.correction_rate([a_window()]))
    rows = {row.Measure: row for row in table.itertuples()}
    assert rows["Corrected (edit or reject)"].Value == "5.0\u00a0%"
    assert rows["Corrected (edit or reject)"].n == "100"
    assert "–" in rows["Corrected (edit or reject)"][3]
    assert rows["Latency served p50"].Value.endswith("ms")
    assert rows["Predictions per second"].Value == "1.67"
    assert len(rows) == 12


@pytest.mark.parametrize(
    ("minutes", "width"), [(15, 1), (60, 1), (360, 2), (1440, 10), (10_080, 60), (43_200, 240)]
)
def test_a_chart_has_a_bounded_number_of_points(minutes, width):
    assert charts.bucket_width_us(minutes * MINUTE_US) == width * MINUTE_US
    assert minutes / width <= charts.POINTS_AT_MOST


def test_points_of_time_sum_minutes_and_keep_versions_apart():
    windows = [a_window(0), a_window(1), a_window(2), a_window(1, version="2", n=50)]
    table = charts.over_time(windows, 2 * MINUTE_US, SEOUL)
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
    table = charts.over_time([a_window()], MINUTE_US, SEOUL)
    assert str(table["time"][0]) == "2026-11-23 14:00:00"


def test_a_point_without_any_distance_has_none():
    silent = a_window(n_edit=0, n_accept=0, n_reject=0, n_distance=0, distance_ppm=0, distance_ppm_squares=0)
    assert np.isnan(charts.over_time([silent], MINUTE_US, SEOUL)["distance"][0])


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


@pytest.mark.parametrize("with_marks", [False, True])
def test_every_chart_is_valid(with_marks):
    table = charts.over_time([a_window(0), a_window(1, version="2")], MINUTE_US, SEOUL)
    until_us = START_US + 60 * MINUTE_US
    marks = charts.marks_of(
        [a_release(1, "2")] if with_marks else [],
        [a_signal(1)] if with_marks else [],
        START_US,
        until_us,
        SEOUL,
    )
    for chart in (
        charts.rate_chart(table, marks, 0.056 if with_marks else None),
        charts.distance_chart(table, marks),
        charts.latency_chart(table, marks, "served"),
        charts.latency_chart(table, marks, "shown"),
        charts.qps_chart(table, marks),
    ):
        specification = chart.to_dict(validate=True)
        assert len(specification["layer"]) >= 1


def test_versions_keep_their_colours_in_all_charts():
    table = charts.over_time([a_window(0), a_window(1, version="2")], MINUTE_US, SEOUL)
    marks = charts.marks_of([], [], START_US, START_US, SEOUL)
    scales = [
        charts.qps_chart(table, marks).to_dict()["layer"][0]["encoding"]["color"]["scale"],
        charts.rate_chart(table, marks, None).to_dict()["layer"][1]["encoding"]["color"]["scale"],
    ]
    assert scales[0] == scales[1]
    assert scales[0]["domain"] == ["1", "2"]


def test_slices_are_sorted_by_size_and_their_shares_are_numbers():
    table = charts.slice_table([a_window(slice="device=ios", n=40), a_window(slice="all"), a_window(n=0)])
    assert table["Slice"].tolist() == ["all", "device=ios"]
    assert table["Corrected"].tolist() == [0.05, 0.125]


def test_no_slices_make_an_empty_table():
    assert charts.slice_table([]).empty


def test_scorecards_stand_side_by_side():
    cards = [
        Scorecard(
            run_id="r",
            version=version,
            part="all",
            n=60,
            n_wrong=wrong,
            distance_ppm=wrong * 50_000,
            latency_us_p50=4100,
            latency_us_p95=None,
            per_second=None,
        )
        for version, wrong in (("1", 16), ("2", 6))
    ]
    [row] = charts.scorecard_table(cards, "1", "2").to_dict("records")
    assert row["Version 1, champion: wrong"].startswith("27\u00a0%")
    assert row["Version 2, candidate: wrong"].startswith("10\u00a0%")
    assert row["n"] == "60"
    assert row["Version 2, candidate: per second"] == "–"


def test_a_batch_says_what_it_costs():
    [row] = charts.batch_table([make_batch(unit_price="0.05", quantity=300)], SEOUL).to_dict("records")
    assert row["Cost"].startswith("0.05 ")
    assert "× 300 = 15.00" in row["Cost"]


def test_the_ledger_is_summed_over_partitions():
    partitions = [
        PartitionIntake(
            topic="errata.predictions",
            partition=partition,
            next_offset=10,
            n_records=10,
            n=1000,
            n_new=990,
            n_duplicate=7,
            n_dead=3,
            stored_us=START_US,
        )
        for partition in range(2)
    ]
    assert charts.intake_totals(partitions) == {
        "Events consumed": 2000,
        "New": 1980,
        "Duplicate": 14,
        "Dead-lettered": 6,
    }
    assert charts.ledger_table(partitions, START_US)["Consumed"].tolist() == ["1,000", "1,000"]
