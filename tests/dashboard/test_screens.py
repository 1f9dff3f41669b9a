"""Each screen on a seeded, an empty, a missing and an unreachable database, without a browser."""

import ast
import re
import time
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import dashboard
from quality.drift import DetectorState
from storage.data_shifts import put_data_drift_states
from storage.database import open_database
from storage.signals import StoredState, put_detector_states
from storage.voc import read_voc
from tests.dashboard.seeded import KOREAN, MODEL, VOCS, XSS, Seeded, add_audit, add_voc, seed, seed_empty
from tests.records import make_moved_confidence

SCREENS = ("quality", "online", "voc", "batches", "runs", "alerts", "intake")
ROOM = Path(dashboard.__file__).parent


def open_screen(name: str, **query: str) -> AppTest:
    """The screen as a reader sees it after opening a link; the first one inside the whole app."""
    if name == "quality":
        test = AppTest.from_file(str(ROOM / "app.py"), default_timeout=30)
    else:
        test = AppTest.from_string(
            f"from dashboard.screens import {name}\n{name}.show()\n", default_timeout=30
        )
    for key, value in query.items():
        test.query_params[key] = value
    test.run()
    assert not test.exception, test.exception
    return test


def said(test: AppTest) -> str:
    """All texts of a screen, one per line, without the backslashes that keep Markdown away."""
    plain = (test.title, test.subheader, test.text, test.caption, test.markdown, test.code)
    lines = [element.value for kind in (*plain, test.info, test.warning) for element in kind]
    lines += [f"{metric.label} {metric.value}" for metric in test.metric]
    for table in (*test.table, *test.dataframe):
        lines += [str(cell) for row in table.value.to_numpy().tolist() for cell in row]
    return "\n".join(lines).replace("\\", "").replace("\u00a0", " ")


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_shows_an_empty_database(name, tmp_path, show_database):
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    seed_empty(url)
    show_database(url)
    test = open_screen(name)
    assert test.info or test.warning or "No" in said(test)


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_says_that_tables_are_missing(name, tmp_path, show_database):
    show_database(f"sqlite:///{tmp_path / 'none.db'}")
    assert "errata migrate" in said(open_screen(name))


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_says_that_the_database_does_not_answer(name, tmp_path, show_database):
    show_database(f"sqlite:///{tmp_path}")  # A directory is no database.
    assert "cannot be reached" in said(open_screen(name))


def test_a_wrong_setting_is_named(show_database, monkeypatch, seeded):
    show_database(seeded.url)
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRP", "x")
    assert "did you mean broker.bootstrap" in said(open_screen("voc"))


def test_a_database_that_gets_its_tables_is_shown_without_a_restart(tmp_path, show_database):
    url = f"sqlite:///{tmp_path / 'late.db'}"
    show_database(url)
    test = open_screen("intake")
    assert "errata migrate" in said(test)
    seed_empty(url)
    test.run()
    assert "Nothing has come in yet" in said(test)


def test_quality_shows_the_champion_first_and_all_four_cells(seeded: Seeded, show_database):
    show_database(seeded.url)
    test = open_screen("quality", model=MODEL)
    text = said(test)
    assert [head.value for head in test.subheader][:4] == [
        "Offline, in numbers",
        "Online, in numbers",
        "Offline, in words",
        "Online, in words",
    ]
    assert test.segmented_control(key="version").options[0] == "2 \\(champion\\)"
    assert f"Run {seeded.run_id[-4:]} ended at" in text
    assert "version 2 was promoted" in text
    assert "the candidate fixes 12 and breaks 2" in text
    headlines = {metric.label: metric.value.replace("\u00a0", " ") for metric in test.metric}
    assert headlines["Wrong offline"] == "10 %"  # 6 of 60.
    assert set(headlines) >= {"Corrected online", "Shown, p95", "VOC rating"}
    assert len(test.get("vega_lite_chart")) == 1
    assert f"{len(VOCS)} comments" in text
    assert "Data to" in text


REQUIREMENTS = """
[models.card-reader]
task = { kind = "fields", fields = { number = { kind = "text" }, expiry = {} } }
[models.card-reader.requirements]
served_p95_ms = 500
edit_rate = 0.001
qps = 5
serving_mode = "edge"
device = "Pixel 8"
"""


def test_quality_holds_what_is_required_against_what_the_champion_did(
    seeded: Seeded, show_database, tmp_path
):
    show_database(seeded.url)
    assert "Nothing is required of this model yet" in said(open_screen("quality", model=MODEL))
    st.cache_data.clear()
    (tmp_path / "errata.toml").write_text(REQUIREMENTS)
    test = open_screen("quality", model=MODEL)
    table = plain(next(table.value for table in test.table if "Requirement" in table.value))
    assert table["Requirement"] == ["Latency served, p95", "Edited", "Predictions per second"]
    assert table["Asked for"] == ["at most 500 ms", "at most 0.10 %", "at least 5"]
    assert table["Met in the day?"] == ["yes", "no", "not enough evidence"]
    assert table["Last 24 h"][1].startswith("2.5 % (0.15–10 %, n 120")
    assert "Version 2, served edge on Pixel 8" in said(test)
    assert len(test.get("vega_lite_chart")) == 2


def test_quality_says_that_nothing_was_audited_or_what_the_audits_found(tmp_path, show_database):
    now_us = time.time_ns() // 1000
    own = seed(f"sqlite:///{tmp_path / 'own.db'}", now_us)
    (tmp_path / "errata.toml").write_text(REQUIREMENTS)
    show_database(own.url)
    before = said(open_screen("quality", model=MODEL))
    assert "nothing was audited" in before
    assert "No batch of this version with audits of all predictions was accepted yet." in before
    add_audit(own.url, now_us)
    st.cache_data.clear()
    test = open_screen("quality", model=MODEL)
    table = plain(next(table.value for table in test.table if "Wrong" in table.value))
    assert table["Wrong"] == [
        "Edited",
        "Silence = accept",
        "Of those who answered",
        "Audited",
        "By confidence alone",
    ]
    assert table["What it takes for granted"][-1] == "assumes that the model has not changed"
    assert re.fullmatch(r"\d+, 3\d audited", table["n"][3])
    assert "Taking silence for consent gives" in said(test)
    # Which predictions are audited differs from run to run, and so does whether the bias may be chance.
    assert re.search(r": 3\d audits of predictions that nobody corrected", said(test))


def plain(table) -> dict[str, list[str]]:
    """The cells of a table by column, as a reader sees them."""
    shown = table.map(lambda cell: str(cell).replace("\\", "").replace("\u00a0", " "))
    return {str(name).replace("\\", ""): column.tolist() for name, column in shown.items()}


def test_quality_says_where_each_slice_stands(tmp_path, show_database):
    seeded = seed(f"sqlite:///{tmp_path / 'slices.db'}", time.time_ns() // 1000)
    known = DetectorState(reference_n=2000, ceiling=0.06, stage="alarmed", stage_us=1_795_415_400_000_000)
    with open_database(seeded.url).write() as c:
        put_detector_states(c, MODEL, "2", "1h", {"all": StoredState(known.to_json(), 1)}, now_us=1)
    show_database(seeded.url)
    text = said(open_screen("quality", model=MODEL))
    assert "more often than the whole" in text
    assert "alarmed since" in text
    assert "Not watched." in text


def test_quality_says_what_is_no_longer_like_the_first_predictions(tmp_path, show_database):
    seeded = seed(f"sqlite:///{tmp_path / 'moved.db'}", time.time_ns() // 1000)
    show_database(seeded.url)
    assert "No prediction of this version was looked at yet" in said(open_screen("quality", model=MODEL))
    with open_database(seeded.url).write() as c:
        put_data_drift_states(c, MODEL, "2", {"confidence": make_moved_confidence()}, 1, now_us=1)
    st.cache_data.clear()
    test = open_screen("quality", model=MODEL)
    assert "No longer like this version's first predictions: confidence. This alone opens no run" in said(
        test
    )
    table = plain(next(table.value for table in test.table if "Watched" in table.value))
    assert table["Moved"][:2] == ["yes", "–"]
    assert "median 0.75 (half from 0.625 to 0.875)" in table["Where it stands"][0]


def test_quality_shows_two_tags_together_when_they_are_chosen(seeded: Seeded, show_database):
    show_database(seeded.url)
    test = open_screen("quality", model=MODEL, version="1")
    assert " & " not in said(test)
    test.selectbox(key="tag").select("camera").run()
    assert not test.exception
    text = said(test)
    assert "camera=old & device=ios" in text
    assert "corrected more often than the whole" in text


def test_quality_of_the_version_before_can_be_linked_to(seeded: Seeded, show_database):
    show_database(seeded.url)
    text = said(open_screen("quality", model=MODEL, version="1"))
    assert "27 %" in text  # 16 of 60 frozen examples.
    assert "Against candidate 2" in text


def test_versions_side_by_side_count_every_prediction(seeded: Seeded, show_database):
    show_database(seeded.url)
    test = open_screen("quality", model=MODEL)
    table = test.table[-1].value
    assert sum(int(n.replace("\\,", "")) for n in table["Predictions"]) == seeded.n_predictions


def test_online_numbers_draw_five_charts_and_a_table_by_slice(seeded: Seeded, show_database):
    show_database(seeded.url)
    test = open_screen("online", model=MODEL, span="6 h")
    assert len(test.get("vega_lite_chart")) == 5
    rates = plain(test.table[0].value)
    assert rates["Version"] == ["1", "2"]
    assert all(" %" in cell for cell in rates["Fresh rate (provisional)"])
    assert rates["Feedback that is in"][0] == "100 %"
    assert "for looking, not for deciding" in said(test)
    table = test.dataframe[0].value
    assert {"all", "camera=new", "camera=old", "device=ios"} <= set(table["Slice"])
    whole = table[table["Slice"] == "all"]
    assert whole["Predictions"].sum() == seeded.n_predictions
    assert (whole["Corrected"] * whole["Predictions"]).sum() == pytest.approx(seeded.n_corrected)
    assert "5.6 %" in said(test)


def test_voc_shows_what_customers_wrote_as_text_alone(seeded: Seeded, show_database):
    show_database(seeded.url)
    place = next(number for number, voc in enumerate(VOCS) if voc[0] == XSS)
    test = open_screen("voc", id=seeded.voc_ids[place])
    assert XSS in [element.value for element in test.text]
    for kind in (test.markdown, test.caption, test.subheader, test.html):
        assert not any("<img" in element.value for element in kind)


def test_voc_is_tied_to_its_prediction(seeded: Seeded, show_database):
    show_database(seeded.url)
    text = said(open_screen("voc", id=seeded.voc_ids[0]))
    assert KOREAN in text
    assert "card-reader, version 1" in text
    assert "Shown\n" in text
    assert "08/27" in text


def test_without_a_choice_the_latest_comment_is_shown(seeded: Seeded, show_database):
    show_database(seeded.url)
    assert f"Comment {seeded.voc_ids[-1]}" in said(open_screen("voc"))


@pytest.mark.parametrize(("word", "n"), [("결제", 3), ("읽혀", 1), ("CARD", 2), ("100%", 0), ("_", 0)])
def test_voc_is_found_by_a_part_of_a_word(word, n, seeded: Seeded, show_database):
    show_database(seeded.url)
    test = open_screen("voc", q=word)
    assert sum(len(table.value) for table in test.dataframe) == n


def test_the_row_that_is_chosen_is_the_comment_that_is_shown(seeded: Seeded, show_database):
    show_database(seeded.url)
    newest_first = tuple(reversed(seeded.voc_ids))
    test = AppTest.from_string("from dashboard.screens import voc\nvoc.show()\n", default_timeout=30)
    test.session_state[f"voc-list-{hash(newest_first)}"] = {"selection": {"rows": [4], "columns": []}}
    test.run()
    assert f"Comment {newest_first[4]}" in said(test)


def test_a_long_inbox_has_pages(seeded: Seeded, show_database, monkeypatch):
    show_database(seeded.url)
    monkeypatch.setattr("dashboard.screens.voc.PAGE_SIZE", 3)
    test = open_screen("voc")
    assert "1 to 3 of 7" in said(test)
    test.pagination(key="voc_page").set_value(3).run()
    assert "7 to 7 of 7" in said(test)
    assert len(test.dataframe[0].value) == 1


def test_new_comments_are_announced_and_shown_on_demand(tmp_path, show_database):
    own = seed(f"sqlite:///{tmp_path / 'own.db'}", 1_795_410_127_000_000)
    show_database(own.url)
    test = open_screen("voc")
    add_voc(own.url, "방금 또 틀렸어요", 1_795_410_127_000_000)
    st.cache_data.clear()
    test.run()
    assert test.button(key="voc_refresh").label == "1 new, refresh"
    assert "방금 또 틀렸어요" not in said(test)
    test.button(key="voc_refresh").click().run()
    assert "방금 또 틀렸어요" in said(test)
    assert test.button(key="voc_refresh").label == "Refresh"


def test_voc_is_filtered_by_status_and_rating(seeded: Seeded, show_database):
    show_database(seeded.url)
    assert len(open_screen("voc", rating="1–3").dataframe[0].value) == 3
    assert "No comment fits" in said(open_screen("voc", status="declined"))


def test_the_status_changes_of_the_comment_that_is_shown(tmp_path, show_database):
    own = seed(f"sqlite:///{tmp_path / 'own.db'}", 1_795_410_127_000_000)
    show_database(own.url)
    test = open_screen("voc", id=own.voc_ids[1])
    test.button(key=f"set-triaged-{own.voc_ids[1]}").click().run()
    assert not test.exception
    database = open_database(own.url)
    with database.read() as c:
        changed = {voc.id for voc in read_voc(c, status="triaged")}
    database.close()
    assert changed == {own.voc_ids[1]}
    assert test.button(key=f"set-triaged-{own.voc_ids[1]}").disabled


def test_a_batch_shows_its_cost_composition_guide_and_items(seeded: Seeded, show_database):
    show_database(seeded.url)
    text = said(open_screen("batches", batch=seeded.batch_id))
    assert "0.05 USD × 60 = 3.00 USD" in text
    assert "Labelled 60 of 60" in text
    assert "bad_data 로 표시하세요" in text
    assert f"errata batch export {seeded.batch_id}" in text
    assert "drawn at random from held-out customers" in text
    assert "labelled by labeler-2" in text


def test_the_item_that_is_chosen_is_shown_with_what_the_labeler_saw(seeded: Seeded, show_database):
    show_database(seeded.url)
    test = open_screen("batches", batch=seeded.batch_id, part="evaluation")
    assert len(test.get("image")) == 1
    table = test.table[-1].value
    assert table.iloc[:, 0].tolist()[0] == "Shown"
    assert table.iloc[:, 0].tolist()[-1] == "Label"


def test_a_run_is_shown_arrow_by_arrow(seeded: Seeded, show_database):
    show_database(seeded.url)
    test = open_screen("runs", model=MODEL, run=seeded.run_id)
    texts = [element.value for element in test.text]
    arrows = (
        "Signal",
        "Run opened",
        "Labels ordered",
        "Labels accepted",
        "Dataset frozen",
        "Verdict",
        "Released",
    )
    assert [text for text in texts if text in arrows] == list(arrows)
    text = said(test)
    assert "Promote 2: Version 2 fixes 12 and breaks 2 of 60" in text
    assert "correction rate 38 % of 71 predictions since" in text
    assert "5.6 % was allowed" in text
    assert "Fixed: 12" in text
    assert "min.kim" in text


def test_intake_balances_and_shows_dead_letters(seeded: Seeded, show_database):
    show_database(seeded.url)
    test = open_screen("intake")
    values = {metric.label: metric.value for metric in test.metric}
    consumed, new, duplicate, dead = (
        int(values[name].replace(",", ""))
        for name in ("Events consumed", "New", "Duplicate", "Dead-lettered")
    )
    assert consumed == new + duplicate + dead
    assert (duplicate, dead) == (25, seeded.n_dead)
    assert set(test.dataframe[0].value["Reason"]) == {"not_json", "missing_field", "unknown_model"}


def test_no_screen_lets_html_through():
    for file in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword):
                assert node.arg not in ("unsafe_allow_html", "unsafe_allow_javascript"), file
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("html", "iframe", "write_stream"), file
                assert not (
                    node.attr == "write" and isinstance(node.value, ast.Name) and node.value.id == "st"
                ), file


def test_alerts_are_shown_with_whom_they_were_told_to(seeded: Seeded, show_database, monkeypatch):
    show_database(seeded.url)
    test = open_screen("alerts")
    text = said(test)
    assert "Open: 1" in text
    assert "WARNING  A run of translator failed" in text
    assert "no space left on device" in text
    assert "oncall: not taken, tried once: no answer from smtp.example.com" in text
    assert "Drift of card-reader 1" in text
    assert "Nobody is told: there is no [alerts.channels.NAME] table" in text
    assert not test.button


def test_a_channel_is_shown_without_its_url_and_tried_by_a_button(seeded: Seeded, show_database, monkeypatch):
    show_database(seeded.url)
    monkeypatch.setenv("ERRATA_ALERTS__CHANNELS__TEAM_CHAT__URL", "slack://canary7Q")
    monkeypatch.setenv("ERRATA_ALERTS__CHANNELS__TEAM_CHAT__QUIET_HOURS", "22:00-07:00")
    test = open_screen("alerts")
    assert "22:00-07:00 Asia/Seoul" in said(test)
    assert "canary7Q" not in said(test)
    test.button[0].click().run()
    assert "The test of team_chat, asked for now: waits for a worker" in said(test)


def test_where_others_reach_the_page_it_sends_nothing(seeded: Seeded, show_database, monkeypatch):
    show_database(seeded.url)
    monkeypatch.setenv("ERRATA_ALERTS__CHANNELS__CHAT__URL", "slack://x")
    monkeypatch.setenv("ERRATA_DASHBOARD__HOST", "0.0.0.0")
    test = open_screen("alerts")
    assert not test.button
    assert "errata alerts test" in said(test)
