"""Draws the map of the tree in README.md: every room and every Python file in it, each with what it is for.

A file speaks for itself: its comment is the beginning of its docstring. Run it by `make schemas`;
tests/promises/test_readme_map.py keeps the map current.
"""

import ast
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN = "<!-- The map is written by `make schemas` from the docstrings. -->\n```text\n"
END = "```\n<!-- The map ends here. -->\n"

#: What lies at the top, in the order in which a newcomer should read it.
ROOMS = {
    "errata/": "what a service installs (events, client, resolver), and the errata command",
    "quality/": "what the numbers mean; pure: no I/O, no clock",
    "storage/": "what we remember; the only room that knows SQL",
    "streams/": "Kafka in, facts out; the only room that knows Faust",
    "labeling/": "which examples are worth a label, and how they get one",
    "retrain/": "from labels to a released version; the only room that knows PyTorch",
    "dashboard/": "screens for people; the only room that knows Streamlit",
    "migrations/": "how the tables came to be (Alembic)",
    "examples/": "the demo's services: a card reader and a translator",
    "tests/": "the same tree again, and promises/ that hold for the repository",
    "bench/": "benchmarks: what the figures in the documents were measured with",
    "scripts/": "what the Makefile runs",
    "schemas/": "JSON Schema and AsyncAPI of the events, generated",
    "docs/": "pages and pictures",
    "deploy/": "what docker-compose.yml mounts",
    ".ci/": "what has to pass before a change lands",
}
#: Rooms of which the map shows no files: tests mirror the other rooms.
CLOSED = {"tests/"}
#: Wider comments are cut at a comma, colon or bracket where they have one.
COMMENT_COLUMNS = 76


def list_tree() -> list[str]:
    """The paths of every file that is tracked or would be, seen from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted({line for line in listed.stdout.splitlines() if (ROOT / line).exists()})


def draw(paths: Sequence[str]) -> str:
    """The map of a tree with these files; ValueError names a room or file that does not say what it is."""
    rooms = {path.split("/")[0] + "/" for path in paths if "/" in path}
    if unknown := rooms - ROOMS.keys():
        raise ValueError(f"say in scripts/draw_map.py, under ROOMS, what {sorted(unknown)} are for")
    lines: list[tuple[str, str]] = []
    for room, comment in ROOMS.items():
        if room in rooms:
            lines.append((room, comment))
            if room not in CLOSED:
                lines += _draw_room(room, [path for path in paths if path.startswith(room)])
    width = max(len(name) for name, _ in lines) + 2
    return "".join(f"{name:<{width}}{comment}\n" for name, comment in lines)


def read_readme() -> tuple[str, str, str]:
    """README.md in three parts: before the map, the map, and after it."""
    before, begin, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    drawn, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has lost the marks of its map:\n{BEGIN}...\n{END}")
    return before + begin, drawn, end + after


def _draw_room(room: str, paths: Sequence[str]) -> list[tuple[str, str]]:
    """Its Python files; those of a package inside it come last, under the package's own line."""
    lines: list[tuple[str, str]] = []
    shown: set[str] = {room}
    for path in sorted(paths, key=lambda path: (path.count("/") > 1, path)):
        package, name = path.rsplit("/", 1)
        if not name.endswith(".py") or name == "__main__.py":
            continue
        indent = "    " * path.count("/")
        if f"{package}/" not in shown:
            shown.add(f"{package}/")
            name_of_package = package.rsplit("/", 1)[1]
            lines.append((f"{indent[4:]}{name_of_package}/", _first_words(f"{package}/__init__.py")))
        if name != "__init__.py":
            lines.append((f"{indent}{name}", _first_words(path)))
    return lines


def _first_words(path: str) -> str:
    """How the docstring of a file begins: its first sentence, or less of it where that is long."""
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{path} needs a docstring: its first sentence goes into the README's map")
    words = re.split(r"[.;](?:\s|$)", " ".join(docstring.split()), maxsplit=1)[0].rstrip(":")
    while len(words) > COMMENT_COLUMNS and (parts := re.findall(r".*(?=[,:] | \()", words)):
        words = parts[0]
    return words


if __name__ == "__main__":
    before, _, after = read_readme()
    README.write_text(before + draw(list_tree()) + after, encoding="utf-8")
