"""What customers said: in any script, and harmless to terminals and spreadsheets."""

import csv
import io
import time

import pytest

from tests.dashboard.seeded import FORMULA, KOREAN, MODEL, VOCS, add_voc


def test_comments_are_listed_in_their_own_words(errata, seeded):
    answer = errata("voc", "list")
    assert answer.code == 0
    assert KOREAN in answer.out
    assert len(answer.out.splitlines()) == len(VOCS)


def test_comments_are_found_by_a_part_of_their_text(errata, seeded):
    assert [voc["text"] for voc in errata("voc", "list", "--search", "8이 자꾸", "--json").json()] == [KOREAN]


def test_json_is_not_escaped(errata, seeded):
    assert KOREAN in errata("voc", "list", "--json", "--model", MODEL).out


def test_a_comment_cannot_move_the_cursor_or_look_like_a_second_one(errata, seeded):
    add_voc(seeded.url, "\x1b[2J\x1b[31mowned\nsecond line \u202egnp.exe 👩\u200d🔬", time.time_ns() // 1000)
    [line] = errata("voc", "list", "--search", "owned").out.splitlines()
    assert r"\x1b[2J\x1b[31mowned\nsecond line \u202egnp.exe 👩" in line
    assert "\u200d🔬" in line


def test_an_export_opens_in_a_spreadsheet(errata, seeded, tmp_path):
    answer = errata("voc", "export", str(tmp_path / "voc.csv"))
    assert answer.out == f"{len(VOCS)} comments written to {tmp_path / 'voc.csv'}\n"
    content = (tmp_path / "voc.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    texts = {row["id"]: row["text"] for row in rows}
    assert KOREAN in texts.values()
    assert f"'{FORMULA}" in texts.values()
    assert set(texts) == set(seeded.voc_ids)


def test_an_export_of_one_model_has_its_comments_only(errata, seeded, tmp_path):
    assert errata("voc", "export", str(tmp_path / "voc.csv"), "--model", "translator").out.startswith(
        "0 comments"
    )


def test_a_place_that_cannot_be_written_is_named(errata, seeded, tmp_path):
    answer = errata("voc", "export", str(tmp_path / "no" / "voc.csv"))
    assert answer.code == 2
    assert answer.err == f"errata: {tmp_path / 'no' / 'voc.csv'}: No such file or directory\n"


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_is_a_number_above_zero(errata, seeded, limit):
    answer = errata("voc", "list", "--limit", limit)
    assert answer.code == 2
    assert "--limit" in answer.err
