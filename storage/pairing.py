"""Predictions and their feedback brought together, whichever came first.

Outcomes are always computed from all the feedback that is stored, never from the one that just came, and a
window is moved by the difference between the stored outcome and the new one. So any order of arrival, any
repetition and any number of attempts ends in the same rows.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, select

from errata.errors import Malformed
from errata.settings import Model, Task
from quality.distances import measure_distance
from quality.outcomes import FeedbackFact, effective
from quality.windows import of_outcome, subtract
from storage.insertion import is_one_of, put_rows
from storage.json_text import from_text
from storage.tables import feedback, outcomes, predictions
from storage.windows import Addition, place_of

#: Whose feedback counts. That of annotators and auditors is kept as a label, but no user was served worse or
#: better.
COUNTED: Final = "user"

#: A row of a query, whatever its columns.
_Row = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Pairing:
    """What changed: the number of outcomes, and what the windows are to be moved by."""

    n_outcomes: int
    additions: list[Addition]


def pair(c: Connection, models: Mapping[str, Model], prediction_ids: Sequence[str]) -> Pairing:
    """Bring the outcomes of those predictions that are stored in line with their feedback.

    The predictions are locked, so that two transactions with feedback for the same one take turns.
    """
    ids = _with_feedback(c, prediction_ids)
    if not ids:
        return Pairing(0, [])
    p = predictions.c
    found = c.execute(
        select(p.id, p.model, p.version, p.time_us, p.output, p.slices)
        .where(is_one_of(c, p.id, ids))
        .order_by(p.id)
        .with_for_update()
    ).all()
    rows, additions = [], []
    facts = read_feedback(c, [prediction.id for prediction in found])
    before = read_outcomes(c, [prediction.id for prediction in found])
    for prediction in found:
        old, now = before.get(prediction.id), judge(models, prediction, facts[prediction.id])
        if now == old:
            continue
        rows.append(_as_row(prediction, now))
        additions.append((place_of(prediction), subtract(of_outcome(now), of_outcome(old))))
    put_rows(c, outcomes, rows)
    return Pairing(len(rows), additions)


def judge(models: Mapping[str, Model], prediction: _Row, facts: Sequence[_Row]) -> FeedbackFact:
    """What became of a prediction with at least one feedback: the one that counts, and its distance.

    An edit back to the very output that was shown is a revert and counts as accept. An edit at distance 0, such
    as a change of case that the task does not mind, is still an edit: the user had to do it.
    An edit whose distance can't be measured, because its type does not fit the task of the model, counts as
    an edit without a distance. It is not refused: whether it could be told at its arrival would depend on
    whether its prediction came first.
    """
    rows = {row.id: row for row in facts}
    fact = effective(
        FeedbackFact(row.id, row.action, row.time_us - prediction.time_us, None, row.display_us)
        for row in facts
    )
    assert fact is not None
    if fact.action == "reject":
        return fact
    corrected = rows[fact.id].corrected
    if fact.action == "accept" or _canonical(corrected) == _canonical(prediction.output):
        return replace(fact, action="accept", distance_ppm=0)
    task = models[prediction.model].task if prediction.model in models else Task()
    return replace(fact, distance_ppm=_measure(task, prediction.output, corrected))


def read_feedback(c: Connection, prediction_ids: Sequence[str]) -> dict[str, list[_Row]]:
    """The feedback that counts, or once counted, for each prediction."""
    f = feedback.c
    facts: dict[str, list[_Row]] = defaultdict(list)
    columns = (f.id, f.prediction_id, f.action, f.corrected, f.time_us, f.display_us)
    for row in c.execute(
        select(*columns).where(is_one_of(c, f.prediction_id, prediction_ids)).where(f.who_kind == COUNTED)
    ):
        facts[row.prediction_id].append(row)
    return facts


def _fact_of(row: _Row) -> FeedbackFact:
    """A row of `outcomes` as the fact that counts; its time is the delay since the prediction."""
    return FeedbackFact(row.feedback_id, row.action, row.delay_us, row.distance_ppm, row.display_us)


def _with_feedback(c: Connection, prediction_ids: Sequence[str]) -> list[str]:
    f = feedback.c
    wanted = (
        select(f.prediction_id)
        .where(is_one_of(c, f.prediction_id, prediction_ids))
        .where(f.who_kind == COUNTED)
    )
    return sorted(set(c.scalars(wanted))) if prediction_ids else []


def read_outcomes(c: Connection, prediction_ids: Sequence[str]) -> dict[str, FeedbackFact]:
    """The stored outcome of each prediction that has one, as `judge` returns it."""
    stored = select(outcomes).where(is_one_of(c, outcomes.c.prediction_id, prediction_ids))
    return {row.prediction_id: _fact_of(row) for row in c.execute(stored)}


def _as_row(prediction: _Row, fact: FeedbackFact) -> dict[str, Any]:
    return {
        "prediction_id": prediction.id,
        "feedback_id": fact.id,
        "action": fact.action,
        "distance_ppm": fact.distance_ppm,
        "delay_us": fact.time_us,
        "display_us": fact.display_us,
    }


def _measure(task: Task, shown: str, corrected: str) -> int | None:
    try:
        return measure_distance(task, from_text(shown), from_text(corrected))
    except Malformed:
        return None


def _canonical(text: str) -> bytes:
    """One form for JSON texts of the same value."""
    return msgspec.json.encode(from_text(text), order="sorted")
