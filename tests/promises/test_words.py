"""Names say what is inside, and the project names no machine but the reader's."""

import re
from pathlib import Path, PurePosixPath

import pytest

from scripts.draw_map import ROOT, list_tree

#: A file of this name could hold anything, so nobody finds anything in it.
EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}

#: Hosts of registries and absolute paths of one machine, written so that this file does not contain them.
FORBIDDEN = {
    "a package registry": r"\b(pypi|pythonhosted|npmjs|debian|pytorch)\.(org|com)\b",
    "a path of one machine": r"(?<![\w.~})*-])/(work|root|home|Users|opt/pypi|opt/wheels)/",
}
#: Text that comes from elsewhere, word for word.
VERBATIM = {"LICENSE"}


def read_text(path: str) -> str:
    """Its text, or nothing for a binary file."""
    content = (ROOT / path).read_bytes()
    return "" if b"\0" in content else content.decode("utf-8")


def find(pattern: str, text: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(pattern, line)]


def test_no_file_or_directory_has_an_empty_name() -> None:
    found = {
        path
        for path in list_tree()
        for part in PurePosixPath(path).parts
        if EMPTY_NAMES & set(re.split(r"[._-]", Path(part).stem.lower()))
    }
    assert not found, "name what is inside"


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names_a_registry_or_a_path_of_one_machine(what: str) -> None:
    found = {
        path: lines
        for path in list_tree()
        if path not in VERBATIM and (lines := find(FORBIDDEN[what], read_text(path)))
    }
    assert not found


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a package registry", "--index-url https://" + "pypi." + "org/simple"),
        ("a package registry", "https://download." + "pytorch." + "org/whl/cpu"),
        ("a path of one machine", "see /" + "home/ada/errata"),
        ("a path of one machine", 'open("/' + 'root/x")'),
    ],
)
def test_a_registry_or_a_path_is_found(what: str, line: str) -> None:
    assert find(FORBIDDEN[what], line) == [line]


@pytest.mark.parametrize("line", ["the worker/root/leaf", "var/home/x", "GET /working", "~/work/errata"])
def test_other_words_are_left_alone(line: str) -> None:
    assert find(FORBIDDEN["a path of one machine"], line) == []
