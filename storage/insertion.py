"""Many rows in few statements, the same on SQLite and PostgreSQL; a retry stores nothing twice."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Connection, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import JSON, Text, Uuid

Rows = Sequence[Mapping[str, Any]]

#: Values that one statement is given at most; both databases take twice as many.
_VALUES_AT_ONCE: Final = 16_000


def insert_new(c: Connection, table: Table, rows: Rows) -> None:
    """Insert those of `rows` (column to value) whose key is not in `table` yet."""
    if rows:
        c.execute(_insert(c, table).on_conflict_do_nothing(), list(rows))


def put_rows(c: Connection, table: Table, rows: Rows) -> None:
    """Insert `rows` (all with the same columns), each in place of the one with its key, if there is one."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    statement = _insert(c, table)
    values = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    c.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), list(rows))
