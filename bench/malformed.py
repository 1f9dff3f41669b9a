"""Malformed events by the million, through decoding and the transaction, on both databases: `make malformed`.

Batches mix good events with malformed ones of every kind in bench/chaos/corpus.py, which also says what reason each has
to be set aside for; records that are malformed as a whole stand between them. Each portion is compared as soon as it is
stored. It runs in this process, without a broker: tests/end_to_end/test_bad_input.py sends every kind through one. The
last line is JSON.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from sqlalchemy import func, select

from bench.chaos.corpus import ELEMENTS, RECORDS, Spoiled
from bench.chaos.traffic import MODEL
from bench.intake.servers import fresh_database, running_durable_postgres
from errata.settings import Model, Task
from errata.topics import PREDICTIONS
from errata.wire import BATCH_TYPE
from storage.database import Database, migrate, open_database
from storage.intake import apply
from storage.tables import dead_letters, predictions
from storage.verify import verify
from streams.decoding import decode_run
from streams.driver import FetchedRecord, FetchedRun

_MODELS: Final = {MODEL: Model(task=Task(kind="text"))}
_RECORDS: Final = 20
_BATCH_EVENTS: Final = 400
#: Good events among the elements of a batch.
_GOOD_SHARE: Final = 0.2
#: Records that are malformed as a whole.
_WHOLE_SHARE: Final = 0.2
#: Kinds whose events are larger come as much more seldom, so that a million of them are no gigabytes.
_USUAL_BYTES: Final = 500


@dataclass(slots=True)
class Portion:
    """A fetched run, the dead letters that it has to leave, by offset and position, and its good events."""

    run: FetchedRun
    reasons: dict[tuple[int, int], str]
    good_ids: list[str]


@dataclass(slots=True)
class Found:
    """What was wrong, in numbers, and how long storing took."""

    n_malformed: int = 0
    n_good: int = 0
    missing: int = 0
    wrong_reason: Counter[str] = field(default_factory=Counter)
    needless: int = 0
    neighbours_lost: int = 0
    seconds: float = 0.0


def make_portions(rng: Random, n_malformed: int, now_us: int) -> Iterator[Portion]:
    """Portions with at least so many malformed events in all."""
    weights = {kinds: [_weight(each) for each in kinds] for kinds in (ELEMENTS, RECORDS)}
    offset = n_made = 0
    while n_made < n_malformed:
        records, reasons, good_ids = [], {}, []
        for number in range(offset, offset + _RECORDS):
            if rng.random() < _WHOLE_SHARE:
                (kind,) = rng.choices(RECORDS, weights[RECORDS])
                value, content_type = kind.make(rng), kind.content_type
                reasons[number, 0] = kind.reason
            else:
                elements = []
                for position in range(_BATCH_EVENTS):
                    if rng.random() < _GOOD_SHARE:
                        good_ids.append(_id(rng, now_us))
                        elements.append(_good(good_ids[-1]))
                        continue
                    (kind,) = rng.choices(ELEMENTS, weights[ELEMENTS])
                    elements.append(kind.make(rng))
                    reasons[number, position] = kind.reason
                value, content_type = b"[" + b",".join(elements) + b"]", BATCH_TYPE
            headers = (("content-type", str(content_type).encode()),)
            records.append(FetchedRecord(number, 0, None, value, headers))
        run = FetchedRun(
            topic=PREDICTIONS,
            partition=0,
            first_offset=offset,
            next_offset=offset + _RECORDS,
            records=tuple(records),
            topic_id="bench",
        )
        yield Portion(run, reasons, good_ids)
        offset += _RECORDS
        n_made += len(reasons)


def store_and_compare(db: Database, portions: Iterator[Portion], now_us: int) -> Found:
    """Store each portion, and compare what became of it with what should have."""
    found = Found()
    for portion in portions:
        started = time.perf_counter()
        apply(
            db,
            decode_run(portion.run, now_us),
            models=_MODELS,
            slice_values_per_hour=200,
            worker="bench",
            now_us=now_us,
        )
        found.seconds += time.perf_counter() - started
        _compare(db, portion, found)
    return found


def _compare(db: Database, portion: Portion, found: Found) -> None:
    d, run = dead_letters.c, portion.run
    wanted = select(d.offset, d.position, d.reason).where(
        d.topic == run.topic, d.offset >= run.first_offset, d.offset < run.next_offset
    )
    with db.read() as c:
        stored = {(row.offset, row.position): row.reason for row in c.execute(wanted)}
        n_good = c.scalar(select(func.count()).select_from(predictions)) or 0
    found.missing += len(portion.reasons.keys() - stored.keys())
    found.needless += len(stored.keys() - portion.reasons.keys())
    for place in portion.reasons.keys() & stored.keys():
        if stored[place] != portion.reasons[place]:
            found.wrong_reason[f"{stored[place]} instead of {portion.reasons[place]}"] += 1
    found.n_malformed += len(portion.reasons)
    found.n_good += len(portion.good_ids)
    found.neighbours_lost = found.n_good - n_good


def _weight(kind: Spoiled) -> float:
    return min(1.0, _USUAL_BYTES / max(1, len(kind.make(Random(0)))))


def _id(rng: Random, now_us: int) -> str:
    number = (now_us // 1000) << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _good(id_: str) -> bytes:
    return (
        b'{"specversion":"1.0","type":"errata.prediction.v1","id":"' + id_.encode() + b'","source":"/bench",'
        b'"time":"2026-01-23T06:30:00Z","data":{"model":"'
        + MODEL.encode()
        + b'","version":"1","output":"4111"}}'
    )


def main() -> None:
    """Run on each database in turn, and print what was found."""
    n_malformed, seed = int(os.environ.get("EVENTS") or 1_000_000), int(os.environ.get("SEED") or 1)
    now_us = time.time_ns() // 1000
    told: dict[str, Any] = {"seed": seed, "kinds": len(ELEMENTS) + len(RECORDS)}
    with running_durable_postgres() as postgres_url:
        for kind in ("postgresql", "sqlite"):
            with fresh_database(kind, postgres_url) as url:
                migrate(url)
                database = open_database(url)
                try:
                    portions = make_portions(Random(seed), n_malformed, now_us)
                    found = store_and_compare(database, portions, now_us)
                    differences = verify(database, _MODELS).differences
                finally:
                    database.close()
            told[kind] = {
                "malformed": found.n_malformed,
                "good": found.n_good,
                "dead_letters_missing": found.missing,
                "dead_letters_needless": found.needless,
                "wrong_reason": sum(found.wrong_reason.values()),
                "wrong_reasons": dict(found.wrong_reason),
                "neighbours_lost": found.neighbours_lost,
                "verify_differences": len(differences),
                "events_per_s": round((found.n_malformed + found.n_good) / found.seconds),
            }
            sys.stderr.write(f"{kind}: {told[kind]}\n")
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
