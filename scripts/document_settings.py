"""Writes docs/settings.md from errata/settings.py: every setting with its type, its default and its comment.

Run it by `make schemas`; tests/promises/test_settings_documented.py keeps the page current.
"""

import ast
import inspect
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from errata import settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

_INTRODUCTION = """\
<!-- Written by `make schemas` from errata/settings.py; edit the comments there. -->
# Settings

Every process reads the same settings, later ones winning: the defaults below, then `errata.toml` (or the
file that `errata --settings FILE` or `ERRATA_SETTINGS` names), then the environment, where
`ERRATA_BROKER__BOOTSTRAP=kafka:9092` sets `bootstrap` under `[broker]`: two underscores separate levels, and
in names of models and channels `_` stands for `-`. A key that does not exist is an error that names the nearest
one that does.
"""


def render() -> str:
    """The page as Markdown: one section for each table of the TOML file, in the order of the code."""
    comments = _read_comments(inspect.getsource(settings))
    sections = [_INTRODUCTION]
    sections += _sections(settings.Settings, "", comments)
    return "\n".join(sections)


def _sections(struct: type[msgspec.Struct], table: str, comments: dict[str, dict[str, str]]) -> list[str]:
    """The section of `struct`, which is the TOML table named `table`, and those of the tables inside."""
    hints = get_type_hints(struct)
    rows: list[str] = []
    inner: list[str] = []
    for field in msgspec.structs.fields(struct):
        name = f"{table}.{field.name}" if table else field.name
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            inner += _sections(hint, name, comments)
        elif get_origin(hint) is dict and get_args(hint)[1] is not struct:
            inner += _sections(get_args(hint)[1], f"{name}.NAME", comments)
        else:
            comment = comments[struct.__name__][field.name]
            rows.append(f"| `{field.name}` | {_show_type(hint)} | {_show_default(field)} | {comment} |")
    section = []
    if table:
        section = [f"## `[{table}]`", "", inspect.cleandoc(struct.__doc__ or ""), ""]
    if rows:
        section += ["| setting | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    return section + inner


def _read_comments(source: str) -> dict[str, dict[str, str]]:
    """The `#:` comment above each field, by class and field."""
    lines = source.splitlines()
    comments: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = comments.setdefault(node.name, {})
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                above: list[str] = []
                number = statement.lineno - 2
                while lines[number].strip().startswith("#:"):
                    above.insert(0, lines[number].strip().removeprefix("#:").strip())
                    number -= 1
                fields[statement.target.id] = " ".join(above)
    return comments


def _show_type(hint: Any) -> str:
    names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    if hint in names:
        return names[hint]
    if get_origin(hint) is UnionType:
        return _show_type(next(each for each in get_args(hint) if each is not NoneType))
    if get_origin(hint) in (list, tuple):
        return f"list of {_show_type(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "table of tables like this one"
    return ", ".join(f"`{choice}`" for choice in get_args(hint))


def _show_default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return "none"
    if field.default == "":
        return "empty"
    if field.default is None:
        return "none"
    return f"`{_as_toml(field.default)}`"


def _as_toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_as_toml(each) for each in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 10_000:
        return f"{value:_}"
    if isinstance(value, float) and value >= 10_000:
        return f"{value:_.1f}"
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
