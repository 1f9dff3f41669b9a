"""Many rows in few statements, the same on SQLite and PostgreSQL; a retry stores nothing twice."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, compress, islice
from typing import Any, Final

import msgspec
import psycopg
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    FromClause,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

Rows = Sequence[Mapping[str, Any]]

#: Some rows of a table: each column's name with one value a row.
Columns = Mapping[str, Sequence[Any]]

#: Where the five groups of a UUID are in its 32 digits, which is how SQLite keeps it.
_UUID_PARTS: Final = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))

#: Rows that one statement is given at most, so that neither side builds a statement of many megabytes.
_ROWS_AT_ONCE: Final = 1000
#: Values in one of SQLite's statements: with some fifty rows it takes two thirds of the time of one by one.
_SQLITE_VALUES_AT_ONCE: Final = 16_000


#: How COPY's text format writes what would end a value or a row, or be taken for NULL, the backslash first.
_COPY_ESCAPES: Final = (("\\", r"\\"), ("\n", r"\n"), ("\r", r"\r"), ("\t", r"\t"), ("\x02", r"\x02"))
#: A sign that nobody writes and that needs no backslash.
_COPY_NULL: Final = "\x02"


def insert_new(c: Connection, table: Table, rows: Rows) -> None:
    """Insert those of `rows` (column to value, all with the same columns) whose key is not in `table` yet."""
    for some in _portions(rows):
        _execute_insert(c, table, some, _ignore)


def list_seen(c: Connection, table: Table, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that are in `table`."""
    if not ids:
        return set()
    return set(c.scalars(select(as_text(c, table.c.id)).where(is_one_of(c, table.c.id, ids))))


def insert_by_id(c: Connection, table: Table, columns: Columns) -> None:
    """Insert rows whose `id` is not in `table` yet, in the order of ids.

    Under PostgreSQL an id that another transaction is inserting is waited for, and raises Malformed if that
    transaction commits: whoever tries again then sees it.
    """
    ids = columns["id"]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    insert_columns(c, table, columns if order == list(range(len(ids))) else take(columns, order))


def insert_columns(c: Connection, table: Table, columns: Columns) -> None:
    """Insert rows that are not in `table` yet, as fast as the database takes them: by COPY or by one statement.

    Raises the driver's own errors (storage/database.py translates them).
    """
    n_rows = len(next(iter(columns.values())))
    if not n_rows:
        return
    raw = c.connection.driver_connection
    names = ", ".join(c.dialect.identifier_preparer.quote(name) for name in columns)
    if c.dialect.name == "postgresql":
        assert isinstance(raw, psycopg.Connection)
        with (
            raw.cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({names}) FROM STDIN (NULL '{_COPY_NULL}')") as copy,
        ):
            # In portions, so that the server stores the one while the next is written.
            for start in range(0, n_rows, _ROWS_AT_ONCE):
                copy.write(
                    _as_copy_rows([values[start : start + _ROWS_AT_ONCE] for values in columns.values()])
                )
        return
    assert isinstance(raw, sqlite3.Connection)
    values = [
        _as_each_digits(values) if isinstance(table.c[name].type, Uuid) else values
        for name, values in columns.items()
    ]
    insert, marks = f"INSERT INTO {table.name} ({names}) VALUES", f"({', '.join('?' * len(columns))})"
    at_once = max(1, _SQLITE_VALUES_AT_ONCE // len(columns))
    rows = zip(*values, strict=True)
    while len(some := list(islice(rows, at_once))) == at_once:
        raw.execute(f"{insert} {', '.join([marks] * at_once)}", list(chain.from_iterable(some)))
    raw.executemany(f"{insert} {marks}", some)


def _as_copy_rows(columns: Sequence[Sequence[Any]]) -> bytes:
    """Rows, of which there is at least one, as COPY reads them. Raises psycopg.DataError for a NUL."""
    n_rows, texts = len(columns[0]), [_as_texts(values) for values in columns]
    # Bytes are searched several times faster than text that is not ASCII, and are what is sent.
    rows = _join_rows(texts)
    if b"\0" in rows:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    n_null = sum(
        values.count(None) for values, text in zip(columns, texts, strict=True) if text is not values
    )
    # Nearly always the only signs of this kind are ours, and what is to be escaped can be so in all values at once.
    found = [rows.count(sign) for sign in (b"\n", b"\t", b"\r", _COPY_NULL.encode())]
    if found == [n_rows, n_rows * (len(columns) - 1), 0, n_null]:
        return rows.replace(b"\\", rb"\\")
    return _join_rows(
        [
            [_COPY_NULL if value is None else _escape(text) for value, text in zip(values, each, strict=True)]
            for values, each in zip(columns, texts, strict=True)
        ]
    )


def _join_rows(texts: Sequence[Sequence[str]]) -> bytes:
    return ("\n".join(map("\t".join, zip(*texts, strict=True))) + "\n").encode()


def _as_texts(values: Sequence[Any]) -> Sequence[str]:
    """The values of a column as texts, in which nothing is escaped yet; those of texts alone are themselves."""
    kinds = set(map(type, values))
    if kinds == {str}:
        return values
    if kinds == {int}:
        # Some columns have one value in all rows.
        alike = values.count(values[0]) == len(values)
        return [str(values[0])] * len(values) if alike else list(map(int.__repr__, values))
    if bytes in kinds:
        return [_COPY_NULL if value is None else rf"\x{value.hex()}" for value in values]
    if kinds == {str, type(None)}:
        return [_COPY_NULL if value is None else value for value in values]
    return [_COPY_NULL if value is None else str(value) for value in values]


def _escape(text: str) -> str:
    for sign, escaped in _COPY_ESCAPES:
        text = text.replace(sign, escaped)
    return text


def _as_each_digits(ids: Sequence[str | None]) -> Sequence[str | None]:
    """Ids as SQLite keeps them."""
    try:
        return ",".join(ids).replace("-", "").split(",")  # type: ignore[arg-type]
    except TypeError:
        return [None if id_ is None else id_.replace("-", "") for id_ in ids]


def take(columns: Columns, chosen: Sequence[int]) -> Columns:
    """The rows at the places in `chosen`, in that order."""
    return {name: [values[place] for place in chosen] for name, values in columns.items()}


def keep(columns: Columns, which: Sequence[bool]) -> Columns:
    """The rows for which `which` is true."""
    return {name: list(compress(values, which)) for name, values in columns.items()}


def put_rows(c: Connection, table: Table, rows: Rows) -> None:
    """Insert `rows` (all with the same columns), each in place of the one with its key, if there is one."""
    for some in _portions(rows):
        _execute_insert(c, table, some, _replace)


def is_one_of(c: Connection, tested: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether `tested` is among `values`, however many they are: they travel as one parameter."""
    if not isinstance(tested.type, Uuid):
        listed = list_keys(c, [tested], [(value,) for value in values])
        return tested.in_(select(listed.c[tested.name]))
    # UUIDs are the keys of nearly everything, and as one text they are read at once.
    if c.dialect.name == "postgresql":
        # By a sub-select, so that the planner does not weigh each of thousands, and a cast, so that it is one array.
        array = select(_as_uuids(values)).scalar_subquery()
        return tested == func.any(cast(array, postgresql.ARRAY(Uuid)))
    return tested.in_(select(func.json_each(_as_digits(values)).table_valued("value").c.value))


def in_span(tested: Column[int], since_us: int | None, until_us: int | None) -> list[ColumnElement[bool]]:
    """`since_us` <= `tested` < `until_us`, as conditions; a side that is None is open."""
    conditions = []
    if since_us is not None:
        conditions.append(tested >= since_us)
    if until_us is not None:
        conditions.append(tested < until_us)
    return conditions


def as_text(c: Connection, id_column: Column[Any]) -> ColumnElement[str]:
    """An id as text, written by the database: drivers would make an object of it first, which takes longer."""
    if c.dialect.name == "postgresql":
        return cast(id_column, Text).label(id_column.name)
    return _join_digits(id_column)


@cache
def _join_digits(id_column: Column[Any]) -> ColumnElement[str]:
    """An id of a table as text under SQLite, made once: a run of few events took a fifth of its time for it."""
    digits = type_coerce(id_column, Text)
    parts = [func.substr(digits, start, length, type_=Text) for start, length in _UUID_PARTS]
    text: ColumnElement[str] = parts[0]
    for part in parts[1:]:
        text = text + "-" + part
    return text.label(id_column.name)


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


def _as_uuids(ids: Sequence[str]) -> ColumnElement[Any]:
    """Ids as PostgreSQL takes them in one text."""
    return cast(bindparam(None, "{" + ",".join(ids) + "}", Text), postgresql.ARRAY(Uuid))


def _as_digits(ids: Sequence[str]) -> str:
    """Ids as SQLite keeps them, in one text."""
    return '["' + ",".join(ids).replace("-", "").replace(",", '","') + '"]' if ids else "[]"


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


def _as_array(type_: TypeEngine[Any], values: Sequence[Any]) -> ColumnElement[Any]:
    """Values of one type as PostgreSQL takes them in one text, which the driver is slow to write."""
    if isinstance(type_, Integer | Float):
        texts = ["NULL" if value is None else str(value) for value in values]
    elif isinstance(type_, LargeBinary):
        texts = ["NULL" if value is None else rf'"\\x{value.hex()}"' for value in values]
    else:
        texts = ["NULL" if value is None else _quote(value) for value in values]
    # A cast to a type with a length would cut off what does not fit, where it has to be refused.
    element: TypeEngine[Any] = Text() if isinstance(type_, String) else type_
    return cast(bindparam(None, "{" + ",".join(texts) + "}", Text), postgresql.ARRAY(element))


def _quote(text: str) -> str:
    """An element of an array as PostgreSQL reads it. Raises psycopg.DataError for a NUL."""
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'
