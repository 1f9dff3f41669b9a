"""Excerpts of real data through client, broker, worker, intake and report: the figures of the files, exactly."""

import copy
import os
from fractions import Fraction
from pathlib import Path

import pytest

from bench.replay.direct import sum_truths
from bench.replay.files import REVIEWS, TELL, Truth, count_edits, tell_file
from bench.replay.judging import compare
from bench.replay.running import replay
from tests.builders import START_US
from tests.servers import free_port

EXCERPTS = Path(__file__).with_name("excerpts")


def test_the_report_says_what_a_direct_computation_from_the_files_says(database_url: str, tmp_path: Path):
    found = replay(EXCERPTS, database_url, tmp_path, os.environ, port=free_port(), now_us=START_US)
    assert found["differences"] == []
    assert found["slices_compared"] > 40
    assert found["events"][REVIEWS] > 400


def test_every_row_has_a_prediction_and_an_answer_or_is_a_comment():
    for name in TELL:
        for told in tell_file(EXCERPTS / name):
            assert len(told.events) == 1 if told.truth is None else len(told.events) >= 2


def test_reviews_of_labels_overrule_the_labels_that_were_given():
    given = dict.fromkeys(("accept", "edit", "reject"), 0)
    for told in tell_file(EXCERPTS / "label_errors_20news.csv.gz"):
        if len(told.events) == 3:
            assert told.truth is not None
            assert told.truth.action is not None
            given[told.truth.action] += 1
    assert min(given.values()) > 0


@pytest.mark.parametrize(
    ("shown", "written", "edits"), [("", "abc", 3), ("kitten", "sitting", 3), ("a", "a", 0)]
)
def test_edits_are_counted_as_in_the_textbook(shown: str, written: str, edits: int):
    assert count_edits(shown, written) == edits


TRUTHS = [
    Truth(("league=nba",), "accept", Fraction(0), 0.75),
    Truth(("league=nba",), "edit", Fraction(1, 3), 0.5),
    Truth((), "reject", None, None),
]
REPORT = {
    "numbers": [
        {
            "model": "forecast",
            "slice": name,
            "n": n,
            "edit_rate": {"value": 1 / n, "n": n},
            "accept_rate": {"value": 1 / n, "n": n},
            "reject_rate": {"value": (n - 2) / n, "n": n},
            "distance": {"value": 0.333333 / 2, "n": 2},
        }
        for name, n in (("all", 3), ("league=nba", 2))
    ],
    "calibration": [
        {
            "model": "forecast",
            "slice": name,
            "accuracy": {"value": 0.5, "n": 2},
            "expected": 0.625,
            "brier": (0.25**2 + 0.5**2) / 2,
            "steps": [{"n": 1}, {"n": 1}],
        }
        for name in ("all", "league=nba")
    ],
    "corrections": [{"model": "forecast", "so_far": {"value": 2 / 3}}],
}


def test_a_report_that_is_right_has_no_differences():
    assert compare(REPORT, "forecast", sum_truths(TRUTHS)) == []


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("numbers", "n", 4),
        ("numbers", "edit_rate", {"value": 2 / 3, "n": 3}),
        ("numbers", "distance", {"value": 0.333334 / 2, "n": 2}),
        ("calibration", "brier", 0.16),
        ("calibration", "expected", 0.626),
        ("corrections", "so_far", {"value": 1 / 3}),
    ],
)
def test_a_report_that_is_off_is_noticed(part: str, name: str, value: object):
    wrong = copy.deepcopy(REPORT)
    wrong[part][0][name] = value
    assert compare(wrong, "forecast", sum_truths(TRUTHS))


def test_a_slice_that_is_missing_is_noticed():
    wrong = REPORT | {"numbers": REPORT["numbers"][:1]}
    assert compare(wrong, "forecast", sum_truths(TRUTHS))
