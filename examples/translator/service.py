"""The translator: `python -m examples.translator.service --directory var/demo`.

Each row is shown once; the post-editor's real answer comes a few seconds later as an edit, or as an accept where the
post-edit equals the translation. Poorly assessed translations draw a complaint.
"""

import argparse
import os
import random
from collections.abc import Iterator
from pathlib import Path

from errata.client import Client
from errata.settings import find_settings, load_settings
from examples.schedule import Schedule
from examples.service import run_service
from examples.translator.rows import Row, read_rows

MODEL = "translator"
VERSION = "wmt20"
COMPLAINTS = (
    "The translation of this sentence is hard to use.",
    "The meaning is wrong here, I had to start over.",
    "번역이 원문과 뜻이 달라요.",
    "문장이 어색해서 처음부터 다시 썼습니다.",
)


def show_row(client: Client, row: Row, rng: random.Random) -> str:
    """Emit the prediction for `row` and return its id."""
    words = len(row.source.split())
    return client.prediction(
        model=MODEL,
        version=VERSION,
        input={"text": row.source},
        output=row.translation,
        confidence=row.confidence,
        latency_ms=round(20 + 6 * words + rng.expovariate(1 / 15), 3),
        tags={"length": "short" if words < 12 else "medium" if words < 20 else "long"},
        subject=row.name,
    )


def answer_row(client: Client, row: Row, prediction_id: str, rng: random.Random) -> None:
    """Emit what the post-editor did to the translation of `row`."""
    display_ms = round(80 + rng.expovariate(1 / 60), 3)
    if row.is_edited:
        client.edit(
            prediction_id=prediction_id, corrected=row.post_edit, display_ms=display_ms, who="post-editor"
        )
    else:
        client.accept(prediction_id=prediction_id, display_ms=display_ms, who="post-editor")
    if row.assessment < 40:
        client.voc(
            text=rng.choice(COMPLAINTS),
            rating=max(1, round(row.assessment / 10)),
            channel="editor",
            prediction_id=prediction_id,
            model=MODEL,
        )


def main() -> None:
    """Replay the excerpt once at a steady pace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where spool and report lie")
    parser.add_argument("--per-second", type=float, default=10.0)
    arguments = parser.parse_args()
    settings = load_settings(find_settings(None, os.environ), os.environ)
    rng = random.Random(20)
    client = Client.from_settings(
        settings, source="demo/translator", spool_directory=arguments.directory / "spool", environ=os.environ
    )
    schedule = Schedule()
    rows: Iterator[Row] = iter(read_rows())

    def tick(now_seconds: float) -> bool:
        row = next(rows, None)
        if row is None:
            return False
        shown = show_row(client, row, rng)
        schedule.at(now_seconds + rng.lognormvariate(1.2, 0.8), lambda: answer_row(client, row, shown, rng))
        return True

    run_service(
        client,
        tick,
        schedule,
        per_second=arguments.per_second,
        report=arguments.directory / "translator.json",
    )


if __name__ == "__main__":
    main()
