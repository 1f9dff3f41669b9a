"""How numbers, times and the loop are said."""

import re
import string
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.wording import (
    WORD_JOINER,
    ago,
    compact_json,
    cost,
    describe_evidence,
    describe_loop,
    describe_verdict,
    duration,
    full_moment,
    in_one_line,
    moment,
    number,
    percent,
    percent_range,
    visible_bytes,
    with_local_times,
    without_markdown,
)
from storage.records import RunStep, Signal
from tests.records import make_batch, make_run

SEOUL = ZoneInfo("Asia/Seoul")
#: 2026-11-23 05:02:07 UTC, two minutes past two in the afternoon in Seoul.
NOW_US = 1_795_410_127_000_000
HOUR_US = 3_600_000_000


def a_signal(**given) -> Signal:
    values = {
        "id": "00000000-0000-0000-0000-0000000000aa",
        "model": "card-reader",
        "version": "1",
        "slice": "all",
        "time_us": NOW_US,
        "change_us": None,
        "n_events": 100,
        "n_corrections": 38,
        "log_evidence": 15.0,
        "ceiling": 0.056,
        "decision": "opened",
        "reason": "Enough corrections.",
        "run_id": None,
    }
    return Signal(**(values | given))


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_times_are_shown_in_the_zone_of_the_reader():
    assert full_moment(NOW_US, SEOUL) == "2026-11-23 14:02:07"
    assert moment(NOW_US, SEOUL, NOW_US) == "14:02"
    assert moment(NOW_US - 24 * HOUR_US, SEOUL, NOW_US) == "22 Nov 14:02"
    assert moment(NOW_US - 365 * 24 * HOUR_US, SEOUL, NOW_US) == "23 Nov 2025 14:02"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "now"),
        (0, "now"),
        (12, "12 s ago"),
        (200, "3 min ago"),
        (18_000, "5 h ago"),
        (200_000, "2 days ago"),
    ],
)
def test_the_age_of_a_number_has_one_unit(seconds, said):
    assert plain(ago(NOW_US - int(seconds * 1_000_000), NOW_US)) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [(None, "–"), (0.0, "0 %"), (0.00123, "0.12 %"), (0.056, "5.6 %"), (0.38, "38 %"), (1.0, "100 %")],
)
def test_a_share_has_two_figures(share, said):
    assert plain(percent(share)) == said


def test_an_interval_has_its_unit_once():
    assert plain(percent_range((0.049, 0.064))) == "4.9–6.4 %"


@pytest.mark.parametrize(
    ("length_us", "said"), [(None, "–"), (840, "840 µs"), (84_200, "84.2 ms"), (1_240_000, "1.24 s")]
)
def test_a_latency_has_three_figures(length_us, said):
    assert plain(duration(length_us)) == said


def test_counts_have_separators_and_costs_are_exact():
    assert number(1_234_567) == "1,234,567"
    assert number(0.1234) == "0.12"
    assert cost("0.07", 300, "USD") == "0.07 USD × 300 = 21.00 USD"


def test_korean_text_is_not_escaped_in_json():
    assert compact_json({"text": "결제"}) == '{"text":"결제"}'
    assert compact_json("결제") == "결제"


def test_bytes_that_are_no_text_are_shown_as_numbers():
    assert visible_bytes(b"\x00\xff ab\n\xea\xb2\xb0") == "\\x00\\xff ab\n결"


def test_a_right_to_left_override_cannot_hide_in_shown_bytes():
    assert visible_bytes("a\u202eb".encode()) == "a\\u202eb"


@given(st.text())
def test_every_sign_that_markdown_knows_is_escaped(text):
    without_pairs = re.sub(r"\\.", "", without_markdown(text))
    assert not set(without_pairs) & set(string.punctuation)


@given(st.text())
def test_escaping_loses_nothing_and_adds_nothing_that_is_seen(text):
    escaped = without_markdown(text.replace(WORD_JOINER, ""))
    assert re.sub(r"\\(.)", r"\1", escaped).replace(WORD_JOINER, "") == in_one_line(
        text.replace(WORD_JOINER, "")
    )


@pytest.mark.parametrize("text", ["see https://evil.example", "WWW.evil.example", "to a@b.example"])
def test_no_address_becomes_a_link(text):
    assert not re.search(r"https?://|www\.|\w@\w", without_markdown(text).replace("\\", ""), re.IGNORECASE)


def test_the_space_before_a_unit_stays_unbreakable():
    assert without_markdown("38\u00a0%\n\nof all") == "38\u00a0\\% of all"


def test_evidence_is_said_in_a_line():
    step = RunStep(
        run_id="r", step="frozen", evidence={"n_training": 640, "p": 0.0130001, "parts": [1, 2]}, time_us=0
    )
    assert describe_evidence(step) == "n training: 640, p: 0.013, parts: 2"


def test_ids_and_hashes_are_left_to_the_full_view():
    step = RunStep(run_id="r", step="frozen", evidence={"sha256": "9f", "run_id": "r", "seed": 7}, time_us=0)
    assert describe_evidence(step) == "seed: 7"


@pytest.mark.parametrize(
    ("step", "evidence", "said"),
    [
        (
            "opened",
            {"n_events": 301, "n_corrections": 50, "ceiling": 0.023, "run_id": "r"},
            "50 of 301 predictions were corrected, where 2.3 % was allowed",
        ),
        (
            "ordered",
            {"quantity": 480, "cost": "19.20", "currency": "USD", "parts": {"audit": 48, "corrected": 432}},
            "480 predictions for 19.20 USD: 432 corrected, 48 audit",
        ),
        (
            "labelled",
            {"training": 302, "evaluation": 178, "cost": "19.20", "currency": "USD"},
            "302 to learn from, 178 to be judged by, for 19.20 USD",
        ),
        (
            "frozen",
            {"training": 802, "evaluation": 378, "dataset": "9f"},
            "802 examples to learn from, 378 to be judged by",
        ),
        ("trained", {"steps": 700, "seconds": 55.6, "device": "cpu"}, "700 steps in 56 s on cpu"),
        (
            "scored",
            {"n": 378, "champion_wrong": 82, "candidate_wrong": 45},
            "of 378 frozen examples the champion is wrong on 82, the candidate on 45",
        ),
        ("released", {"version": "2", "instead_of": "1", "who": "gate"}, "version 2 instead of 1, by gate"),
    ],
)
def test_each_arrow_has_its_sentence(step, evidence, said):
    assert plain(describe_evidence(RunStep(run_id="r", step=step, evidence=evidence, time_us=0))) == said


def test_times_in_a_reason_are_shown_in_the_zone_of_the_reader():
    assert with_local_times("Since 2026-11-23T05:02:07.341224Z.", SEOUL, NOW_US) == "Since 14:02."


def test_a_verdict_is_not_said_twice():
    assert describe_verdict("Promote 2: on 178 examples it is better.") == "On 178 examples it is better."
    assert describe_verdict("The trainer failed.") == "The trainer failed."


def test_before_the_first_release_the_loop_waits_for_it():
    assert describe_loop(None, [], [], None, SEOUL, NOW_US)[0].startswith("No version is released yet")


def test_without_a_signal_the_champion_is_watched():
    assert "version 1 is watched" in describe_loop("1", [], [], None, SEOUL, NOW_US)[0]


def test_a_run_that_waits_for_labels_is_said_with_its_cause():
    signal = a_signal()
    run = make_run(0x3F2A, signal_id=signal.id)
    batch = make_batch(quantity=300, status="ordered", n_labelled=120)
    later = a_signal(id="later", time_us=NOW_US + 1, decision="suppressed")
    said = describe_loop("1", [later, signal], [run], batch, SEOUL, NOW_US)
    assert plain("|".join(said)) == (
        "Signal at 14:02: correction rate 38 % where 5.6 % was allowed; "
        "run 3f2a waits for 300 labels, 120 are done."
    )


def test_a_suppressed_signal_gives_its_reason():
    signal = a_signal(decision="suppressed", reason="12 corrections are fewer than 30.")
    (said,) = describe_loop("1", [signal], [], None, SEOUL, NOW_US)
    assert said.endswith("No run was opened: 12 corrections are fewer than 30.")


def test_a_warning_is_told_as_one_until_something_else_is():
    warned = a_signal(decision="warned")
    (said,) = describe_loop("1", [warned], [], None, SEOUL, NOW_US)
    assert said.startswith("Signal at 14:02: correction rate ")
    assert said.endswith(" was allowed. It is a warning; more evidence makes an alarm.")
    (calm,) = describe_loop("1", [a_signal(decision="calmed"), warned], [], None, SEOUL, NOW_US)
    assert calm.startswith("No signal so far")


def test_a_warning_that_is_never_taken_back_is_not_how_things_are():
    risen = a_signal(decision="warned", rule="past")
    assert describe_loop("1", [risen], [], None, SEOUL, NOW_US)[0].startswith("No signal so far")
    (said,) = describe_loop("1", [risen, a_signal(decision="warned")], [], None, SEOUL, NOW_US)
    assert said.endswith("It is a warning; more evidence makes an alarm.")


def test_a_scheduled_run_says_so():
    signal = a_signal(decision="opened", rule="schedule", reason="There was no run for 30 days.", n_events=0)
    run = make_run(0x3F2A, signal_id=signal.id)
    (said,) = describe_loop("1", [signal], [run], None, SEOUL, NOW_US)
    assert said.startswith("Scheduled at 14:02: There was no run for 30 days; run ")


def test_signals_after_a_run_do_not_hide_how_it_ended():
    run = make_run(
        status="promoted", candidate="2", decided_us=NOW_US - HOUR_US, verdict_reason="It is better."
    )
    reason = "76 were corrected. The last run was decided at 2026-11-23T04:02:07Z, less than 24 hours ago."
    signals = [a_signal(decision="suppressed", reason=reason)] * 2
    end, why, since = describe_loop("2", signals, [run], None, SEOUL, NOW_US)
    assert end.endswith("version 2 was promoted.")
    assert why == "It is better."
    assert plain(since) == (
        "Since then 2 signals; the latest: signal at 14:02: correction rate 38 % where 5.6 % was allowed. "
        "No run was opened: The last run was decided at 13:02, less than 24 hours ago."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "waiting"}, "lets corrections arrive"),
        ({"status": "requested"}, "waits for a trainer"),
        ({"status": "training"}, "trains a candidate against version 1"),
        ({"status": "promoted", "candidate": "2", "decided_us": NOW_US}, "version 2 was promoted"),
        ({"status": "kept", "decided_us": NOW_US}, "version 1 was kept"),
        ({"status": "failed", "decided_us": NOW_US}, "failed at 14:02"),
    ],
)
def test_each_state_of_a_run_has_its_sentence(changes, said):
    assert said in describe_loop("1", [], [make_run(**changes)], None, SEOUL, NOW_US)[0]
