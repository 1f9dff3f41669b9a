"""What a random share of a batch, once labelled, tells of all predictions that it was drawn from.

A batch's policy says which predictions those were, so that they can be read again; each item says how likely it was to
be drawn. Where either is not known, no number is made.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, or_, select

from errata.errors import Malformed
from errata.settings import Task
from quality.audit import ActiveDraw, Audited, bias_in_a_sentence, estimate
from quality.calibration import Calibration, calibrate, estimate_wrong
from quality.distances import measure_distance
from quality.intervals import rate_interval
from quality.rates import Number
from storage.batches import list_batches
from storage.insertion import in_span
from storage.json_text import from_text
from storage.predictions import in_slice
from storage.records import Batch
from storage.slices import ALL
from storage.tables import batch_items, batches, outcomes, predictions

#: A calibration needs so many labels.
ENOUGH_LABELS: Final = 30
#: A guess that audits correct is used only when it was learnt from so many.
_ENOUGH_FOR_A_GUESS: Final = 200
#: Of the latest predictions so many confidences are read.
_CONFIDENCES: Final = 5000
_WHAT_A_POLICY_NEEDS: Final = ("version", "since_us", "until_us", "n_predictions")


@dataclass(frozen=True, slots=True)
class AuditedError:
    """What the audits of one batch say of the predictions that it was drawn from, beside what users said of them.

    `sentence` explains the difference, or why there is no number; without one all numbers but `label_free` are None.
    """

    sentence: str
    batch_id: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    #: Edits of all predictions.
    edited: Number | None = None
    #: Edits and rejects of all predictions: silence is taken for consent.
    silence_is_consent: Number | None = None
    #: Edits and rejects of those predictions that somebody answered.
    of_answers: Number | None = None
    audited: Audited | None = None
    n_flagged: int = 0
    #: What the confidences of the latest predictions say, by what they meant in the batch; not an observation.
    label_free: Number | None = None


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A random item of a batch that was labelled."""

    prediction_id: str
    part: str
    is_wrong: bool
    is_corrected: bool
    confidence: float | None


def read_audited_error(c: Connection, *, model: str, version: str, task: Task, since_us: int) -> AuditedError:
    """The audited error of a version, by the latest of its batches that came back.

    A correction is believed, since it was work; that somebody accepted, or said nothing, is not. The label-free
    estimate is of the predictions since `since_us`.
    """
    delivered = _list_delivered(c, model, version)
    if not delivered:
        return AuditedError("No batch of this version has come back from the labelers: nothing was audited.")
    latest, earlier = delivered[0], delivered[1:]
    labelled = _read_labelled(c, latest, task)
    label_free = _estimate_without_labels(c, model, version, since_us, labelled)
    drawn = c.execute(
        select(batch_items.c.inclusion, predictions.c.id.is_not(None).label("is_here"))
        .outerjoin(predictions, predictions.c.id == batch_items.c.prediction_id)
        .where(batch_items.c.batch_id == latest.id, batch_items.c.part == "audit")
    ).all()
    why_not = _why_unknown(latest, drawn)
    if why_not:
        return AuditedError(why_not, batch_id=latest.id, label_free=label_free)
    n_drawn = sum(row.is_here for row in drawn)
    audits = {each.prediction_id: each for each in labelled if each.part == "audit"}
    if not audits:
        said = f"No audit of batch {latest.id} is still here with a label: nothing is known."
        return AuditedError(said, batch_id=latest.id, n_flagged=n_drawn, label_free=label_free)
    guess = _learn_guess([each for batch in earlier for each in _read_labelled(c, batch, task)])
    # An audit without a label is taken for one that was not drawn. What was removed is not spoken for.
    kept = len(audits) / n_drawn
    uniform = float(drawn[0].inclusion)
    return _estimate(c, latest, audits, uniform, kept, guess, n_drawn - len(audits), label_free)


def read_guess(c: Connection, *, model: str, version: str, task: Task) -> Calibration | None:
    """How likely an output of a version is wrong that nobody corrected, by the labels that came back so far."""
    delivered = _list_delivered(c, model, version)
    return _learn_guess([each for batch in delivered for each in _read_labelled(c, batch, task)])


def _list_delivered(c: Connection, model: str, version: str) -> list[Batch]:
    return [
        batch
        for batch in list_batches(c, model=model)
        if batch.policy.get("version") == version and batch.status in ("delivered", "accepted")
    ]


def _read_probabilities(batch: Batch, rows: Sequence[Any], uniform: float) -> npt.NDArray[np.float64]:
    """How likely each prediction was to be audited: by its confidence, where the batch says how; else all alike."""
    draw = batch.policy.get("audit_draw")
    if not draw:
        return np.full(len(rows), uniform)
    confidences = [np.nan if row.confidence is None else row.confidence for row in rows]
    plan = ActiveDraw(
        tuple(draw["confidences"]),
        tuple(draw["chances"]),
        draw["share"],
        draw["least"],
        draw["mean_spread"],
    )
    return plan.probabilities(confidences)


def _why_unknown(batch: Batch, drawn: Sequence[Any]) -> str | None:
    name = f"batch {batch.id}"
    if not drawn:
        return f"No share of {name} is an audit: mining.audit_share orders one, drawn from all predictions."
    if any(row.inclusion is None or row.inclusion <= 0 for row in drawn):
        return (
            f"How likely the audits of {name} were to be drawn is not known, so they stand for nothing else."
        )
    missing = [name for name in _WHAT_A_POLICY_NEEDS if not batch.policy.get(name)]
    if missing:
        return f"What {name} was drawn from is not known (its policy has no {', '.join(missing)})."
    return None


def _estimate(
    c: Connection,
    batch: Batch,
    audits: dict[str, _Labelled],
    uniform: float,
    kept: float,
    guess: Calibration | None,
    n_flagged: int,
    label_free: Number | None,
) -> AuditedError:
    rows = _read_frame(c, batch)
    n = len(rows)
    actions = np.array([row.action or "" for row in rows], dtype=np.str_)
    corrected = np.isin(actions, ("edit", "reject"))
    audited = np.array([row.id in audits for row in rows], dtype=bool)
    wrong = corrected | np.array([row.id in audits and audits[row.id].is_wrong for row in rows], dtype=bool)
    guesses = np.zeros(n)
    if guess is not None:
        guesses = guess.chance_wrong([0.5 if row.confidence is None else row.confidence for row in rows])
    found = estimate(wrong, corrected, audited, kept * _read_probabilities(batch, rows, uniform), guesses)
    answered = int((actions != "").sum())
    silence = _share(int(corrected.sum()), n)
    of_answers = _share(int(corrected.sum()), answered)
    return AuditedError(
        bias_in_a_sentence(silence.value or 0.0, found, of_answers.value),
        batch_id=batch.id,
        since_us=batch.policy["since_us"],
        until_us=batch.policy["until_us"],
        edited=_share(int((actions == "edit").sum()), n),
        silence_is_consent=silence,
        of_answers=of_answers,
        audited=found,
        n_flagged=n_flagged,
        label_free=label_free,
    )


def _read_frame(c: Connection, batch: Batch) -> list[Any]:
    """The predictions that a batch was drawn from, as far as they are still here, in an order that means nothing."""
    p, policy = predictions.c, batch.policy
    latest = (
        select(p.id, p.confidence, (p.input.is_not(None) | p.input_uri.is_not(None)).label("has_input"))
        .where(
            p.model == batch.model,
            p.version == policy["version"],
            p.stored_us <= batch.created_us,
            in_slice(c, policy.get("slice") or ALL),
            *in_span(p.time_us, policy["since_us"], policy["until_us"]),
        )
        .order_by(p.time_us.desc(), p.id.desc())
        .limit(policy["n_predictions"])
        .subquery()
    )
    was_rejected = (batches.c.status == "rejected") & (batches.c.decided_us <= batch.created_us)
    ordered_before = (
        select(batch_items.c.prediction_id)
        .join(batches, batches.c.id == batch_items.c.batch_id)
        .where(batches.c.model == batch.model, batches.c.created_us < batch.created_us, ~was_rejected)
    )
    rows: Sequence[Any] = c.execute(
        select(latest.c.id, latest.c.confidence, outcomes.c.action)
        .outerjoin(outcomes, outcomes.c.prediction_id == latest.c.id)
        .where(latest.c.has_input, latest.c.id.not_in(ordered_before))
    ).all()
    return sorted(rows, key=lambda row: hashlib.sha256(str(row.id).encode()).digest())


def _read_labelled(c: Connection, batch: Batch, task: Task) -> list[_Labelled]:
    """The items of a batch that were drawn at random and got a label, and whether their output was wrong."""
    i, p, o = batch_items.c, predictions.c, outcomes.c
    rows = c.execute(
        select(i.prediction_id, i.part, i.label, p.output, p.confidence, o.action)
        .join(predictions, p.id == i.prediction_id)
        .outerjoin(outcomes, o.prediction_id == i.prediction_id)
        .where(i.batch_id == batch.id, or_(i.part == "audit", i.part == "evaluation"), i.label.is_not(None))
    )
    return [
        _Labelled(
            prediction_id=row.prediction_id,
            part=row.part,
            is_wrong=_is_wrong(task, from_text(row.output), from_text(row.label)),
            is_corrected=row.action in ("edit", "reject"),
            confidence=row.confidence,
        )
        for row in rows
    ]


def _is_wrong(task: Task, output: Any, label: Any) -> bool:
    try:
        return measure_distance(task, output, label) > 0
    except Malformed:
        return True


def _learn_guess(labelled: Sequence[_Labelled]) -> Calibration | None:
    """How likely an output is wrong that nobody corrected, from the labels of earlier batches."""
    return _calibrate([each for each in labelled if not each.is_corrected], _ENOUGH_FOR_A_GUESS)


def _calibrate(labelled: Sequence[_Labelled], enough: int) -> Calibration | None:
    known = [(each.confidence, each.is_wrong) for each in labelled if each.confidence is not None]
    if len(known) < enough:
        return None
    return calibrate([confidence for confidence, _ in known], [wrong for _, wrong in known])


def _estimate_without_labels(
    c: Connection, model: str, version: str, since_us: int, labelled: Sequence[_Labelled]
) -> Number | None:
    """The share of wrong outputs that the latest confidences stand for; it has no interval, as it is no observation."""
    calibration = _calibrate(labelled, ENOUGH_LABELS)
    if calibration is None:
        return None
    p = predictions.c
    confidences: npt.NDArray[np.float64] = np.array(
        c.scalars(
            select(p.confidence)
            .where(p.model == model, p.version == version, p.time_us >= since_us, p.confidence.is_not(None))
            .order_by(p.time_us.desc())
            .limit(_CONFIDENCES)
        ).all(),
        dtype=np.float64,
    )
    return Number(estimate_wrong(calibration, confidences), len(confidences))


def _share(k: int, n: int) -> Number:
    return Number(k / n, n, *rate_interval(n, k)) if n else Number(None, 0)
