"""Sends what was made through the intake: in this process, or through a broker and a worker as they are."""

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from bench.malformed.judging import Judgement, judge_records, judge_totals
from bench.malformed.kinds import KINDS, MODELS, RETENTION
from bench.malformed.records import Made, make_records, make_runs
from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.command.processes import Children, errata_command, wait_until
from errata.settings import Broker
from errata.topics import EVENT_TOPICS, ensure_topics
from storage.database import Database, migrate, open_database
from storage.intake import apply
from storage.ledger import read_ledger_summary
from storage.retention import known_since
from storage.verify import verify
from streams.decoding import decode_run
from streams.ledger import Partition

_PARTITIONS = 2
_SETTINGS = f"""
[broker]
partitions = {_PARTITIONS}
rebalance_timeout_seconds = 5.0

[worker]
metrics_port = 0
flood_dead_letters = 0

[retention]
tombstones_days = {RETENTION.tombstones_days}

[models.card-reader]
task = {{ kind = "text" }}
"""


def try_in_process(
    url: str, n_malformed: int, seed: int, now_us: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Decode and store in this process what a worker would fetch, into the empty database at `url`; report."""
    migrate(url)
    db = open_database(url)
    try:
        found, seconds, told = Judgement(), 0.0, 0
        for made in make_runs(n_malformed, seed):
            started = time.perf_counter()
            apply(
                db,
                decode_run(made.run, now_us),
                models=MODELS,
                slice_values_per_hour=200,
                worker="bench",
                now_us=now_us,
                known_since_us=known_since(RETENTION, now_us),
            )
            seconds += time.perf_counter() - started
            found.add(judge_records(db, made.run.topic, made.run.partition, made.made))
            if found.malformed >= told + 100_000:
                told = found.malformed
                tell(f"{told} of {n_malformed} malformed events, {seconds:.0f} s of intake")
        return _report(db, found, seconds)
    finally:
        db.close()


def try_through_broker(
    directory: Path, port: int, environ: dict[str, str], n_malformed: int, seed: int
) -> Any:
    """Send records to a broker of their own, let `errata worker` store them, and report."""
    url, bootstrap = f"sqlite:///{directory}/errata.db", f"127.0.0.1:{port}"
    (settings := directory / "errata.toml").write_text(_SETTINGS, encoding="utf-8")
    migrate(url)
    db = open_database(url)
    with ExitStack() as stack:
        stack.callback(db.close)
        stack.callback(stop_local_broker, start_local_broker(port, directory / "broker.log"))
        wait_for_broker(bootstrap, timeout_seconds=20)
        ensure_topics(Broker(bootstrap=bootstrap, partitions=_PARTITIONS))
        sent, n_events = _send(bootstrap, n_malformed, seed)
        own = {
            "ERRATA_SETTINGS": str(settings),
            "ERRATA_BROKER__BOOTSTRAP": bootstrap,
            "ERRATA_DATABASE__URL": url,
        }
        children = Children(directory / "log", environ | own)
        stack.callback(children.stop_all)
        children.start("worker", errata_command("worker"))
        wait_until(lambda: _count_stored(db) >= n_events, 600, f"{n_events} events", children)
        children.stop_one("worker")
        found = Judgement()
        for (topic, partition), made in sent.items():
            found.add(judge_records(db, topic, partition, made))
        # Most of the time went into starting the worker and joining its group.
        return _report(db, found, seconds=None)


def _send(bootstrap: str, n_malformed: int, seed: int) -> tuple[dict[Partition, dict[int, Made]], int]:
    """What was sent, by partition and offset, and how many events that is."""
    sent: dict[Partition, dict[int, Made]] = defaultdict(dict)
    n_events = 0
    with KafkaProducer(bootstrap_servers=bootstrap, max_request_size=8_000_000) as producer:
        for number, made in enumerate(make_records(n_malformed, seed)):
            topic = EVENT_TOPICS[number % len(EVENT_TOPICS)]
            partition = number // len(EVENT_TOPICS) % _PARTITIONS
            result = producer.send(topic, made.value, headers=made.headers, partition=partition)
            sent[topic, partition][int(result.get(30).offset)] = made
            n_events += len(made.spoiled) + len(made.good_predictions) + len(made.good_feedback)
    return sent, n_events


def _count_stored(db: Database) -> int:
    with db.read() as c:
        return sum(each.n for each in read_ledger_summary(c))


def _report(db: Database, found: Judgement, seconds: float | None) -> dict[str, Any]:
    differences = verify(db, MODELS).differences + judge_totals(db, found)
    n_events = found.malformed + found.good
    return {
        "events": n_events,
        "kinds": len(KINDS),
        **asdict(found),
        "differences": differences[:10],
        "events_per_s": None if seconds is None else round(n_events / seconds),
    }
