"""A stream worker that stores into a small SQLite file: run as `python storing_worker.py FILE SETTINGS_JSON`.

Every record of a run is a row, in one transaction with the partition's position, as the real transaction does
it. The file `FILE.unavailable` stands for a database that is down, `FILE.slow` for one that takes its time.
"""

import logging
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from errata.errors import Behind, Unavailable
from errata.settings import Settings
from storage.records import Look, Membership
from streams.driver import FetchedRun
from streams.metrics import Metrics
from streams.timers import Timer
from streams.worker import run_worker


def open_store(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=20)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS record (topic, partition, offset, value)")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS position "
        "(topic, partition, next_offset, topic_id, PRIMARY KEY (topic, partition))"
    )
    connection.execute("CREATE TABLE IF NOT EXISTS run (topic, partition, first_offset, next_offset)")
    return connection


class Store:
    def __init__(self, file: Path) -> None:
        self._unavailable = file.with_suffix(".unavailable")
        self._slow = file.with_suffix(".slow")
        self._connection = open_store(file)

    def store_run(self, run: FetchedRun) -> bool:
        if self._slow.exists():
            time.sleep(0.05)
        if self._unavailable.exists():
            raise Unavailable("the store is away")
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._store(run)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return False

    def _store(self, run: FetchedRun) -> None:
        connection, partition = self._connection, (run.topic, run.partition)
        row = connection.execute(
            "SELECT next_offset FROM position WHERE topic = ? AND partition = ?", partition
        ).fetchone()
        stored = row[0] if row else 0
        if stored < run.first_offset:
            raise Behind(
                f"a hole in {partition}: stored up to {stored}, the run starts at {run.first_offset}"
            )
        connection.executemany(
            "INSERT INTO record VALUES (?, ?, ?, ?)",
            [(*partition, each.offset, each.value) for each in run.records if each.offset >= stored],
        )
        connection.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?)", (*partition, run.first_offset, run.next_offset)
        )
        connection.execute(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)",
            (*partition, max(stored, run.next_offset), run.topic_id),
        )

    def stored_positions(
        self, partitions: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[int, str]]:
        rows = self._connection.execute(
            "SELECT topic, partition, next_offset, topic_id FROM position"
        ).fetchall()
        return {(row[0], row[1]): (row[2], row[3]) for row in rows if (row[0], row[1]) in partitions}


class NoLifelines:
    """Of a worker that is alone in the world."""

    def look(self, membership: Membership) -> Look:
        return Look(is_continued=True, others=())

    def bury(self, number: int) -> None:
        raise AssertionError("there is nobody to bury")

    def end(self) -> None:
        pass


def main(file: Path, settings: Settings) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    store = Store(file)
    tick = Timer("tick", 0.5, lambda: file.with_suffix(".tick").touch())
    return run_worker(
        settings,
        store_run=store.store_run,
        stored_positions=store.stored_positions,
        paused_partitions=list,
        timers=[tick],
        lifelines=NoLifelines(),
        metrics=Metrics(),
        storing_threads=1,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Settings)))
