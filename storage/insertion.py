"""Rows that may be stored already: a retry stores nothing twice, and what was stored first stays."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(c: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those of `rows` (column to value) whose key is not in `table` yet."""
    if not rows:
        return
    dialect = postgresql if c.dialect.name == "postgresql" else sqlite
    c.execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))
