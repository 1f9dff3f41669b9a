"""The same job for every other framework: facts once, outcomes and windows with them, in one transaction.

As one would write it by hand with care: many rows by COPY into a staging table (PostgreSQL) or `executemany`
(SQLite), what is there already is left out, and only what is new moves the windows. So a record that is delivered
again changes nothing, which with Kafka's at-least-once is the best that a sink can promise by itself.

It does less than Errata: no validation, dead letters, ledger, position in the same transaction, edit distances,
reverts or latency histograms, and it is right only while one process at a time stores.
"""

import json
import os
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

Event = Mapping[str, Any]
Row = tuple[Any, ...]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MINUTE_US: Final = 60_000_000
#: From how many rows on COPY is faster than a statement for each.
_MANY: Final = 20

_PREDICTION: Final = (
    "id", "model", "version", "time_us", "output", "confidence", "probabilities", "input", "input_uri", "features",
    "latency_us", "tags", "slices", "subject", "session", "source", "shard", "stored_us",
)  # fmt: skip
_FEEDBACK: Final = (
    "id", "prediction_id", "action", "corrected", "time_us", "display_us", "who_kind", "who_id", "source", "shard",
    "stored_us",
)  # fmt: skip
_OUTCOME: Final = ("prediction_id", "feedback_id", "action", "distance_ppm", "delay_us", "display_us")
_WINDOW: Final = (
    "model", "version", "slice", "minute_us", "shard", "n", "n_edit", "n_accept", "n_reject", "n_distance",
    "distance_ppm", "distance_ppm_squares", "served", "shown",
)  # fmt: skip
_COUNTS: Final = ("n", "n_edit", "n_accept", "n_reject")
_PUT_OUTCOME: Final = (
    "ON CONFLICT (prediction_id) DO UPDATE SET feedback_id = excluded.feedback_id, action = excluded.action, "
    "distance_ppm = NULL, delay_us = excluded.delay_us, display_us = excluded.display_us"
)
_ADD_WINDOW: Final = "ON CONFLICT (model, version, slice, minute_us, shard) DO UPDATE SET " + ", ".join(
    f"{name} = windows.{name} + excluded.{name}" for name in _COUNTS
)
#: Whatever feedback there is for some predictions that are stored, and what counted before; the last one counts.
_PAIRS: Final = """
SELECT p.id, p.model, p.version, p.time_us, p.slices, f.id, f.action, f.time_us, f.display_us, o.feedback_id, o.action
FROM predictions p
JOIN feedback f ON f.prediction_id = p.id
LEFT JOIN outcomes o ON o.prediction_id = p.id
WHERE p.id {among} ORDER BY f.time_us, f.id
"""


class Postgres:
    """By psycopg, with COPY for many rows."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done within, or nothing."""
        with self._connection.transaction():
            yield

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> set[str]:
        """Insert the rows (the id is the first value) that are not there yet; return the ids of these."""
        names = ", ".join(columns)
        with self._connection.cursor() as cursor:
            if len(rows) < _MANY:
                values = ", ".join(["%s"] * len(columns))
                statement = (
                    f"INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING RETURNING id"  # noqa: S608
                )
                found = [cursor.execute(statement.encode(), row).fetchone() for row in rows]
                return {str(row[0]) for row in found if row is not None}
            staging = f"staging_{table}"
            cursor.execute(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} (LIKE {table}) ON COMMIT DELETE ROWS".encode()
            )
            with cursor.copy(f"COPY {staging} ({names}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
            cursor.execute(
                f"INSERT INTO {table} ({names}) SELECT {names} FROM {staging} ORDER BY id "  # noqa: S608
                "ON CONFLICT DO NOTHING RETURNING id".encode()
            )
            return {str(row[0]) for row in cursor}

    def put(self, table: str, columns: Sequence[str], rows: Sequence[Row], resolve: str) -> None:
        """Insert rows, with what is to be done about those that are there."""
        values = ", ".join(["%s"] * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) {resolve}"  # noqa: S608
        with self._connection.cursor() as cursor:
            cursor.executemany(statement.encode(), rows)

    def read_pairs(self, prediction_ids: Sequence[str]) -> list[Row]:
        """The rows of _PAIRS."""
        found = self._connection.execute(
            _PAIRS.format(among="= ANY(%s::uuid[])").encode(), [list(prediction_ids)]
        )
        return [(str(row[0]), *row[1:5], str(row[5]), *row[6:9], str(row[9]), row[10]) for row in found]


class Sqlite:
    """By the standard library, as durable as Errata opens it, and with as much memory."""

    def __init__(self, path: str) -> None:
        # Stock Faust calls from the threads of its event loop, one at a time.
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA cache_size=-32768")
        self._connection.execute("PRAGMA wal_autocheckpoint=4000")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done within, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> set[str]:
        """Insert the rows (the id is the first value) that are not there yet; return the ids of these."""
        ids = json.dumps([row[0] for row in rows])
        among = f"SELECT id FROM {table} WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
        seen = {row[0] for row in self._connection.execute(among, [ids])}
        new = [row for row in rows if row[0] not in seen]
        self.put(table, columns, new, "")
        return {row[0] for row in new}

    def put(self, table: str, columns: Sequence[str], rows: Sequence[Row], resolve: str) -> None:
        """Insert rows, with what is to be done about those that are there."""
        values = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) {resolve}"  # noqa: S608
        self._connection.executemany(statement, rows)

    def read_pairs(self, prediction_ids: Sequence[str]) -> list[Row]:
        """The rows of _PAIRS."""
        among = "IN (SELECT value FROM json_each(?))"
        return self._connection.execute(_PAIRS.format(among=among), [json.dumps(prediction_ids)]).fetchall()


Connection = Postgres | Sqlite


def connect(url: str) -> Connection:
    """Connect to `postgresql://...` or `sqlite:///PATH`."""
    return Sqlite(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else Postgres(url)


class Store:
    """Stores until there were `n_events`, or for `seconds`; then prints how many and how long, and ends the process."""

    def __init__(self, connection: Connection, n_events: int, seconds: float) -> None:
        self._connection = connection
        self._n_events = n_events
        self._seconds = seconds
        self._as_id = (lambda text: text.replace("-", "")) if isinstance(connection, Sqlite) else str
        self._started: float | None = None
        self._n = 0

    def store(self, events: Sequence[Event]) -> None:
        """Store events in one transaction."""
        if self._started is None:
            self._started = time.perf_counter()
        with self._connection.transaction():
            self._store(events)
        self._n += len(events)
        spent = time.perf_counter() - self._started
        if self._n >= self._n_events or spent >= self._seconds:
            sys.stdout.write(json.dumps({"events": self._n, "seconds": spent}) + "\n")
            sys.stdout.flush()
            # No farewell to the broker: it would be measured by nobody and can take long.
            os._exit(0)

    def _store(self, events: Sequence[Event]) -> None:
        made, given = self._rows_of(events)
        new = self._connection.insert_new("predictions", _PREDICTION, list(made.values())) if made else set()
        new_given = (
            self._connection.insert_new("feedback", _FEEDBACK, list(given.values())) if given else set()
        )
        moved: dict[Row, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for event_id in new:
            row = made[event_id]
            _move(moved, row[1], row[2], row[3], row[12], "n", 1)
        self._pair(sorted(new | {given[event_id][1] for event_id in new_given}), moved)
        rows = [(*key, 0, *counts, 0, 0, 0, b"", b"") for key, counts in sorted(moved.items()) if any(counts)]
        if rows:
            self._connection.put("windows", _WINDOW, rows, _ADD_WINDOW)

    def _pair(self, prediction_ids: Sequence[str], moved: dict[Row, list[int]]) -> None:
        last = (
            {pair[0]: pair for pair in self._connection.read_pairs(prediction_ids)} if prediction_ids else {}
        )
        outcomes = []
        for (prediction_id, model, version, time_us, slices, feedback_id, action, given_us, display_us,
             old_id, old_action) in last.values():  # fmt: skip
            if feedback_id == old_id:
                continue
            if old_action is not None:
                _move(moved, model, version, time_us, slices, f"n_{old_action}", -1)
            _move(moved, model, version, time_us, slices, f"n_{action}", 1)
            outcomes.append((prediction_id, feedback_id, action, None, given_us - time_us, display_us))
        if outcomes:
            self._connection.put("outcomes", _OUTCOME, outcomes, _PUT_OUTCOME)

    def _rows_of(self, events: Iterable[Event]) -> tuple[dict[str, Row], dict[str, Row]]:
        stored_us = time.time_ns() // 1000
        made: dict[str, Row] = {}
        given: dict[str, Row] = {}
        for event in events:
            event_id, data = self._as_id(event["id"]), event["data"]
            time_us = (datetime.fromisoformat(event["time"]) - _EPOCH) // _MICROSECOND
            if event["type"] == "errata.prediction.v1":
                tags = data.get("tags", {})
                slices = json.dumps([f"{tag}={value}" for tag, value in sorted(tags.items())])
                made[event_id] = (
                    event_id, data["model"], data["version"], time_us, json.dumps(data["output"]),
                    data.get("confidence"), _text(data.get("probabilities")), _text(data.get("input")),
                    data.get("input_uri"),
                    _text(data.get("features")), _microseconds(data.get("latency_ms")), json.dumps(tags), slices,
                    data.get("subject"), data.get("session"), event["source"], 0, stored_us,
                )  # fmt: skip
            else:
                who = data.get("who", {})
                given[event_id] = (
                    event_id, self._as_id(data["prediction_id"]), data["action"], _text(data.get("corrected")), time_us,
                    _microseconds(data.get("display_ms")), who.get("kind", "user"), who.get("id"), event["source"], 0,
                    stored_us,
                )  # fmt: skip
        return made, given


def _move(
    moved: dict[Row, list[int]], model: str, version: str, time_us: int, slices: str, count: str, by: int
) -> None:
    minute_us = time_us - time_us % _MINUTE_US
    for name in ("all", *json.loads(slices)):
        moved[model, version, name, minute_us][_COUNTS.index(count)] += by


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _microseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)
