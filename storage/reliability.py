"""What confidences promised and what users made of it, per version and slice, read from predictions with outcomes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import Connection, select

from quality.calibration import Reliability, check_reliability
from storage.insertion import in_span
from storage.slices import ALL
from storage.tables import outcomes, predictions

#: Of a span so many of the latest answered predictions are read.
ANSWERS_READ: Final = 100_000

_read_slices: Final = msgspec.json.Decoder(list[str]).decode


@dataclass(frozen=True, slots=True)
class FoundReliability:
    """The reliability of each version and slice; `since_us` is the oldest that was read, where not all were."""

    by_slice: dict[tuple[str, str], Reliability]
    since_us: int | None


def read_reliability(
    c: Connection, *, model: str, since_us: int, until_us: int, at_most: int = ANSWERS_READ
) -> FoundReliability:
    """Confidence beside outcome for the predictions of a span that have both."""
    p, o = predictions.c, outcomes.c
    rows: Sequence[Any] = c.execute(
        select(p.version, p.slices, p.confidence, p.time_us, o.action)
        .join(outcomes, o.prediction_id == p.id)
        .where(p.model == model, *in_span(p.time_us, since_us, until_us), p.confidence.is_not(None))
        .order_by(p.time_us.desc())
        .limit(at_most + 1)
    ).all()
    is_cut = len(rows) > at_most
    rows = rows[:at_most]
    confidences = np.array([row.confidence for row in rows], dtype=np.float64)
    wrong = np.array([row.action != "accept" for row in rows], dtype=bool)
    together: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        together[row.version, row.slices].append(place)
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (version, slices), some in together.items():
        for name in (ALL, *_read_slices(slices)):
            places[version, name] += some
    found = {key: check_reliability(confidences[some], wrong[some]) for key, some in sorted(places.items())}
    return FoundReliability(
        {key: each for key, each in found.items() if each is not None},
        rows[-1].time_us if is_cut else None,
    )
