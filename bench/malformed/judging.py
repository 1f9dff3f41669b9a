"""What is stored, compared with what was said beforehand. Knows nothing of how events are decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from sqlalchemy import Table, func, select

from bench.malformed.records import Made
from storage.database import Database
from storage.insertion import is_one_of
from storage.ledger import read_ledger_summary
from storage.tables import dead_letters, feedback, predictions


@dataclass(slots=True)
class Judgement:
    """Counts of what was sent, and of what is not as it was said."""

    malformed: int = 0
    good: int = 0
    dead_letters_missing: int = 0
    wrong_reason: int = 0
    bytes_missing: int = 0
    #: Good events that are not stored, and dead letters that nobody said.
    neighbours_lost: int = 0

    def add(self, other: "Judgement") -> None:
        """Add the counts of another part."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def judge_records(db: Database, topic: str, partition: int, made: Mapping[int, Made]) -> Judgement:
    """Compare all that is stored of some records of a partition, given by offset."""
    first, last = min(made), max(made)
    d = dead_letters.c
    with db.read() as c:
        rows = c.execute(
            select(d.offset, d.position, d.reason, func.length(d.raw).label("n_bytes")).where(
                d.topic == topic, d.partition == partition, d.offset >= first, d.offset <= last
            )
        ).all()
    stored = {(row.offset, row.position): row for row in rows}
    found = Judgement()
    for offset, record in made.items():
        found.malformed += len(record.spoiled)
        for position, spoiled in record.spoiled.items():
            row = stored.pop((offset, position), None)
            if row is None:
                found.dead_letters_missing += 1
                continue
            found.wrong_reason += row.reason != spoiled.reason
            found.bytes_missing += not row.n_bytes and spoiled.reason != "empty_record"
    predicted = [each for record in made.values() for each in record.good_predictions]
    given = [each for record in made.values() for each in record.good_feedback]
    found.good = len(predicted) + len(given)
    found.neighbours_lost = (
        len(stored) + _count_missing(db, predictions, predicted) + _count_missing(db, feedback, given)
    )
    return found


def judge_totals(db: Database, found: Judgement) -> list[str]:
    """What the ledger says otherwise than all that was sent, in sentences."""
    with db.read() as c:
        ledger = read_ledger_summary(c)
    sums = {
        "dead": (sum(each.n_dead for each in ledger), found.malformed),
        "new": (sum(each.n_new for each in ledger), found.good),
        "duplicate": (sum(each.n_duplicate for each in ledger), 0),
    }
    return [
        f"the ledger has {kept} {name} events, but {right} were sent"
        for name, (kept, right) in sums.items()
        if kept != right
    ]


def _count_missing(db: Database, table: Table, ids: list[str]) -> int:
    if not ids:
        return 0
    with db.read() as c:
        kept = c.scalar(select(func.count()).select_from(table).where(is_one_of(c, table.c.id, ids)))
    return len(ids) - (kept or 0)
