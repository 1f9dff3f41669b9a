"""What a database holds, in the form in which the oracle compares it."""

from collections import Counter

from sqlalchemy import Connection, select

from bench.chaos.oracle import Numbers, Observed, Partition
from quality.windows import Contribution
from storage.database import Database
from storage.tables import dead_letters, feedback, intake_ledger, predictions, tombstones, voc
from storage.windows import contribution_of, list_models, list_slices, read_windows

_COUNTS = ("n", "n_edit", "n_accept", "n_reject", "n_distance", "distance_ppm", "distance_ppm_squares")


def observe(db: Database) -> Observed:
    """Read all in one snapshot."""
    found = Observed()
    with db.read() as c:
        for table in (predictions, feedback, voc):
            found.ids.update(c.scalars(select(table.c.id)))
        found.tombstones.update(c.scalars(select(tombstones.c.id)))
        for column in (predictions.c.subject, feedback.c.who_id, voc.c.subject):
            found.subjects.update(c.scalars(select(column).where(column.is_not(None)).distinct()))
        for model in list_models(c):
            for name in list_slices(c, model):
                for window in read_windows(c, model=model, slice=name):
                    numbers = _numbers_of(contribution_of(window))
                    if numbers:
                        found.windows[model, window.version, name, window.minute_us] = numbers
        d = dead_letters.c
        for row in c.execute(select(d.topic, d.partition, d.offset, d.position, d.reason)):
            found.dead_letters[row.topic, row.partition, row.offset, row.position] = row.reason
        _read_ledger(c, found)
    return found


def _numbers_of(contribution: Contribution) -> Numbers:
    numbers = Counter({name: getattr(contribution, name) for name in _COUNTS})
    for name in ("served", "shown"):
        numbers.update({f"{name} {bucket}": n for bucket, n in getattr(contribution, name).items()})
    return Counter({name: n for name, n in numbers.items() if n})


def _read_ledger(c: Connection, found: Observed) -> None:
    ledger = intake_ledger.c
    ordered = select(intake_ledger).order_by(ledger.topic, ledger.partition, ledger.first_offset)
    for row in c.execute(ordered):
        partition: Partition = (row.topic, row.partition)
        before = found.ledger.get(partition, (0, 0, 0, 0))
        found.ledger[partition] = (
            before[0] + row.n,
            before[1] + row.n_new,
            before[2] + row.n_duplicate,
            before[3] + row.n_dead,
        )
        # The first run begins at 0 here: nothing is ever deleted from these topics.
        is_next = row.first_offset == found.ends.get(partition, 0)
        found.ends[partition] = row.next_offset if is_next else None
