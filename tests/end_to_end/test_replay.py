"""A replay of dead letters that is killed wherever that hurts, again and again: each event counts once."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import func, select

from errata.events import Event
from errata.settings import Broker, Model, Task
from errata.topics import FEEDBACK, PREDICTIONS, ensure_topics
from storage.database import Database
from storage.intake import apply
from storage.ledger import read_ledger_summary
from storage.tables import dead_letters, predictions
from storage.verify import verify
from streams.decoding import decode_run
from streams.driver import FetchedRecord, FetchedRun
from tests.builders import START_US, a_feedback_event, a_prediction_event, an_arrival

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "errata" / "command" / "dying_replay.py"
SETTINGS = """
[broker]
partitions = 2

[models.newcomer]
task = { kind = "text" }
"""
MODELS = {"newcomer": Model(task=Task(kind="text"))}
N = 40
#: Of the predictions; long before now, for what is in the future is not sent again.
TIME_US = START_US - 400 * 86_400_000_000


def a_newcomer(number: int) -> Event:
    return a_prediction_event(number, model="newcomer", time_us=TIME_US)


@pytest.fixture
def dialect() -> str:
    """One database is enough here: marking is tested on both in tests/storage."""
    return "sqlite"


@pytest.fixture
def environ(fresh_broker: str, database_url: str, db: Database, tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "errata.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    return {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")} | {
        "ERRATA_SETTINGS": str(file),
        "ERRATA_BROKER__BOOTSTRAP": fresh_broker,
        "ERRATA_DATABASE__URL": database_url,
        "PYTHONPATH": str(ROOT),
    }


def store_dead(db: Database) -> None:
    """Predictions of a model that nobody knows, and feedback to each of them that is kept meanwhile."""
    given = [a_feedback_event(1000 + each, prediction=each, time_us=TIME_US + 1) for each in range(1, N + 1)]
    # From a partition that the broker does not have: what is sent again gets offsets of its own.
    for arrival in (
        an_arrival([a_newcomer(number) for number in range(1, N + 1)], partition=7),
        an_arrival(given, topic=FEEDBACK, partition=7),
    ):
        apply(db, arrival, models={}, slice_values_per_hour=200, worker="w", now_us=START_US)


def store_sent(db: Database, bootstrap: str) -> int:
    """Store what is in Kafka, as a worker would; return how many records that is."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    n_records = 0
    try:
        partitions = [TopicPartition(PREDICTIONS, number) for number in range(2)]
        consumer.assign(partitions)
        fetched: dict[int, list[FetchedRecord]] = {0: [], 1: []}
        while batch := consumer.poll(timeout_ms=1500):
            for partition, records in batch.items():
                fetched[partition.partition] += [
                    FetchedRecord(each.offset, each.timestamp, each.key, each.value, tuple(each.headers))
                    for each in records
                ]
    finally:
        consumer.close()
    for number, records in fetched.items():
        if records:
            run = FetchedRun(PREDICTIONS, number, 0, records[-1].offset + 1, tuple(records), "")
            arrival = decode_run(run, START_US)
            apply(db, arrival, models=MODELS, slice_values_per_hour=200, worker="w", now_us=START_US)
            n_records += len(records)
    return n_records


def replay(environ: dict[str, str], place: str, number: int) -> int:
    command = [sys.executable, str(PROGRAM), place, str(number)]
    return subprocess.run(command, env=environ, capture_output=True, timeout=60).returncode


def test_each_event_counts_once_however_often_the_replay_is_killed(
    db: Database, environ: dict[str, str], fresh_broker: str
) -> None:
    rng = random.Random(1)
    ensure_topics(Broker(bootstrap=fresh_broker, partitions=2))
    store_dead(db)
    kills = [("send", rng.randrange(2, N)), ("acknowledged", 1), ("send", rng.randrange(2, N)), ("mark", 1)]
    rng.shuffle(kills)
    for place, number in kills:
        assert replay(environ, place, number) == -signal.SIGKILL
    # It dies once more, but all is done.
    assert replay(environ, "marked", 1) == -signal.SIGKILL
    assert replay(environ, "send", 1) == 0, "nothing was left to send"

    n_records = store_sent(db, fresh_broker)
    assert n_records > 2 * N, "the kills made it send again"
    with db.read() as c:
        assert c.scalar(select(func.count()).select_from(predictions)) == N
        waiting = select(func.count()).select_from(dead_letters).where(dead_letters.c.replayed_us.is_(None))
        assert c.scalar(waiting) == 0
        ledger = read_ledger_summary(c)
    of_predictions = [each for each in ledger if each.topic == PREDICTIONS]
    assert sum(each.n_new for each in of_predictions) == N
    assert sum(each.n_dead for each in of_predictions) == N
    assert sum(each.n_duplicate for each in of_predictions) == n_records - N
    assert verify(db, MODELS).differences == []
