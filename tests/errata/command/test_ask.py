"""Questions to a live system: what is printed is what the database holds."""

import dataclasses
import json
import time

import pytest
from kafka import KafkaConsumer

from errata.topics import FEEDBACK, PREDICTIONS
from errata.wire import encode_event
from quality.audited_drift import AuditState
from quality.drift import DetectorState
from storage.data_shifts import put_data_drift_states
from storage.intake import apply
from storage.signals import StoredState, put_detector_states
from storage.tables import windows
from tests.builders import a_feedback_event, a_prediction_event, an_arrival
from tests.dashboard.seeded import MODEL, MODELS
from tests.records import make_moved_confidence


def rows_of(answer, **wanted):
    return [
        row for row in answer.json()["numbers"] if all(row[name] == value for name, value in wanted.items())
    ]


def test_the_report_counts_every_prediction_with_its_interval(errata, seeded):
    answer = errata("report", "--json")
    assert answer.code == 0
    everything = rows_of(answer, model=MODEL, slice="all")
    assert sum(row["n"] for row in everything) == seeded.n_predictions
    corrected = sum(
        row["n"] * (row["edit_rate"]["value"] + row["reject_rate"]["value"]) for row in everything
    )
    assert round(corrected) == seeded.n_corrected
    for row in everything:
        rate = row["edit_rate"]
        assert rate["low"] < rate["value"] < rate["high"]
        assert rate["n"] == row["n"]


def test_the_report_of_one_model_leaves_the_others_out(errata, seeded):
    rows = rows_of(errata("report", "--model", "translator", "--json"))
    assert {row["model"] for row in rows} == {"translator"}


def test_every_number_tells_how_mature_and_how_fresh_it_is(errata, seeded):
    row = next(iter(rows_of(errata("report", "--json"), model=MODEL, slice="all", version="1")))
    # Its last predictions are twelve minutes old, and users answer within seconds.
    assert row["edit_rate"]["maturity"] == 1.0
    assert 12 * 60_000_000 < row["edit_rate"]["age_us"] < 30 * 60_000_000
    assert row["served_us"]["p95"]["maturity"] is None
    assert row["served_us"]["p95"]["age_us"] == row["edit_rate"]["age_us"]


def test_the_fresh_rate_stands_beside_the_one_so_far_and_the_matured_one(errata, seeded):
    found = {
        row["version"]: row
        for row in errata("report", "--model", MODEL, "--minutes", "60", "--json").json()["corrections"]
    }
    assert set(found) == {"1", "2"}
    for row in found.values():
        # Users answer within seconds, so hardly anything is still to come.
        assert row["fresh"]["value"] == pytest.approx(row["so_far"]["value"], rel=0.05)
        assert row["fresh"]["low"] < row["fresh"]["value"] < row["fresh"]["high"]
    assert "fresh rate (provisional)" in errata("report").out


def test_the_attribution_window_is_told_with_where_it_comes_from(errata, seeded):
    (learnt,) = errata("report", "--model", MODEL, "--json").json()["attribution"]
    assert learnt["window_us"] > 0
    assert not learnt["is_given"]
    assert "learnt from" in errata("report", "--model", MODEL).out


def test_calibration_is_told_of_every_slice(errata, seeded):
    found = errata("report", "--model", MODEL, "--json").json()["calibration"]
    assert {"all"} < {row["slice"] for row in found}
    for row in found:
        assert 0 <= row["brier"] <= 1
        assert sum(step["n"] for step in row["steps"]) == row["accuracy"]["n"]


def test_where_nothing_was_audited_the_report_says_so(errata, seeded):
    [found] = errata("report", "--model", MODEL, "--json").json()["audits"]
    assert (found["version"], found["audited"]) == ("2", None)
    assert "card-reader 2, audited: No batch of this version has come back" in errata("report").out


REQUIREMENTS = """
[models.card-reader.requirements]
served_p95_ms = {served}
edit_rate = 0.5
qps = 100
serving_mode = "online"
device = "2 CPU cores"
"""


@pytest.mark.parametrize(("served", "judgement", "code"), [(500, "pass", 0), (5, "fail", 1)])
def test_the_sheet_is_checked_over_the_last_hour_and_day(
    errata, seeded, settings_file, served, judgement, code
):
    settings_file.write_text(settings_file.read_text() + REQUIREMENTS.format(served=served))
    answer = errata("report", "--check", "--json")
    assert answer.code == code
    found = {(row["span"], row["requirement"]): row for row in answer.json()["requirements"]}
    assert set(found) == {
        (span, name) for span in ("hour", "day") for name in ("served_p95_ms", "edit_rate", "qps")
    }
    latency = found["day", "served_p95_ms"]
    assert (latency["model"], latency["version"]) == (MODEL, "2")
    assert (latency["judgement"], latency["bound"]) == (judgement, 1000 * served)
    assert found["day", "qps"]["judgement"] == "not enough evidence"
    assert errata("report", "--json").code == 0


def test_the_sheet_is_said_in_sentences(errata, seeded, settings_file):
    assert "is required" not in errata("report").out
    settings_file.write_text(settings_file.read_text() + REQUIREMENTS.format(served=5))
    answer = errata("report", "--model", MODEL)
    assert "at most 5.0 ms is required, which is not met." in answer.out
    assert "card-reader is served online on 2 CPU cores." in answer.out


def test_the_report_looks_as_far_back_as_it_is_told(errata, seeded):
    recent = rows_of(errata("report", "--minutes", "10", "--json"), model=MODEL, slice="all")
    assert 0 < sum(row["n"] for row in recent) < seeded.n_predictions


def test_the_table_has_the_same_numbers(errata, seeded):
    rows = rows_of(errata("report", "--json"), model=MODEL, slice="all")
    table = errata("report", "--model", MODEL).out
    for row in rows:
        assert f"{row['n']:,}" in table
        assert f"{row['edit_rate']['value']:.1%}" in table
        assert f"{row['served_us']['p99']['value'] / 1000:.1f}" in table


def test_the_report_says_of_all_that_is_watched_where_it_stands_and_why_a_number_is_missing(
    errata, seeded, database
):
    found = errata("report", "--model", MODEL, "--json").json()["data_drift"]
    assert {(row["version"], row["said"]) for row in found} == {("2", "No prediction was looked at yet.")}
    with database.write() as c:
        put_data_drift_states(c, MODEL, "2", {"confidence": make_moved_confidence()}, 1, now_us=1)
    first, *missing = errata("report", "--model", MODEL, "--json").json()["data_drift"]
    assert (first["watched"], first["stage"], first["n_since"]) == ("confidence", "moved", 600)
    assert (first["before"][1], first["since"][1]) == (0.75, 0.3)
    assert {row["stage"] for row in missing} == {None}
    told = errata("report", "--model", MODEL).out
    assert (
        "Moved since 2026-11-23T06:30:00.000000Z: median 0.75 (half from 0.625 to 0.875) -> median 0.3"
        in told
    )
    assert "None of the 2,600 predictions that were looked at has a latency." in told


def test_the_report_tells_every_horizon_of_every_slice_and_what_audits_say(errata, seeded, database):
    calm = DetectorState(reference_n=2000, ceiling=0.06, log_r=(9.0, 9.0, 9.0), log_level=10.0)
    learning = DetectorState(reference_n=40)
    audits = AuditState(n=5000, n_labels=100, n_wrong=7, ceiling=0.1, log_r=(1.0, 1.0, 1.0), log_level=11.0)
    with database.write() as c:
        for detector, state in (("1h", calm), ("24h", learning), ("audits", audits)):
            put_detector_states(c, MODEL, "2", detector, {"all": StoredState(state.to_json(), 1)}, now_us=1)
    report = errata("report", "--model", MODEL, "--json").json()
    whole, *slices = report["slices"]
    assert [(each["detector"], each["ceiling"]) for each in whole["horizons"]] == [
        ("1h", 0.06),
        ("24h", None),
    ]
    assert slices
    assert {tuple(row["horizons"]) for row in slices} == {()}
    (found,) = report["audit_drift"]
    assert (found["stage"], found["n_labels"], found["n_wrong"], found["judgement"]) == ("calm", 100, 7, None)
    told = "Audits calm: 0.0% of the evidence that alarms; 7 of 100 labels found an error; up to 10.0% of outputs"
    assert told in found["said"]
    assert f"{MODEL} 2, by audits: {told}" in errata("report", "--model", MODEL).out
    alarmed = dataclasses.replace(calm, stage="alarmed", alarm_since_us=1)
    with database.write() as c:
        put_detector_states(c, MODEL, "2", "1h", {"all": StoredState(alarmed.to_json(), 1)}, now_us=1)
    (found,) = errata("report", "--model", MODEL, "--json").json()["audit_drift"]
    assert (found["judgement"]["verdict"], found["judgement"]["n_labels"]) == ("unknown", 0)
    assert "Of the alarm of corrections: No prediction since then was audited." in found["said"]


def test_the_slices_of_champions_say_where_they_stand(errata, seeded, database):
    known = DetectorState(reference_n=2000, ceiling=0.06, log_r=(9.0, 9.0, 9.0), log_level=10.0)
    with database.write() as c:
        put_detector_states(c, MODEL, "2", "1h", {"all": StoredState(known.to_json(), 1)}, now_us=1)
    rows = errata("report", "--slices", "--model", MODEL, "--json").json()
    assert (rows[0]["slice"], rows[0]["version"]) == ("all", "2")
    assert rows[0]["said"] == (
        "By corrections within 1 hour: calm: 36.8% of the evidence that alarms; up to 6.0% are allowed."
    )
    assert rows[0]["detector"] == "1h"
    assert {row["said"] for row in rows[1:]} == {"Not watched."}
    table = errata("report", "--slices", "--model", MODEL).out
    assert "36.8% of the evidence that alarms" in table
    assert all(row["slice"] in table and f"{row['n']:,}" in table for row in rows)


def test_joint_slices_are_told_with_intervals_and_what_is_left_out(errata, seeded):
    (found,) = errata("report", "--slices", "device,camera", "--model", MODEL, "--json").json()
    assert found["tags"] == ["device", "camera"]
    whole, *joint = found["slices"]
    assert whole["slice"] == "all"
    assert found["n_slices"] == len(joint)
    assert whole["n"] == sum(row["n"] for row in joint) + found["n_outside"]
    for row in joint:
        assert row["low"] <= row["k"] / row["n"] <= row["high"]
    table = errata("report", "--slices", "device,camera", "--model", MODEL)
    assert table.code == 0
    assert "all" in table.out


@pytest.mark.parametrize("arguments", [("--slices", "device"), ("device,camera",)])
def test_joint_slices_need_two_tags_and_the_option(errata, seeded, arguments):
    assert errata("report", *arguments).code == 2


def test_slices_have_no_requirements_to_check(errata, seeded):
    answer = errata("report", "--slices", "--check")
    assert answer.code == 2
    assert "ask without --slices" in answer.err


def test_a_table_shows_what_a_service_sent_as_it_is(errata, seeded, database, apply_to):
    hostile = "[/red]\x1b[2J"
    apply_to(
        a_prediction_event(
            model=MODEL, version=hostile, time_us=time.time_ns() // 1000 - 60_000_000, tags={"device": "[x]"}
        )
    )
    answer = errata("report", "--minutes", "60")
    assert answer.code == 0
    assert "[/red]" in answer.out
    assert "device=[x]" in answer.out
    assert "\x1b" not in answer.out


@pytest.fixture
def apply_to(database):
    def store(event):
        apply(
            database,
            an_arrival([event], topic=PREDICTIONS, partition=6, topic_id=""),
            models=MODELS,
            slice_values_per_hour=200,
            worker="test",
            now_us=event.time_us,
        )

    return store


@pytest.mark.parametrize("minutes", ["nan", "-5", "0", "1e300"])
def test_a_report_of_no_time_is_refused(errata, seeded, minutes):
    answer = errata("report", "--minutes", minutes)
    assert answer.code == 2
    assert "--minutes" in answer.err


def test_a_model_that_is_misspelled_is_named_rightly(errata, seeded):
    answer = errata("report", "--model", "card-raeder")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "errata: unknown model card-raeder: did you mean card-reader?\n"


def test_verify_finds_no_difference_and_says_what_it_checked(errata, seeded):
    answer = errata("verify")
    assert answer.code == 0
    assert answer.out.startswith("checked ")
    assert answer.out.endswith("no difference\n")
    assert errata("verify", "--json").json()["differences"] == []


def test_verify_names_what_differs_and_ends_with_1(errata, seeded, database):
    with database.write() as c:
        c.execute(windows.update().where(windows.c.slice == "all").values(n=windows.c.n + 1))
    answer = errata("verify")
    assert answer.code == 1
    assert "DIFFERENT  " in answer.out
    assert "no difference" not in answer.out
    as_json = errata("verify", "--json")
    assert as_json.code == 1
    assert len(as_json.json()["differences"]) > 0


def test_runs_tell_their_steps_and_their_verdict(errata, seeded):
    answer = errata("runs")
    assert seeded.run_id in answer.out
    assert (
        "opened > ordered > labelled > requested > frozen > trained > scored > judged > released"
        in answer.out
    )
    [found] = errata("runs", "--json", "--model", MODEL).json()
    assert found["run"]["verdict"] == "promote"
    assert [step["step"] for step in found["steps"]][-1] == "released"
    assert errata("runs", "--json", "--model", "translator").json() == []


def test_a_file_is_replayed_and_its_bad_lines_are_named(errata, fresh_broker, monkeypatch, tmp_path):
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    good = [encode_event(a_prediction_event(number)) for number in (1, 2)] + [
        encode_event(a_feedback_event())
    ]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([good[0], b"{not json", b"", good[1], b'{"specversion": "1.0"}', good[2]]))
    answer = errata("replay", str(file))
    assert answer.code == 1
    assert answer.out == "3 events sent, 2 refused\n"
    assert [line.partition(":")[0] for line in answer.err.splitlines()] == ["line 2", "line 5"]
    consumer = KafkaConsumer(
        PREDICTIONS, FEEDBACK, bootstrap_servers=fresh_broker, auto_offset_reset="earliest"
    )
    try:
        records = [next(consumer) for _ in good]
    finally:
        consumer.close()
    assert sorted(record.value for record in records) == sorted(good)
    assert {record.topic for record in records} == {PREDICTIONS, FEEDBACK}
    assert all(record.key.decode() in json.dumps(json.loads(record.value)) for record in records)


def test_a_whole_file_is_replayed_with_0(errata, fresh_broker, monkeypatch, tmp_path):
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    file = tmp_path / "events.jsonl"
    file.write_bytes(encode_event(a_prediction_event()))
    assert errata("replay", str(file)).code == 0


def test_a_file_that_is_not_there_is_named_without_a_trace(errata, tmp_path):
    answer = errata("replay", "nothing.jsonl")
    assert answer.code == 2
    assert answer.err == "errata: nothing.jsonl: No such file or directory\n"
