"""Stores what was told: in this process by the transaction of the intake, or by a client, a broker and a worker."""

import json
import random
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Final

from bench.replay.files import MODELS
from errata.client import Client
from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.command.processes import Children, errata_command, wait_until
from errata.events import Event, key_of
from errata.partitioning import partition_of, topic_of
from errata.settings import load_settings
from errata.topics import EVENT_TOPICS
from errata.wire import encode_batch
from examples.translator.rows import read_rows
from examples.translator.service import answer_row, show_row
from storage.database import Database, open_database
from storage.intake import apply, stored_positions
from storage.ledger import read_ledger_summary
from streams.decoding import decode_run
from streams.driver import FetchedRecord, FetchedRun

_PARTITIONS: Final = 4
_EVENTS_PER_RECORD: Final = 200
_RECORDS_PER_RUN: Final = 10
#: So many rows are on their way at once, and arrive in any order: feedback before its prediction too.
_SHUFFLED_ROWS: Final = 2000
#: The report looks back a hundred years.
_MINUTES: Final = "52560000"

SETTINGS: Final = f"""
[broker]
partitions = {_PARTITIONS}
rebalance_timeout_seconds = 5.0

[worker]
metrics_port = 0

[models.forecast]

[models.digits]

[models.newsgroups]

[models.receipts]
task = {{ kind = "text" }}

[models.translator]
task = {{ kind = "translation" }}
"""


def store_events(db: Database, rows: Iterable[tuple[Event, ...]], *, seed: int, now_us: int) -> int:
    """Store the events of rows as a worker stores what it has fetched; return how many there were.

    Events that come close together are shuffled, so that feedback meets its prediction in either order.
    """
    rng = random.Random(seed)
    places = [(topic, _PARTITIONS + number) for topic in EVENT_TOPICS for number in range(_PARTITIONS)]
    stored = stored_positions(db, places)
    next_offsets = {place: stored[place][0] if place in stored else 0 for place in places}
    n_events = 0
    waiting = iter(rows)
    while some := list(islice(waiting, _SHUFFLED_ROWS)):
        events = [event for row in some for event in row]
        rng.shuffle(events)
        n_events += len(events)
        for (topic, partition), together in _by_partition(events).items():
            for run in _runs(topic, partition, together, next_offsets):
                arrival = decode_run(run, now_us)
                apply(
                    db,
                    arrival,
                    models=MODELS,
                    slice_values_per_hour=200,
                    worker="replay",
                    now_us=now_us,
                )
    return n_events


def _by_partition(events: Iterable[Event]) -> dict[tuple[str, int], list[Event]]:
    found: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in events:
        # Partitions of their own, beside those of the broker, whose positions are stored in the same database.
        partition = _PARTITIONS + partition_of(key_of(event), _PARTITIONS)
        found[topic_of(event.data), partition].append(event)
    return found


def _runs(
    topic: str, partition: int, events: list[Event], next_offsets: dict[tuple[str, int], int]
) -> Iterator[FetchedRun]:
    waiting = iter(events)
    while some := list(islice(waiting, _EVENTS_PER_RECORD * _RECORDS_PER_RUN)):
        first = next_offsets[topic, partition]
        records: list[FetchedRecord] = []
        for place in range(0, len(some), _EVENTS_PER_RECORD):
            headers, value = encode_batch(some[place : place + _EVENTS_PER_RECORD])
            records.append(FetchedRecord(first + len(records), 0, b"any", value, tuple(headers)))
        next_offsets[topic, partition] = end = first + len(records)
        yield FetchedRun(topic, partition, first, end, tuple(records), "", begins=first == 0)


def send_translations(path: Path, directory: Path, url: str, environ: Mapping[str, str], port: int) -> int:
    """Replay the file of translations by the example's service: client, broker, `errata worker`; return the events.

    The tables have to be there.
    """
    own = make_environ(directory, url, environ) | {"ERRATA_BROKER__BOOTSTRAP": f"127.0.0.1:{port}"}
    rng = random.Random(1)
    with ExitStack() as stack:
        db = open_database(url)
        stack.callback(db.close)
        stack.callback(stop_local_broker, start_local_broker(port, directory / "broker.log"))
        wait_for_broker(f"127.0.0.1:{port}", timeout_seconds=20)
        children = Children(directory / "log", own)
        stack.callback(children.stop_all)
        children.start("worker", errata_command("worker"))
        settings = load_settings(Path(own["ERRATA_SETTINGS"]), own)
        client = Client.from_settings(
            settings, source="replay", spool_directory=directory / "spool", environ=own
        )
        # Some at a time: predictions are what a full queue drops.
        waiting = iter(read_rows(path))
        while some := list(islice(waiting, _SHUFFLED_ROWS)):
            shown = [(row, show_row(client, row, rng)) for row in some]
            rng.shuffle(shown)
            for row, prediction_id in shown:
                answer_row(client, row, prediction_id, rng)
            client.flush(60)
        client.close(timeout_seconds=60)
        sent: int = client.counters.as_dict()["sent"]

        def n_stored() -> int:
            with db.read() as connection:
                return sum(each.n for each in read_ledger_summary(connection))

        wait_until(lambda: n_stored() >= sent, 300, f"{sent} events", children)
        children.stop_one("worker")
    return sent


def make_environ(directory: Path, url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of an `errata` command with the settings of the replay and the database at `url`."""
    (settings := directory / "errata.toml").write_text(SETTINGS, encoding="utf-8")
    kept = {name: value for name, value in environ.items() if not name.startswith("ERRATA_")}
    return kept | {"ERRATA_SETTINGS": str(settings), "ERRATA_DATABASE__URL": url}


def read_report(directory: Path, url: str, environ: Mapping[str, str]) -> Any:
    """What `errata report --json` prints."""
    told = subprocess.run(
        errata_command("report", "--json", "--minutes", _MINUTES),
        env=make_environ(directory, url, environ),
        capture_output=True,
        check=True,
    )
    return json.loads(told.stdout)
