"""The map in README.md shows the tree as it is."""

from pathlib import Path

import pytest

from scripts.draw_map import draw, list_tree, read_readme


def test_the_map_is_current() -> None:
    _, drawn, _ = read_readme()
    assert drawn == draw(list_tree()), "files have come, gone or changed their docstring: run `make schemas`"


def test_every_line_of_the_map_can_be_read_at_a_glance() -> None:
    long = [line for line in draw(list_tree()).splitlines() if len(line) > 120]
    assert not long, "shorten the first sentence of the docstring"


def test_a_room_that_nobody_described_is_refused() -> None:
    with pytest.raises(ValueError, match="attic/"):
        draw(["errata/events.py", "attic/box.py"])


def test_a_file_without_a_docstring_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "silent.py").write_text("x = 1\n")
    monkeypatch.setattr("scripts.draw_map.ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"storage/silent\.py needs a docstring"):
        draw(["storage/silent.py"])
