"""Predictions as people and miners read them, each with what became of it."""

from collections import Counter
from collections.abc import Sequence
from itertools import compress, groupby
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    RowMapping,
    Select,
    and_,
    case,
    func,
    or_,
    select,
    true,
)

from quality.data_drift import Observed, OldEmbedding, Step
from quality.drift import Matured, Singles
from quality.outcomes import Action
from storage.errors import NotFound
from storage.insertion import in_span
from storage.json_text import from_text, from_text_or_none, to_text
from storage.records import Prediction
from storage.slices import ALL
from storage.tables import feedback, outcomes, predictions

#: An output of more characters is no category.
_CATEGORY_CHARACTERS: Final = 64
_ROWS_AT_ONCE: Final = 5000
#: Steps with each prediction are read until there are so many.
_MOST_SINGLES: Final = 100_000

_JSON: Final = ("output", "input", "features", "tags", "corrected")


def get_prediction(c: Connection, id: str) -> Prediction:  # noqa: A002
    """The prediction of an id. Raises NotFound."""
    row = c.execute(_with_outcomes().where(predictions.c.id == id)).mappings().one_or_none()
    if row is None:
        raise NotFound("prediction", id)
    return _as_record(row)


def read_predictions(
    c: Connection,
    *,
    model: str,
    version: str | None = None,
    slice: str = ALL,  # noqa: A002
    since_us: int | None = None,
    until_us: int | None = None,
    action: Action | None = None,
    limit: int,
) -> list[Prediction]:
    """The latest predictions with `since_us` <= time < `until_us`; if `action` is given, those with it."""
    p = predictions.c
    wanted = _with_outcomes().where(p.model == model, in_slice(c, slice))
    if version is not None:
        wanted = wanted.where(p.version == version)
    wanted = wanted.where(*in_span(p.time_us, since_us, until_us))
    if action is not None:
        wanted = wanted.where(outcomes.c.action == action)
    latest = wanted.order_by(p.time_us.desc(), p.id.desc()).limit(limit)
    return [_as_record(row) for row in c.execute(latest).mappings()]


def count_predictions(
    c: Connection,
    *,
    model: str,
    not_version: str | None = None,
    slice: str = ALL,  # noqa: A002
    since_us: int | None = None,
    until_us: int | None = None,
) -> int:
    """How many predictions with `since_us` <= time < `until_us` there are, except of `not_version`."""
    p = predictions.c
    wanted = select(func.count()).select_from(predictions).where(p.model == model, in_slice(c, slice))
    if not_version is not None:
        wanted = wanted.where(p.version != not_version)
    return c.scalar(wanted.where(*in_span(p.time_us, since_us, until_us))) or 0


def count_subjects(
    c: Connection,
    *,
    model: str,
    version: str,
    slice: str = ALL,  # noqa: A002
    since_us: int,
    until_us: int,
) -> int:
    """How many subjects have predictions made from `since_us` to `until_us`; one without a subject counts as one."""
    p = predictions.c
    wanted = select(func.count(p.subject.distinct()) + func.count() - func.count(p.subject)).where(
        p.model == model, p.version == version, in_slice(c, slice)
    )
    return c.scalar(wanted.where(p.time_us >= since_us, p.time_us <= until_us)) or 0


def read_matured(
    c: Connection,
    *,
    model: str,
    version: str,
    after_us: int,
    until_us: int,
    horizon_us: int,
    step_us: int,
    most_steps: int,
    with_singles: bool = False,
) -> list[Matured]:
    """The predictions made in (`after_us`, `until_us`] by steps of `step_us`, without the empty ones, in every slice.

    Of steps that span more time than `most_steps`, the first are read; `with_singles` each prediction too, in no more
    steps than it takes for 100,000. Corrected is edited or rejected, where the feedback that counts came up to
    `horizon_us` after the prediction. Feedback given again after the horizon moves a prediction out of the count: read
    it soon after the horizon.
    """
    p, o = predictions.c, outcomes.c
    wanted = and_(p.model == model, p.version == version, p.time_us > after_us, p.time_us <= until_us)
    first_us = c.scalar(select(func.min(p.time_us)).where(wanted))
    if first_us is None:
        return []
    wanted = and_(wanted, p.time_us < first_us - first_us % step_us + most_steps * step_us)
    corrected = (o.prediction_id == p.id) & o.action.in_(("edit", "reject")) & (o.delay_us <= horizon_us)
    joined = predictions.outerjoin(outcomes, corrected)
    step = (p.time_us - p.time_us % step_us).label("step")
    if with_singles:
        return _read_singles(
            c, select(step, p.slices, p.time_us, p.id, o.prediction_id.is_not(None)), joined, wanted
        )
    found = c.execute(
        select(
            step,
            p.slices,
            func.min(p.time_us).label("start_us"),
            func.max(p.time_us).label("end_us"),
            func.count(p.id).label("n"),
            func.count(o.prediction_id).label("k"),
        )
        .select_from(joined)
        .where(wanted)
        # Predictions with the same tags are one row, which is then counted under each of its slices.
        .group_by("step", p.slices)
        .order_by("step")
    ).all()
    return [_as_step(list(rows)) for _, rows in groupby(found, lambda row: row.step)]


def _read_singles(
    c: Connection, columns: Select[Any], joined: FromClause, wanted: ColumnElement[bool]
) -> list[Matured]:
    p = predictions.c
    rows = c.execute(
        # Read as they are needed: what a backlog has beyond is left where it is.
        columns.select_from(joined).where(wanted).order_by(p.time_us, p.id),
        execution_options={"yield_per": _ROWS_AT_ONCE},
    )
    steps, n = [], 0
    slices_of: dict[str, tuple[str, ...]] = {}
    for _, several in groupby(rows, lambda row: row[0]):
        _, texts, times_us, ids, corrected = zip(*several, strict=True)
        for text in set(texts) - slices_of.keys():
            slices_of[text] = tuple(from_text(text))
        counts: dict[str, tuple[int, int]] = {}
        totals = Counter(texts)
        totals_corrected = Counter(compress(texts, corrected))
        for text, here in totals.items():
            for name in (ALL, *slices_of[text]):
                before = counts.get(name, (0, 0))
                counts[name] = before[0] + here, before[1] + totals_corrected[text]
        singles = Singles(ids, tuple(slices_of[text] for text in texts), corrected)
        steps.append(Matured(times_us[0], times_us[-1], counts, singles))
        n += len(ids)
        if n >= _MOST_SINGLES:
            break
    rows.close()
    return steps


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


def _as_step(rows: Sequence[Any]) -> Matured:
    counts: dict[str, tuple[int, int]] = {}
    for row in rows:
        for name in (ALL, *from_text(row.slices)):
            n, k = counts.get(name, (0, 0))
            counts[name] = n + row.n, k + row.k
    return Matured(min(row.start_us for row in rows), max(row.end_us for row in rows), counts)


def in_slice(c: Connection, slice: str) -> ColumnElement[bool]:  # noqa: A002
    """Whether a prediction is counted under `slice`."""
    if slice == ALL:
        return predictions.c.id.is_not(None)
    # A name in its quotes occurs in a JSON list of names only as an element. LIKE would ignore case on
    # SQLite.
    find = func.strpos if c.dialect.name == "postgresql" else func.instr
    return find(predictions.c.slices, to_text(slice)) > 0


def _with_outcomes() -> Select[Any]:
    p = predictions.c
    columns = [p[name] for name in Prediction.__slots__ if name in p]
    return (
        select(*columns, outcomes.c.action, outcomes.c.distance_ppm, feedback.c.corrected, feedback.c.who_id)
        .outerjoin(outcomes, outcomes.c.prediction_id == p.id)
        .outerjoin(feedback, feedback.c.id == outcomes.c.feedback_id)
    )


def _as_record(row: RowMapping) -> Prediction:
    decoded = {name: from_text_or_none(row[name]) for name in _JSON}
    return Prediction(**{**row, **decoded})
