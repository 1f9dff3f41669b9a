"""One replay of all files into one database: what was stored, what the report says, and where the two differ."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from bench.replay.direct import sum_truths
from bench.replay.files import (
    MODEL_OF,
    MODELS,
    REVIEWS,
    TELL,
    TRANSLATIONS,
    Truth,
    read_rows,
    tell_file,
    truths_of_translations,
)
from bench.replay.judging import compare, figures
from bench.replay.storing import read_report, send_translations, store_events
from storage.database import Database, migrate, open_database
from storage.dead_letters import count_by_reason
from storage.tables import voc
from storage.verify import verify
from storage.voc import summarise_voc


def replay(
    data: Path,
    url: str,
    directory: Path,
    environ: Mapping[str, str],
    *,
    port: int,
    now_us: int,
    seed: int = 1,
) -> dict[str, Any]:
    """Replay every file into the empty database at `url`, and report figures and differences.

    The translations go by a client, a broker on `port` and a worker, all other files by the intake's transaction.
    """
    migrate(url)
    truths: dict[str, list[Truth]] = {MODEL_OF[TRANSLATIONS]: truths_of_translations(data / TRANSLATIONS)}
    n_events = {TRANSLATIONS: send_translations(data / TRANSLATIONS, directory, url, environ, port)}
    db = open_database(url)
    started = time.perf_counter()
    try:
        for name in TELL:
            told = list(tell_file(data / name))
            n_events[name] = store_events(db, (each.events for each in told), seed=seed, now_us=now_us)
            if name in MODEL_OF:
                truths[MODEL_OF[name]] = [each.truth for each in told if each.truth is not None]
        seconds = time.perf_counter() - started
        differences = _compare_reviews(db, data / REVIEWS) + verify(db, MODELS).differences
        with db.read() as c:
            differences += [f"dead letters: {found}" for found in [count_by_reason(c)] if found]
    finally:
        db.close()
    report = read_report(directory, url, environ)
    n_slices = 0
    for model, each in truths.items():
        direct = sum_truths(each)
        n_slices += len(direct)
        differences += compare(report, model, direct)
    return {
        "events": n_events,
        "events_per_s_in_process": round(
            sum(n for name, n in n_events.items() if name != TRANSLATIONS) / seconds
        ),
        "slices_compared": n_slices,
        "figures": {
            model: figures(report, model, ("all", "league=") if model == "forecast" else ("all",))
            for model in truths
        },
        "differences": differences,
    }


def _compare_reviews(db: Database, path: Path) -> list[str]:
    """What customers said: how often each rating was given, and the mean."""
    ratings = Counter(int(row["rating"]) for row in read_rows(path))
    with db.read() as c:
        # Complaints about translations are VOC of a model.
        counted = select(voc.c.rating, func.count().label("n")).where(voc.c.channel == "reviews")
        stored = {row.rating: row.n for row in c.execute(counted.group_by(voc.c.rating))}
        whole = summarise_voc(c)
        of_translator = summarise_voc(c, model=MODEL_OF[TRANSLATIONS])
    differences = []
    if stored != dict(ratings):
        differences.append(f"ratings: {stored} stored, {dict(ratings)} in the file")
    if whole.n != sum(ratings.values()) + of_translator.n:
        differences.append(f"VOC: {whole.n} stored")
    return differences
