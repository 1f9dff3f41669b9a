"""Joint slices: two or more tags together, which no window counts, read from the latest predictions of a span."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, case, func, select

from storage.insertion import in_span
from storage.slices import ALL
from storage.tables import outcomes, predictions

#: Of a span so many of the latest predictions are read.
PREDICTIONS_READ: Final = 100_000

_read_slices: Final = msgspec.json.Decoder(list[str]).decode


@dataclass(frozen=True, slots=True)
class JointCounts:
    """Predictions and corrections of the whole (`all`) and of each joint slice, named `country=KR & camera=old`."""

    counts: dict[str, tuple[int, int]]
    #: Predictions that lack one of the tags: they are in the whole alone.
    n_outside: int
    #: The oldest prediction that was read, where the span has more than were read.
    since_us: int | None


def read_joint_counts(
    c: Connection,
    *,
    model: str,
    version: str,
    tags: Sequence[str],
    since_us: int,
    until_us: int,
    at_most: int = PREDICTIONS_READ,
) -> JointCounts:
    """Count the joint slices of some tags: of the tags' values as they are counted, `__other__` among them."""
    p = predictions.c
    latest = (
        select(p.id, p.slices, p.time_us)
        .where(p.model == model, p.version == version, *in_span(p.time_us, since_us, until_us))
        .order_by(p.time_us.desc(), p.id.desc())
        .limit(at_most)
        .subquery()
    )
    corrected = func.sum(case((outcomes.c.action.in_(("edit", "reject")), 1), else_=0))
    rows: Sequence[Any] = c.execute(
        select(
            latest.c.slices,
            func.count().label("n"),
            corrected.label("k"),
            func.min(latest.c.time_us).label("first_us"),
        )
        .outerjoin(outcomes, outcomes.c.prediction_id == latest.c.id)
        .group_by(latest.c.slices)
    ).all()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    n_outside = 0
    for row in rows:
        values = dict(name.partition("=")[::2] for name in _read_slices(row.slices))
        names = [ALL]
        if all(tag in values for tag in tags):
            names.append(" & ".join(f"{tag}={values[tag]}" for tag in tags))
        else:
            n_outside += int(row.n)
        for name in names:
            counts[name][0] += int(row.n)
            counts[name][1] += int(row.k)
    n_read = counts[ALL][0] if rows else 0
    return JointCounts(
        {name: (n, k) for name, (n, k) in counts.items()},
        n_outside,
        min(row.first_us for row in rows) if n_read == at_most else None,
    )
