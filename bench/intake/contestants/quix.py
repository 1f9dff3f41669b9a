"""Quix Streams: whole batch records through its DataFrame into a BatchingSink of our own.

Its guarantee: at least once. A checkpoint writes the sink first and commits the offsets then, so a crash between
the two delivers again, which the store does not mind. Its PostgreSQLSink inserts rows but keeps no windows, and
its own state (RocksDB) would not be in the database's transaction: hence a sink of our own.
"""

from itertools import chain
from typing import Any

import orjson
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from bench.intake.contestants.arguments import Told, read_arguments
from bench.intake.contestants.storing import Store

#: Records in one checkpoint: 28 to a partition, as many events as Errata has in one transaction.
_CHECKPOINT_RECORDS = 28 * 8


class StoreSink(BatchingSink):  # type: ignore[misc]
    """Stores what a checkpoint has of each partition in one transaction."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def write(self, batch: SinkBatch) -> None:
        """Decode and store."""
        events: list[Any] = list(chain.from_iterable(orjson.loads(item.value) for item in batch))
        self._store.store(events)


def build(told: Told) -> Application:
    """The application with one DataFrame for each topic."""
    app = Application(
        broker_address=told.bootstrap,
        consumer_group=told.group,
        auto_offset_reset="earliest",
        commit_every=_CHECKPOINT_RECORDS,
        commit_interval=5.0,
        state_dir=told.directory,
        loglevel="WARNING",
    )
    sink = StoreSink(told.store)
    for name in told.topics:
        app.dataframe(app.topic(name, value_deserializer="bytes", key_deserializer="bytes")).sink(sink)
    return app


if __name__ == "__main__":
    build(read_arguments()).run()
