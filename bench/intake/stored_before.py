"""Rows that were stored before: millions of predictions and their feedback, made inside the database."""

from typing import Final

from sqlalchemy import Connection, text

from storage.database import Database

#: How a dialect counts to n, and writes an id of version 7 for a millisecond.
_NUMBERS: Final = {
    "postgresql": "SELECT generate_series(CAST({first} AS bigint), {last}) AS i",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) SELECT i FROM n",
}
_ID: Final = {
    "postgresql": (
        "(lpad(to_hex({ms}), 12, '0') || '7{kind}' || substr(md5(i::text), 1, 2) || '8' || substr(md5(i::text), 3, 15))"
        "::uuid"
    ),
    "sqlite": "printf('%012x7{kind}%02x8%015x', {ms}, i % 256, (i * 7919) % 1000000007)",
}
_TIME_US: Final = "({end_us} - ({total} - i) * 3333)"
_PREDICTIONS: Final = """
INSERT INTO predictions (id, model, version, time_us, output, confidence, input_uri, latency_us, tags, slices, subject,
    session, source, shard, stored_us)
SELECT {prediction_id}, 'reply-writer', '6', {time_us}, '"thank you for your message, your parcel has left our house"',
    0.9, 's3://inputs/reply-writer/' || i, 30000, '{{"device":"ios","plan":"free","region":"kr-seoul"}}',
    '["device=ios","plan=free","region=kr-seoul"]', 'customer-' || i % 20000, 'session-' || i % 20000,
    'support/inbox', 0, {time_us}
FROM ({numbers}) AS numbers
"""
_FEEDBACK: Final = """
INSERT INTO feedback (id, prediction_id, action, time_us, display_us, who_kind, who_id, source, shard, stored_us)
SELECT {feedback_id}, {prediction_id}, 'accept', {time_us} + 20000000, 250000, 'user', 'customer-' || i % 20000,
    'support/inbox', 0, {time_us} + 20000000
FROM ({numbers}) AS numbers WHERE i % 10 < 3
"""
_OUTCOMES: Final = """
INSERT INTO outcomes (prediction_id, feedback_id, action, distance_ppm, delay_us, display_us)
SELECT {prediction_id}, {feedback_id}, 'accept', 0, 20000000, 250000
FROM ({numbers}) AS numbers WHERE i % 10 < 3
"""
#: A statement of the connection may take 60 s.
_AT_ONCE: Final = 200_000


def store_before(database: Database, n_rows: int, end_us: int) -> None:
    """Bring the predictions and feedback that are stored to about `n_rows` more, all of them before `end_us`.

    Windows are not made: `errata verify` would miss them.
    """
    total = round(n_rows / 1.3)
    for first in range(1, total + 1, _AT_ONCE):
        with database.write() as c:
            _store(c, database.dialect, first, min(first + _AT_ONCE - 1, total), total, end_us)


def _store(c: Connection, dialect: str, first: int, last: int, total: int, end_us: int) -> None:
    time_us = _TIME_US.format(end_us=end_us, total=total)
    parts = {
        "numbers": _NUMBERS[dialect].format(first=first, last=last),
        "time_us": time_us,
        "prediction_id": _ID[dialect].format(ms=f"({time_us} / 1000)", kind="0"),
        "feedback_id": _ID[dialect].format(ms=f"({time_us} / 1000)", kind="1"),
    }
    for statement in (_PREDICTIONS, _FEEDBACK, _OUTCOMES):
        c.execute(text(statement.format(**parts).replace("::", "\\:\\:")))
