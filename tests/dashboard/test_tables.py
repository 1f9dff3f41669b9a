"""Records become tables."""

import pytest

from dashboard import tables
from errata.settings import Requirements
from quality.audit import Audited
from quality.rates import Number
from quality.requirements import check_online, list_requirements
from storage.audits import AuditedError
from storage.ledger import PartitionIntake
from storage.records import Case, Scorecard, Voc
from storage.windows import contribution_of
from tests.dashboard.records import MINUTE_US, SEOUL, START_US, a_window
from tests.records import make_batch, make_example, make_item, make_prediction


def test_the_correction_rate_counts_edits_and_rejects_of_all_predictions():
    rate = tables.correction_rate(a_window(n=400, n_edit=14, n_reject=6))
    assert (rate.n, rate.value) == (400, 20 / 400)
    assert rate.low < rate.value < rate.high


def test_without_predictions_there_is_no_rate():
    assert tables.correction_rate(a_window(n=0, n_edit=0, n_reject=0)).value is None


def test_qps_is_over_the_minutes_from_the_first_to_the_last():
    numbers = tables.numbers_of(a_window(n=200), START_US, START_US + 9 * MINUTE_US)
    assert numbers.qps.value == pytest.approx(200 / 600)


def test_versions_stand_side_by_side_and_the_champion_is_named():
    numbers = (tables.numbers_of(a_window(), START_US, START_US), tables.correction_rate(a_window()))
    table = tables.version_table({"2": numbers, "1": numbers}, "2")
    assert table["Version"].tolist() == ["2, champion", "1"]
    assert table["Corrected"][0].startswith("5.0\u00a0% (")


def test_every_online_number_is_shown_with_its_n_and_interval():
    table = tables.online_table(
        tables.numbers_of(a_window(), START_US, START_US), tables.correction_rate(a_window())
    )
    rows = {row.Measure: row for row in table.itertuples()}
    assert rows["Corrected (edit or reject)"].Value == "5.0\u00a0%"
    assert rows["Corrected (edit or reject)"].n == "100"
    assert "–" in rows["Corrected (edit or reject)"][3]
    assert rows["Latency served p50"].Value.endswith("ms")
    assert rows["Predictions per second"].Value == "1.67"
    assert len(rows) == 12


def test_slices_are_sorted_by_size_and_their_shares_are_numbers():
    table = tables.slice_table([a_window(slice="device=ios", n=40), a_window(slice="all"), a_window(n=0)])
    assert table["Slice"].tolist() == ["all", "device=ios"]
    assert table["Corrected"].tolist() == [0.05, 0.125]


def test_no_slices_make_an_empty_table():
    assert tables.slice_table([]).empty


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
    table = tables.scorecard_table(cards, "1", "2")
    assert table.columns.tolist() == ["Measure", "n", "Version 1, champion", "Version 2, candidate"]
    rows = table.set_index("Measure").to_dict("index")
    assert rows["Wrong, all"]["Version 1, champion"].startswith("27\u00a0%")
    assert rows["Wrong, all"]["Version 2, candidate"].startswith("10\u00a0%")
    assert rows["Wrong, all"]["n"] == "60"
    assert rows["Examples per second, batched"]["Version 2, candidate"] == "–"


def a_case(champion, candidate) -> Case:
    return Case(
        run_id="r",
        example_id="e",
        change="fixed",
        champion_output=champion,
        candidate_output=candidate,
        champion_ppm=1,
        candidate_ppm=0,
    )


def test_the_field_that_an_answer_gets_wrong_is_marked():
    case = a_case({"number": "41", "expiry": "08/27"}, {"number": "48", "expiry": "08/27"})
    table = tables.case_table(case, make_example(1, label={"number": "48", "expiry": "08/27"}))
    assert table.columns.tolist() == ["", "number", "expiry"]
    assert table.to_numpy().tolist() == [
        ["Label", "48", "08/27"],
        ["Champion", "≠ 41", "08/27"],
        ["Candidate", "48", "08/27"],
    ]


def test_answers_that_are_no_objects_have_one_column():
    table = tables.case_table(a_case("결재", {"odd": 1}), make_example(1, label="결제"))
    assert table.to_numpy().tolist() == [
        ["Label", "결제"],
        ["Champion", "≠ 결재"],
        ["Candidate", '≠ {"odd":1}'],
    ]
    assert len(tables.case_table(a_case("a", "b"), None)) == 2


def test_a_prediction_is_shown_with_what_it_was_corrected_to():
    edited = make_prediction(1, output="결재", action="edit", corrected="결제")
    assert tables.answer_table(edited).to_numpy().tolist() == [["Shown", "결재"], ["Corrected", "결제"]]
    assert len(tables.answer_table(make_prediction(2, output={"number": "4"}))) == 1


def test_comments_of_the_same_wording_are_counted_together_and_the_latest_is_shown():
    vocs = [
        Voc(
            id=voc_id,
            text=text,
            rating=None,
            channel=None,
            language=None,
            time_us=0,
            prediction_id=None,
            model="card-reader",
            tags={},
            subject=None,
            status="new",
            theme=None,
        )
        for voc_id, text in (("3", "또 틀려요"), ("2", "Thanks"), ("1", "또  틀려요"))
    ]
    assert [(voc.id, count) for voc, count in tables.group_quotes(vocs)] == [("3", 2), ("2", 1)]


def test_what_the_label_shows_to_be_wrong_is_marked():
    item = make_item(1, label={"number": "12", "expiry": "08/27"})
    table = tables.label_table(item, make_prediction(1, output={"number": "13", "expiry": "08/27"}))
    assert table.to_numpy().tolist() == [["Shown", "≠ 13", "08/27"], ["Label", "12", "08/27"]]
    assert tables.label_table(item, None).to_numpy().tolist() == [["Label", "12", "08/27"]]


def test_a_batch_says_what_it_costs():
    [row] = tables.batch_table([make_batch(unit_price="0.05", quantity=300)], SEOUL).to_dict("records")
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
    assert tables.intake_totals(partitions) == {
        "Events consumed": 2000,
        "New": 1980,
        "Duplicate": 14,
        "Dead-lettered": 6,
    }
    assert tables.ledger_table(partitions, START_US)["Consumed"].tolist() == ["1,000", "1,000"]


def test_the_sheet_says_what_was_asked_what_was_measured_and_whether_that_is_enough():
    wanted = list_requirements(Requirements(served_p95_ms=200, edit_rate=0.2, qps=9))
    minutes = [contribution_of(a_window())] * 60
    hour = check_online(wanted, minutes, 3600, maturity=0.4)
    day = check_online(wanted, minutes, 3600, maturity=1.0)
    rows = {row["Requirement"]: row for row in tables.sheet_table(hour, day).to_dict("records")}
    edited = rows["Edited"]
    assert edited["Asked for"] == "at most 20\u00a0%"
    assert edited["Last hour"].endswith("n\u00a06,000; 40\u00a0% of the feedback is in)")
    assert (edited["Met in the hour?"], edited["Met in the day?"]) == ("not enough evidence", "yes")
    assert edited["Minutes that met it"] == "60 of 60"
    assert rows["Predictions per second"]["Last 24 h"] == "1.67 (the busiest minute, n\u00a0100)"


def test_requirements_before_a_release_are_told_for_both_versions():
    held = {
        "requirement": "edit_rate",
        "champion": "pass",
        "champion_said": "Wrong: 3 %.",
        "candidate": "fail",
        "candidate_said": "Wrong: 30 %.",
    }
    assert tables.held_table([held], "1", "2").to_numpy().tolist() == [
        ["1, champion", "yes", "Wrong: 3 %."],
        ["2, candidate", "no", "Wrong: 30 %."],
    ]


def test_what_is_wrong_is_told_in_five_ways_each_with_what_it_takes_for_granted():
    share = Number(0.02, 500, 0.01, 0.04)
    found = AuditedError(
        "Said.",
        edited=share,
        silence_is_consent=share,
        of_answers=Number(0.3, 40, 0.1, 0.5),
        audited=Audited(0.06, 0.03, 0.1, 500, 60, 10),
        label_free=Number(0.05, 300),
    )
    rows = {row["Wrong"]: row for row in tables.audit_table(found).to_dict("records")}
    assert rows["Audited"]["95 % interval"] == "3.0–10\u00a0%"
    assert rows["Audited"]["n"] == "500, 60 audited"
    assert rows["By confidence alone"]["95 % interval"] == "not an observation"
    assert tables.audit_table(AuditedError("Nothing is known.")).empty
