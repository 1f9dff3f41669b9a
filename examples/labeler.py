"""The demo's labelers: `python -m examples.labeler --directory var/demo`.

Whenever a batch is ordered they take its Label Studio tasks, answer with what really stands on the card, mistaken in 2 of
100 answers, and hand the export back. The delivery is then judged by acceptance sampling, as a vendor's would be.
"""

import argparse
import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errata.errors import Unavailable
from errata.identity import new_id
from errata.settings import Settings, find_settings, load_settings
from examples.card_reader.service import MODEL, read_truth
from examples.card_reader.users import mistake
from labeling.acceptance import judge_delivery, plan_for
from labeling.label_studio import annotate
from labeling.orders import accept_batch, export_batch, import_batch
from storage.batches import list_batches
from storage.database import Database, open_database

MISTAKES = 0.02
AQL = 2.5


def label_tasks(
    tasks: list[dict[str, Any]], truth: Mapping[str, Any], settings: Settings, rng: random.Random
) -> list[dict[str, Any]]:
    """The tasks as Label Studio exports them after people answered, 2 % of the answers mistaken."""
    done = []
    for task in tasks:
        answer = truth[task["data"]["ext_id"]]
        if rng.random() < MISTAKES:
            answer = mistake(answer, rng)
        done.append(annotate(task, answer, settings.models[MODEL].task, labeler=f"labeler-{rng.randrange(4)}"))
    return done


def count_defects(done: list[dict[str, Any]], truth: Mapping[str, Any], size: int, rng: random.Random) -> int:
    """How many of `size` labels, drawn at random, an expert who knows the truth calls wrong."""
    sample = rng.sample(done, min(size, len(done)))
    return sum(
        {item["from_name"]: item["value"]["text"][0] for item in task["annotations"][0]["result"]}
        != truth[task["data"]["ext_id"]]
        for task in sample
    )


def work_off(database: Database, settings: Settings, directory: Path, rng: random.Random) -> None:
    """Label, deliver and judge every batch that is ordered now."""
    with database.read() as connection:
        ordered = list_batches(connection, model=MODEL, status="ordered")
    for batch in ordered:
        tasks = export_batch(database, settings, batch.id)
        truth = read_truth(directory)
        plan = plan_for(len(tasks), AQL)
        while True:
            done = label_tasks(tasks, truth, settings, rng)
            verdict = judge_delivery(plan.n, count_defects(done, truth, plan.n, rng), len(tasks), AQL)
            if verdict.accept:
                break
            # A rejected delivery is labelled again in full before it counts as delivered.
        import_batch(database, settings, batch.id, done, time.time_ns() // 1000)
        accept_batch(database, settings, batch.id, verdict.reason, time.time_ns() // 1000, new_id)


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
