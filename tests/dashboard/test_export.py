"""CSV files that a spreadsheet opens as they are meant."""

import csv
import io
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.export import VOC_COLUMNS, to_csv, voc_csv
from storage.records import Voc


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def a_voc(**given) -> Voc:
    values = {
        "id": "00000000-0000-0000-0000-000000000001",
        "text": "결제 오류",
        "rating": 2,
        "channel": None,
        "language": "ko",
        "time_us": 0,
        "prediction_id": None,
        "model": "card-reader",
        "tags": {"app": "3.2"},
        "subject": None,
        "status": "new",
        "theme": None,
    }
    return Voc(**(values | given))


def test_the_file_begins_with_the_mark_that_excel_needs():
    assert to_csv(["text"], [["결제"]]).startswith(b"\xef\xbb\xbf")


def test_korean_text_times_and_tags_are_whole():
    header, row = read(voc_csv([a_voc()], ZoneInfo("Asia/Seoul")))
    shown = dict(zip(header, row, strict=True))
    assert header == list(VOC_COLUMNS)
    assert (shown["text"], shown["rating"]) == ("결제 오류", "2")
    assert (shown["time"], shown["tags"]) == ("1970-01-01 09:00:00", '{"app":"3.2"}')


@pytest.mark.parametrize(
    "formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\u3000=1", "＝1", "＋1", "\0=1"]
)
def test_no_text_is_a_formula(formula):
    [_, [cell]] = read(to_csv(["x"], [[formula]]))
    assert cell.startswith("'")


def test_numbers_stay_numbers():
    assert to_csv(["rating"], [[-3]]).endswith(b"\r\n-3\r\n")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back_but_for_the_apostrophe_and_nul(text):
    [_, [cell]] = read(to_csv(["x"], [[text + "."]]))
    assert cell.removeprefix("'") == (text + ".").replace("\0", "").removeprefix("'")
