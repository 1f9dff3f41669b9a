"""Predictions and their feedback brought together, whichever came first.

Outcomes are always computed from all the feedback that is stored, never from the one that just came, and a
window is moved by the difference between the stored outcome and the new one. So any order of arrival, any
repetition and any number of attempts ends in the same rows.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, func, select

from errata.errors import Malformed
from errata.settings import Model, Task
from quality.distances import measure_distance
from quality.outcomes import Action, FeedbackFact, effective
from quality.windows import of_outcomes
from storage.insertion import Columns, as_text, insert_columns, is_one_of, put_rows
from storage.json_text import from_text, from_text_or_none
from storage.tables import feedback, outcomes, predictions
from storage.windows import Additions, Place, place_of

#: Whose feedback counts. That of annotators and auditors is kept as a label, but no user was served worse or
#: better.
COUNTED: Final = "user"

#: A row of a query, whatever its columns.
_Row = Row[*tuple[Any, ...]]


class Shown(NamedTuple):
    """What of a prediction its outcome depends on, and where it is counted."""

    id: str
    model: str
    version: str
    time_us: int
    slices: str
    #: JSON.
    output: str


class Given(NamedTuple):
    """What of a feedback that counts the outcome depends on."""

    id: str
    action: Action
    #: JSON, and there for an edit.
    corrected: str | None
    time_us: int
    display_us: int | None


_NOTHING: Final[Mapping[str, Given]] = {}


@dataclass(frozen=True, slots=True)
class Pairing:
    """What changed: the number of outcomes, and what the windows are to be moved by."""

    n_outcomes: int
    additions: Additions


def pair(
    c: Connection,
    models: Mapping[str, Model],
    prediction_ids: Sequence[str],
    given: Mapping[str, Given] = _NOTHING,
) -> Pairing:
    """Bring the outcomes of predictions that have feedback in line with it, as far as they are stored.

    `given` is feedback that this transaction has stored, by prediction: where there is no other, it is not read
    again. The predictions are locked, so that two transactions with feedback for the same one take turns.
    """
    if not prediction_ids:
        return Pairing(0, _moves([]))
    p = predictions.c
    columns = (as_text(c, p.id), p.model, p.version, p.time_us, p.slices, p.output)
    chosen = select(*columns).where(is_one_of(c, p.id, prediction_ids))
    # Not by a join with the ids, for which PostgreSQL reads the whole table.
    rows = c.execute(chosen.order_by(p.id).with_for_update()).all()
    found = list(map(Shown._make, rows))
    # Only now, with the locks, nobody adds to what is read.
    facts = _gather_feedback(c, [prediction.id for prediction in found], given)
    before = read_outcomes(c, [prediction.id for prediction in found])
    judged = [
        (each, before.get(each.id), judge(models, each, facts[each.id])) for each in found if each.id in facts
    ]
    changed = [(prediction, old, now) for prediction, old, now in judged if now != old]
    insert_columns(c, outcomes, _columns([(each.id, now) for each, old, now in changed if old is None]))
    put_rows(c, outcomes, [_as_row(each.id, now) for each, old, now in changed if old is not None])
    return Pairing(len(changed), _moves(changed))


def _gather_feedback(
    c: Connection, prediction_ids: Sequence[str], given: Mapping[str, Given]
) -> Mapping[str, Sequence[Given]]:
    """The feedback that counts for each prediction: what was just given where it is the only one."""
    just_given = [prediction_id for prediction_id in prediction_ids if prediction_id in given]
    several = _list_with_several(c, just_given)
    others = [each for each in prediction_ids if each not in given or each in several]
    return {each: (given[each],) for each in just_given} | read_feedback(c, others)


def _list_with_several(c: Connection, prediction_ids: Sequence[str]) -> set[str]:
    """Those of the predictions for which there is more than one feedback that counts."""
    if not prediction_ids:
        return set()
    f = feedback.c
    wanted = select(as_text(c, f.prediction_id)).where(is_one_of(c, f.prediction_id, prediction_ids))
    counted = wanted.where(f.who_kind == COUNTED).group_by(f.prediction_id).having(func.count() > 1)
    return set(c.scalars(counted))


def _moves(changed: Sequence[tuple[Shown, FeedbackFact | None, FeedbackFact]]) -> Additions:
    """What changed outcomes move: the new one is added where the old one is taken back."""
    signed: list[tuple[Place, FeedbackFact, int]] = [
        (place_of(prediction), now, 1) for prediction, _, now in changed
    ]
    signed += [(place_of(prediction), old, -1) for prediction, old, _ in changed if old is not None]
    return Additions(
        [place for place, _, _ in signed],
        of_outcomes([fact for _, fact, _ in signed], [sign for _, _, sign in signed]),
    )


def judge(models: Mapping[str, Model], prediction: Shown | _Row, facts: Sequence[Given]) -> FeedbackFact:
    """What became of a prediction with at least one feedback: the one that counts, and its distance.

    An edit back to the very output that was shown is a revert and counts as accept. An edit at distance 0, such
    as a change of case that the task does not mind, is still an edit: the user had to do it.
    An edit whose distance can't be measured, because its type does not fit the task of the model, counts as
    an edit without a distance. It is not refused: whether it could be told at its arrival would depend on
    whether its prediction came first.
    """
    row = facts[0] if len(facts) == 1 else _last(facts)
    action, distance_ppm = row.action, 0 if row.action == "accept" else None
    if action == "edit":
        shown, corrected = from_text(prediction.output), from_text_or_none(row.corrected)
        if _are_same(shown, corrected):
            action, distance_ppm = "accept", 0
        else:
            task = models[prediction.model].task if prediction.model in models else Task()
            distance_ppm = _measure(task, shown, corrected)
    return FeedbackFact(row.id, action, row.time_us - prediction.time_us, distance_ppm, row.display_us)


def _last(facts: Sequence[Given]) -> Given:
    """The row of the feedback that counts."""
    rows = {row.id: row for row in facts}
    fact = effective(FeedbackFact(row.id, row.action, row.time_us, None, row.display_us) for row in facts)
    assert fact is not None
    return rows[fact.id]


def read_feedback(c: Connection, prediction_ids: Sequence[str]) -> dict[str, list[Given]]:
    """The feedback that counts, or once counted, for each prediction."""
    if not prediction_ids:
        return {}
    f = feedback.c
    facts: dict[str, list[Given]] = defaultdict(list)
    columns = (as_text(c, f.prediction_id), as_text(c, f.id), f.action, f.corrected, f.time_us, f.display_us)
    wanted = is_one_of(c, f.prediction_id, prediction_ids)
    rows = c.execute(select(*columns).where(wanted).where(f.who_kind == COUNTED)).all()
    for prediction_id, id_, action, corrected, time_us, display_us in rows:
        facts[prediction_id].append(Given(id_, action, corrected, time_us, display_us))
    return facts


def list_counted(columns: Columns) -> dict[str, Given]:
    """The last of the feedback that counts on each prediction, among rows of `feedback`."""
    names = ("prediction_id", "who_kind", *Given._fields)
    return {
        prediction_id: Given(id_, action, corrected, time_us, display_us)
        for prediction_id, who_kind, id_, action, corrected, time_us, display_us in zip(
            *(columns[name] for name in names), strict=True
        )
        if who_kind == COUNTED
    }


def _fact_of(row: _Row) -> FeedbackFact:
    """A row of `outcomes` as the fact that counts; its time is the delay since the prediction."""
    return FeedbackFact(row.feedback_id, row.action, row.delay_us, row.distance_ppm, row.display_us)


def list_with_feedback(c: Connection, prediction_ids: Sequence[str]) -> set[str]:
    """Those of the predictions for which there is feedback that counts."""
    f = feedback.c
    wanted = select(as_text(c, f.prediction_id)).where(is_one_of(c, f.prediction_id, prediction_ids))
    return set(c.scalars(wanted.where(f.who_kind == COUNTED)).all()) if prediction_ids else set()


def read_outcomes(c: Connection, prediction_ids: Sequence[str]) -> dict[str, FeedbackFact]:
    """The stored outcome of each prediction that has one, as `judge` returns it."""
    stored = select(outcomes).where(is_one_of(c, outcomes.c.prediction_id, prediction_ids))
    return {row.prediction_id: _fact_of(row) for row in c.execute(stored).all()}


def _columns(outcomes_of: Sequence[tuple[str, FeedbackFact]]) -> Columns:
    """Rows of `outcomes`."""
    facts = [fact for _, fact in outcomes_of]
    return {
        "prediction_id": [prediction_id for prediction_id, _ in outcomes_of],
        "feedback_id": [fact.id for fact in facts],
        "action": [fact.action for fact in facts],
        "distance_ppm": [fact.distance_ppm for fact in facts],
        "delay_us": [fact.time_us for fact in facts],
        "display_us": [fact.display_us for fact in facts],
    }


def _as_row(prediction_id: str, fact: FeedbackFact) -> dict[str, Any]:
    return {
        "prediction_id": prediction_id,
        "feedback_id": fact.id,
        "action": fact.action,
        "distance_ppm": fact.distance_ppm,
        "delay_us": fact.time_us,
        "display_us": fact.display_us,
    }


def _measure(task: Task, shown: Any, corrected: Any) -> int | None:
    try:
        return measure_distance(task, shown, corrected)
    except Malformed:
        return None


def _are_same(shown: Any, corrected: Any) -> bool:
    """Whether two values are the same JSON: Python takes 1 for true and 1.0 as well."""
    return bool(shown == corrected) and _canonical(shown) == _canonical(corrected)


def _canonical(value: Any) -> bytes:
    """One form for JSON of the same value."""
    return msgspec.json.encode(value, order="sorted")
