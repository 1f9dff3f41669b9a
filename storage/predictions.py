"""Predictions as people and miners read them, each with what became of it."""

from collections import Counter
from collections.abc import Sequence
from itertools import compress, groupby
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    String,
    and_,
    cast,
    func,
    literal,
    select,
)

from quality.drift import Matured, Singles
from quality.outcomes import Action
from storage.errors import NotFound
from storage.insertion import in_span
from storage.json_text import from_text, from_text_or_none, to_text
from storage.records import Prediction
from storage.slices import ALL
from storage.tables import feedback, outcomes, predictions

_ROWS_AT_ONCE: Final = 5000
#: Confidences are looked for in so many predictions.
_LOOKED_AT: Final = 50_000
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


def read_confidences(
    c: Connection,
    *,
    model: str,
    version: str,
    slice: str = ALL,  # noqa: A002
    since_us: int,
    until_us: int,
    horizon_us: int,
    limit: int,
) -> list[tuple[float, bool]]:
    """The confidence of each of the latest predictions made from `since_us` to `until_us`; whether it was corrected.

    Corrected as in `read_matured`; predictions without a confidence are passed over. Only the latest 50,000 predictions
    are looked at, so that a rare slice, or a model without confidences, is no reason to read everything.
    """
    p, o = predictions.c, outcomes.c
    looked_at = (
        select(p.id)
        .where(p.model == model, p.version == version, p.time_us >= since_us, p.time_us <= until_us)
        .order_by(p.time_us.desc(), p.id.desc())
        .limit(_LOOKED_AT)
        .subquery()
    )
    corrected = (o.prediction_id == p.id) & o.action.in_(("edit", "reject")) & (o.delay_us <= horizon_us)
    found = c.execute(
        select(p.confidence, o.prediction_id.is_not(None).label("corrected"))
        .select_from(predictions.join(looked_at, looked_at.c.id == p.id).outerjoin(outcomes, corrected))
        .where(in_slice(c, slice), p.confidence.is_not(None))
        .order_by(p.time_us.desc(), p.id.desc())
        .limit(limit)
    )
    return [(row.confidence, bool(row.corrected)) for row in found]


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
    by_session: bool = False,
) -> list[Matured]:
    """The predictions made in (`after_us`, `until_us`] by steps of `step_us`, without the empty ones, in every slice.

    Of steps that span more time than `most_steps`, the first are read; `with_singles` each prediction too, in no more
    steps than it takes for 100,000. `by_session` tells what the predictions of a session in a step came to: those of a
    subject where they have no session, or each for itself. Corrected is edited or rejected, where the feedback that
    counts came up to `horizon_us` after the prediction. Feedback given again after the horizon moves a prediction out
    of the count: read it soon after the horizon.
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
    # A session and a subject of the same name are not the same.
    session = func.coalesce("s" + p.session, "u" + p.subject, cast(p.id, String))
    unit = (session if by_session else literal("")).label("unit")
    if with_singles:
        each = select(step, p.slices, unit, p.time_us, p.id, o.prediction_id.is_not(None).label("corrected"))
        return _read_singles(c, each.select_from(joined).where(wanted), by_session)
    found = c.execute(
        select(
            step,
            p.slices,
            unit,
            func.min(p.time_us).label("start_us"),
            func.max(p.time_us).label("end_us"),
            func.count(p.id).label("n"),
            func.count(o.prediction_id).label("k"),
        )
        .select_from(joined)
        .where(wanted)
        # Predictions with the same tags are one row, which is then counted under each of its slices.
        .group_by("step", p.slices, "unit")
        .order_by("step")
    ).all()
    steps = []
    for _, several in groupby(found, lambda row: row.step):
        rows = list(several)
        start_us, end_us = min(row.start_us for row in rows), max(row.end_us for row in rows)
        parts = [(tuple(from_text(row.slices)), row.unit, row.n, row.k) for row in rows]
        steps.append(_as_step(parts, start_us, end_us, Singles(), by_session))
    return steps


def _read_singles(c: Connection, each: Select[Any], by_session: bool) -> list[Matured]:
    in_order = each.order_by(predictions.c.time_us, predictions.c.id)
    # Read as they are needed: what a backlog has beyond is left where it is.
    found = c.execute(in_order, execution_options={"yield_per": _ROWS_AT_ONCE})
    steps, n_read = [], 0
    slices_of: dict[str, tuple[str, ...]] = {}
    for _, several in groupby(found, lambda row: row.step):
        _, texts, units, times_us, ids, corrected = zip(*several, strict=True)
        for text in set(texts) - slices_of.keys():
            slices_of[text] = tuple(from_text(text))
        keys = list(zip(texts, units, strict=True))
        n, k = Counter(keys), Counter(compress(keys, corrected))
        parts = [(slices_of[text], unit, count, k[text, unit]) for (text, unit), count in n.items()]
        singles = Singles(ids, tuple(slices_of[text] for text in texts), corrected)
        if by_session:
            # Those that follow the first of a session are not like others.
            firsts = sorted({unit: place for place, unit in reversed(list(enumerate(units)))}.values())
            singles = Singles(*(tuple(column[place] for place in firsts) for column in singles))
        steps.append(_as_step(parts, times_us[0], times_us[-1], singles, by_session))
        n_read += len(ids)
        if n_read >= _MOST_SINGLES:
            break
    found.close()
    return steps


def _as_step(
    parts: Sequence[tuple[tuple[str, ...], str, int, int]],
    start_us: int,
    end_us: int,
    singles: Singles,
    by_session: bool,
) -> Matured:
    """A step of parts (slices, session, predictions, corrections)."""
    sessions: dict[str, dict[str, tuple[int, int]]] = {}
    for slices, unit, n, k in parts:
        for name in (ALL, *slices):
            counted = sessions.setdefault(name, {})
            before = counted.get(unit, (0, 0))
            counted[unit] = before[0] + n, before[1] + k
    counts = {
        name: (sum(n for n, _ in counted.values()), sum(k for _, k in counted.values()))
        for name, counted in sessions.items()
    }
    each = {name: tuple(sorted(counted.values())) for name, counted in sessions.items()} if by_session else {}
    return Matured(start_us, end_us, counts, singles, each)


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
