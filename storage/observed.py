"""Predictions as the watch over data sees them: what went in and what came out, not what was done to it."""

from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, and_, case, func, or_, select, true

from quality.data_drift import Observed, OldEmbedding, Step
from storage.insertion import in_span
from storage.json_text import from_text, from_text_or_none
from storage.tables import predictions

#: An output of more characters is no category.
_CATEGORY_CHARACTERS: Final = 64


def read_observed(
    c: Connection,
    *,
    model: str,
    version: str,
    since_us: int,
    until_us: int,
    step_us: int,
    most_per_step: int,
    most: int,
) -> list[Step]:
    """The predictions with `since_us` <= time < `until_us` by steps of `step_us`, without the empty ones.

    Of a step the first `most_per_step` by time and id are read, and no further steps once there are `most`. What was
    done to a prediction is not looked at.
    """
    p = predictions.c
    found: list[Step] = []
    while sum(len(step.predictions) for step in found) < most:
        rows = c.execute(
            select(
                p.id,
                p.time_us,
                p.confidence,
                p.latency_us,
                func.length(p.input).label("input_length"),
                func.length(p.output).label("output_length"),
                case((func.length(p.output) <= _CATEGORY_CHARACTERS, p.output)).label("output"),
                p.features,
            )
            .where(p.model == model, p.version == version, *in_span(p.time_us, since_us, until_us))
            .order_by(p.time_us, p.id)
            .limit(most_per_step)
        ).all()
        steps = [(place, list(some)) for place, some in groupby(rows, lambda row: row.time_us // step_us)]
        # The last one may have been cut off; where it is the only one, it is as long as a step may be.
        for place, some in steps if len(rows) < most_per_step or len(steps) == 1 else steps[:-1]:
            since_us = (place + 1) * step_us
            found.append(Step(since_us, [_as_observed(row) for row in some]))
        if len(rows) < most_per_step:
            break
    return found


def read_old_embeddings(
    c: Connection,
    *,
    model: str,
    version: str,
    after: tuple[int, str],
    until_us: int,
    limit: int,
) -> list[OldEmbedding]:
    """The next `limit` embeddings after a time and id, made before `until_us`."""
    p = predictions.c
    after_us, after_id = after
    # An empty id is before every other.
    later = or_(p.time_us > after_us, and_(p.time_us == after_us, p.id > after_id)) if after_id else true()
    rows = c.execute(
        select(p.id, p.time_us, p.features)
        .where(p.model == model, p.version == version, p.time_us >= after_us, p.time_us < until_us, later)
        # A list, not named numbers.
        .where(func.substr(p.features, 1, 1) == "[")
        .order_by(p.time_us, p.id)
        .limit(limit)
    )
    return [OldEmbedding(row.time_us, row.id, from_text(row.features)) for row in rows]


def _as_observed(row: Any) -> Observed:
    return Observed(
        id=row.id,
        time_us=row.time_us,
        confidence=row.confidence,
        latency_us=row.latency_us,
        input_length=row.input_length,
        output_length=row.output_length,
        output=row.output,
        features=from_text_or_none(row.features),
    )
