"""The control: a worker as one writes it at first. A campaign that does not make it fail proves nothing.

Stock Faust with its own acknowledgement. Rows are gathered and inserted every two seconds, as bulk inserts want it,
and nothing looks whether a row is there already: what waits when the process dies was acknowledged, and what was
inserted but not acknowledged comes again.
"""

import asyncio
import sqlite3
from pathlib import Path

import faust
from sqlalchemy import make_url

from errata.settings import Settings
from errata.topics import EVENT_TOPICS
from errata.wire import decode_record


def run_naive_worker(settings: Settings) -> int:
    """Store ids of events until killed."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    broker = settings.broker
    app = faust.App(
        settings.worker.group,
        broker=f"kafka://{broker.bootstrap}",
        autodiscover=False,
        origin="bench.chaos",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=broker.session_timeout_seconds,
        broker_heartbeat_interval=broker.session_timeout_seconds / 10,
        broker_rebalance_timeout=broker.rebalance_timeout_seconds,
        broker_commit_interval=0.5,
        datadir=str(_file_of(settings).parent / "faust"),
    )
    connection = sqlite3.connect(_file_of(settings), isolation_level=None, timeout=20)
    connection.execute("CREATE TABLE IF NOT EXISTS naive (id TEXT)")
    gathered: list[tuple[str]] = []

    async def gather(stream: faust.StreamT) -> None:
        async for event in stream.events():
            decoded = decode_record(event.message.headers, event.message.value)
            gathered.extend((held.id,) for _, held in decoded.events)

    async def insert() -> None:
        rows = gathered.copy()
        gathered.clear()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO naive VALUES (?)", rows)
        connection.execute("COMMIT")

    for topic in EVENT_TOPICS:
        channel = app.topic(
            topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        app.agent(channel, name=topic)(gather)
    app.timer(2.0)(insert)
    worker = faust.Worker(app, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()
    return 0


def read_naive_ids(settings: Settings) -> list[str]:
    """Every id that was stored, as often as it was."""
    connection = sqlite3.connect(_file_of(settings), timeout=20)
    try:
        return [row[0] for row in connection.execute("SELECT id FROM naive")]
    finally:
        connection.close()


def _file_of(settings: Settings) -> Path:
    return Path(str(make_url(settings.database.url).database))
