"""Many rows in few statements, the same on SQLite and PostgreSQL; a retry stores nothing twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Float,
    FromClause,
    Table,
    Uuid,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

Rows = Sequence[Mapping[str, Any]]

#: Rows that one statement is given at most, so that neither side builds a statement of many megabytes.
_ROWS_AT_ONCE: Final = 1000


def insert_new(c: Connection, table: Table, rows: Rows) -> None:
    """Insert those of `rows` (column to value, all with the same columns) whose key is not in `table` yet."""
    for some in _portions(rows):
        _execute_insert(c, table, some, _ignore)


def insert_unseen(c: Connection, table: Table, rows: Rows) -> set[str]:
    """Insert those of `rows` whose `id` is not in `table` yet, in the order of ids, and return these ids.

    Under PostgreSQL an id that another transaction is inserting is waited for.
    """
    unseen: set[str] = set()
    for some in _portions(sorted(rows, key=lambda row: str(row["id"]))):
        if c.dialect.name == "postgresql":
            statement = _insert_arrays(table, some).on_conflict_do_nothing().returning(table.c.id)
            unseen.update(c.scalars(statement))
        else:
            # The only writer may look first. SQLite inserts row by row, and RETURNING would make that slow.
            ids = [row["id"] for row in some]
            seen = set(c.scalars(select(table.c.id).where(is_one_of(c, table.c.id, ids))))
            rest = [row for row in some if row["id"] not in seen]
            if rest:
                c.execute(sqlite.insert(table), rest)
            unseen.update(row["id"] for row in rest)
    return unseen


def put_rows(c: Connection, table: Table, rows: Rows) -> None:
    """Insert `rows` (all with the same columns), each in place of the one with its key, if there is one."""
    for some in _portions(rows):
        _execute_insert(c, table, some, _replace)


def is_one_of(c: Connection, tested: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether `tested` is among `values`, however many they are: they travel as one parameter."""
    listed = list_keys(c, [tested], [(value,) for value in values])
    return tested.in_(select(listed.c[tested.name]))


def in_span(tested: Column[int], since_us: int | None, until_us: int | None) -> list[ColumnElement[bool]]:
    """`since_us` <= `tested` < `until_us`, as conditions; a side that is None is open."""
    conditions = []
    if since_us is not None:
        conditions.append(tested >= since_us)
    if until_us is not None:
        conditions.append(tested < until_us)
    return conditions


def list_keys(c: Connection, columns: Sequence[Column[Any]], keys: Sequence[tuple[Any, ...]]) -> FromClause:
    """A table named `listed` with `columns` and one row for each of `keys`, to join with."""
    names = [each.name for each in columns]
    if c.dialect.name == "postgresql":
        arrays = [_as_array(each.type, [key[place] for key in keys]) for place, each in enumerate(columns)]
        typed = [column(each.name, each.type) for each in columns]
        return func.unnest(*arrays).table_valued(*typed).render_derived(name="listed")
    # SQLite keeps a UUID as 32 hexadecimal digits.
    as_digits = [isinstance(each.type, Uuid) for each in columns]
    stored = [
        [part.replace("-", "") if digits else part for part, digits in zip(key, as_digits, strict=True)]
        for key in keys
    ]
    each_key = func.json_each(msgspec.json.encode(stored).decode()).table_valued("value", name="key")
    parts = [
        func.json_extract(each_key.c.value, f"$[{place}]", type_=each.type).label(name)
        for place, (name, each) in enumerate(zip(names, columns, strict=True))
    ]
    return select(*parts).subquery("listed")


def _portions(rows: Rows) -> Iterator[list[Mapping[str, Any]]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield list(rows[start : start + _ROWS_AT_ONCE])


def _execute_insert(c: Connection, table: Table, rows: Rows, resolve: "_Resolve") -> None:
    if c.dialect.name == "postgresql":
        c.execute(resolve(_insert_arrays(table, rows), rows))
    else:
        c.execute(resolve(sqlite.insert(table), rows), list(rows))


_Insert = postgresql.Insert | sqlite.Insert
_Resolve = Callable[[_Insert, Rows], _Insert]


def _ignore(statement: _Insert, _rows: Rows) -> _Insert:
    return statement.on_conflict_do_nothing()


def _replace(statement: _Insert, rows: Rows) -> _Insert:
    keys = [each.name for each in statement.table.primary_key]
    values = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


def _insert_arrays(table: Table, rows: Rows) -> postgresql.Insert:
    """One array a column, which is several times faster than a parameter for every value."""
    names = list(rows[0])
    arrays = [_as_array(table.c[name].type, [row[name] for row in rows]) for name in names]
    listed = func.unnest(*arrays).table_valued(*names).render_derived(name="listed")
    return postgresql.insert(table).from_select(names, select(listed))


def _as_array(type_: TypeEngine[Any], values: list[Any]) -> BindParameter[Any]:
    if isinstance(type_, Float):
        # The driver takes no list that mixes whole numbers with others.
        values = [None if value is None else float(value) for value in values]
    return bindparam(None, values, type_=postgresql.ARRAY(type_))
