"""The demo's labelers: `python -m examples.labeler --directory var/demo`.

Whenever a batch is ordered they take its Label Studio tasks, answer with what really stands on the card, mistaken in
2 of 100 answers, and hand the export back. The delivery is judged by acceptance sampling, as a vendor's would be.
"""

import argparse
import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from errata.errors import Unavailable
from errata.identity import new_id
from errata.settings import Settings, find_settings, load_settings
from examples.card_reader.service import MODEL, read_truth
from examples.card_reader.users import Fields, mistake
from labeling.acceptance import Aql, find_plan, judge_delivery
from labeling.exchange import export_batch, import_batch
from labeling.orders import accept_batch
from storage.batches import list_batches
from storage.database import Database, open_database

MISTAKES = 0.02
AQL: Aql = "2.5"


def label_tasks(
    tasks: list[dict[str, Any]], truth: Mapping[str, Fields], now: datetime, rng: random.Random
) -> list[dict[str, Any]]:
    """The tasks as Label Studio exports them after people answered, 2 % of the answers mistaken."""
    done = []
    for task in tasks:
        answer = truth[task["data"]["ext_id"]]
        if rng.random() < MISTAKES:
            answer = mistake(answer, rng)
        done.append(task | {"annotations": [annotate(answer, f"labeler-{rng.randrange(4)}", now)]})
    return done


def annotate(answer: Fields, labeler: str, now: datetime) -> dict[str, Any]:
    """An annotation of Label Studio with one text area for each field."""
    return {
        "completed_by": {"email": f"{labeler}@vendor.example"},
        "was_cancelled": False,
        "created_at": now.isoformat(),
        "updated_at": now.isoformat(),
        "result": [
            {"from_name": f"label.{field}", "to_name": "input", "type": "textarea", "value": {"text": [text]}}
            for field, text in answer.items()
        ],
    }


def count_defects(
    done: list[dict[str, Any]], truth: Mapping[str, Fields], size: int, rng: random.Random
) -> int:
    """How many of `size` labels, drawn at random, an expert who knows the truth calls wrong."""
    defects = 0
    for task in rng.sample(done, size):
        given = {
            item["from_name"].removeprefix("label."): item["value"]["text"][0]
            for item in task["annotations"][0]["result"]
        }
        defects += given != truth[task["data"]["ext_id"]]
    return defects


def work_off(database: Database, settings: Settings, directory: Path, rng: random.Random) -> None:
    """Label, deliver and judge every batch that is ordered now."""
    with database.read() as connection:
        ordered = list_batches(connection, model=MODEL, status="ordered")
        delivered = list_batches(connection, model=MODEL, status="delivered")
    for batch in delivered:
        # It was checked before it was handed over; then the database was busy, or we were stopped.
        accept_batch(
            database, batch.id, f"Accept: checked before it was delivered, AQL {AQL}.", now_us(), new_id
        )
    for batch in ordered:
        tasks = export_batch(database, batch.id)
        truth = read_truth(directory)
        plan = find_plan(len(tasks), AQL)
        while True:
            done = label_tasks(tasks, truth, datetime.now(UTC), rng)
            defects = count_defects(done, truth, plan.n_checked, rng)
            verdict = judge_delivery(plan.n_checked, defects, len(tasks), AQL)
            if verdict.accept:
                break
            # A delivery that the check rejects is labelled again in full before it counts as delivered.
        import_batch(database, settings, batch.id, msgspec.json.encode(done), now_us())
        accept_batch(database, batch.id, verdict.reason, now_us(), new_id)


def now_us() -> int:
    """The time in microseconds."""
    return time.time_ns() // 1000


def main() -> None:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where the truth lies")
    arguments = parser.parse_args()
    settings = load_settings(find_settings(None, os.environ), os.environ)
    database = open_database(settings.database.url)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stopping.set())
    rng = random.Random(7)
    while not stopping.wait(0.5):
        try:
            work_off(database, settings, arguments.directory, rng)
        except Unavailable:
            continue  # The database is busy; the batch is still ordered next time.
    database.close()


if __name__ == "__main__":
    main()
