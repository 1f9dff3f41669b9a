"""What a random share of a batch, once labelled, tells of all predictions that it was drawn from.

A batch's policy says which predictions those were and how audits were drawn of them, so that they can be read again;
each item says how likely it was to be drawn. Where either is not known, no number is made.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, or_, select

from errata.errors import Malformed
from errata.settings import Detector, Model, Task
from quality.audit import AuditDraw, Audited, Guess, bias_in_a_sentence, estimate
from quality.audited_drift import (
    AUDITS,
    AuditFrame,
    AuditState,
    Judgement,
    describe_audits,
    judge,
    share_of_alarm,
)
from quality.audited_drift import Stage as AuditStage
from quality.calibration import Calibration, calibrate, calibrate_smoothly, estimate_wrong
from quality.distances import measure_distance
from quality.intervals import rate_interval
from quality.rates import Number
from storage.batches import list_batches
from storage.insertion import in_span
from storage.json_text import from_text
from storage.predictions import in_slice
from storage.records import Batch
from storage.signals import read_detector_states, read_horizons
from storage.slices import ALL
from storage.tables import batch_items, batches, feedback, outcomes, predictions

#: A calibration needs so many labels.
ENOUGH_LABELS: Final = 30
#: A guess that audits correct is used only when it was learnt from so many.
_ENOUGH_FOR_A_GUESS: Final = 200
#: Batches are stored in the order of their acceptance, give or take this.
_OVERTAKEN_US: Final = 3_600_000_000
#: Of the latest predictions so many confidences are read.
_CONFIDENCES: Final = 5000
_WHAT_A_POLICY_NEEDS: Final = ("version", "since_us", "until_us", "n_predictions", "audit_draw")
#: So many labels tell how likely that is wrong which users accepted.
_ENOUGH_ACCEPTED: Final = 30


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
class AuditDrift:
    """Whether audits find more errors than is usual: labels and errors since the reference, and that in words."""

    stage: AuditStage
    n: int
    n_labels: int
    n_wrong: int
    n_reference: int
    #: The share of wrong outputs that is no drift; None while it is learnt.
    ceiling: float | None
    evidence_share: float
    #: Since when there are more, if there are.
    since_us: int | None
    #: What audits say where corrections have alarmed.
    judgement: Judgement | None
    said: str


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A random item of a batch that was labelled."""

    prediction_id: str
    part: str
    is_wrong: bool
    is_corrected: bool
    is_accepted: bool
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
    return _estimate(c, latest, audits, kept, guess, n_drawn - len(audits), label_free)


def read_guess(c: Connection, *, model: str, version: str, task: Task) -> Guess | None:
    """How likely an output of a version is wrong that nobody corrected, by the labels that came back so far."""
    delivered = _list_delivered(c, model, version)
    return _learn_guess([each for batch in delivered for each in _read_labelled(c, batch, task)])


def read_audit_frames(
    c: Connection, *, model: str, version: str, task: Task, after: AuditState, since_us: int
) -> list[tuple[AuditFrame, int]]:
    """What the audits of a version found in batches that a state has not seen, each with when it was accepted.

    Only batches drawn from all predictions speak of all; one that was rejected speaks of nothing. None was accepted
    before `since_us`, when the version was first released.
    """
    # A batch may have been accepted while a later one was read.
    since_us = max(since_us, after.accepted_us - _OVERTAKEN_US)
    accepted = select(batches.c.id).where(
        batches.c.model == model, batches.c.status == "accepted", batches.c.decided_us >= since_us
    )
    if not set(c.scalars(accepted)) - set(after.read):
        return []
    found, covered_us = [], after.covered_us
    for batch in _list_accepted(c, model, version, since_us):
        if batch.id not in after.read:
            frame = _read_audit_frame(c, batch, task, covered_us, None)
            covered_us = max(covered_us, frame.until_us)
            found.append((frame, batch.decided_us or 0))
    return found


def judge_by_audits(
    c: Connection,
    *,
    model: str,
    version: str,
    task: Task,
    detector: Detector,
    state: AuditState,
    since_us: int,
) -> Judgement:
    """What audits of the predictions since a change say of a rise of corrections."""
    frames = [
        _read_audit_frame(c, batch, task, 0, since_us)
        for batch in _list_accepted(c, model, version, 0)
        if batch.policy["until_us"] > since_us
    ]
    return judge(state, [frame for frame in frames if frame.n], detector)


def read_audit_drift(c: Connection, *, model: str, version: str, settings: Model) -> AuditDrift:
    """Where the detector of the audits of a version stands, and what audits say of an alarm of corrections."""
    detector = settings.detector
    stored = read_detector_states(c, model, version).get(AUDITS, {}).get(ALL)
    state = AuditState.from_json(stored.state) if stored is not None else AuditState()
    horizons = read_horizons(c, model, version, detector.horizons_us)
    changes_us = [
        by_slice[ALL].alarm_since_us
        for by_slice in horizons.values()
        if ALL in by_slice and by_slice[ALL].stage == "alarmed"
    ]
    since_us = min((each for each in changes_us if each is not None), default=None)
    judgement = None
    if since_us is not None:
        judgement = judge_by_audits(
            c,
            model=model,
            version=version,
            task=settings.task,
            detector=detector,
            state=state,
            since_us=since_us,
        )
    said = describe_audits(state, detector)
    return AuditDrift(
        stage=state.stage,
        n=state.n,
        n_labels=state.n_labels,
        n_wrong=state.n_wrong,
        n_reference=state.reference_labels,
        ceiling=state.ceiling,
        evidence_share=share_of_alarm(state),
        since_us=state.gain_since_us if state.stage == "alarmed" else None,
        judgement=judgement,
        said=said if judgement is None else f"{said} Of the alarm of corrections: {judgement.sentence}",
    )


def _list_accepted(c: Connection, model: str, version: str, since_us: int) -> list[Batch]:
    """The accepted batches whose audits were drawn from all predictions of a version, in the order of acceptance."""
    found = [
        batch
        for batch in list_batches(c, model=model, status="accepted")
        if batch.policy.get("version") == version
        and (batch.decided_us or 0) >= since_us
        and (batch.policy.get("slice") or ALL) == ALL
        and not _list_missing(batch)
        and read_draw(batch).n_drawn
    ]
    return sorted(found, key=lambda batch: (batch.decided_us, batch.id))


def _read_audit_frame(
    c: Connection, batch: Batch, task: Task, covered_us: int, since_us: int | None
) -> AuditFrame:
    """What the audits of a batch found, of its predictions since a time if one is given."""
    rows = [row for row in _read_frame(c, batch) if since_us is None or row.time_us >= since_us]
    corrected = {row.id for row in rows if row.action in ("edit", "reject")}
    asked = {row.id for row in rows} - corrected
    items = c.execute(
        select(batch_items.c.prediction_id, batch_items.c.inclusion, batch_items.c.label).where(
            batch_items.c.batch_id == batch.id, batch_items.c.part == "audit"
        )
    ).all()
    audits = {row.prediction_id: row.inclusion for row in items if row.prediction_id in asked}
    labelled = [each for each in _read_labelled(c, batch, task) if each.prediction_id in audits]
    wrong = [audits[each.prediction_id] for each in labelled if each.part == "audit" and each.is_wrong]
    with_label = {each.prediction_id for each in labelled}
    unlabelled = [inclusion for id_, inclusion in audits.items() if id_ not in with_label]
    draw = read_draw(batch)
    probabilities = [drawn / size for drawn, size in zip(draw.drawn, draw.sizes, strict=True)]
    times_us = [row.time_us for row in rows]
    return AuditFrame(
        batch_id=batch.id,
        since_us=min(times_us, default=batch.policy["since_us"]),
        until_us=batch.policy["until_us"],
        n=len(rows),
        n_new=sum(time_us >= covered_us for time_us in times_us),
        n_corrected=len(corrected),
        n_labels=len(audits) - len(unlabelled),
        n_unlabelled=len(unlabelled),
        wrong=_count(wrong),
        unlabelled=_count(unlabelled),
        inclusion=draw.n_drawn / sum(draw.sizes),
        least_inclusion=min(probabilities),
    )


def _count(probabilities: Iterable[float]) -> tuple[tuple[float, int], ...]:
    return tuple(sorted(Counter(probabilities).items()))


def _list_delivered(c: Connection, model: str, version: str) -> list[Batch]:
    return [
        batch
        for batch in list_batches(c, model=model)
        if batch.policy.get("version") == version and batch.status in ("delivered", "accepted")
    ]


def _why_unknown(batch: Batch, drawn: Sequence[Any]) -> str | None:
    name = f"batch {batch.id}"
    if not drawn:
        return f"No share of {name} is an audit: mining.audit_share orders one, drawn from all predictions."
    if any(row.inclusion is None or row.inclusion <= 0 for row in drawn):
        return (
            f"How likely the audits of {name} were to be drawn is not known, so they stand for nothing else."
        )
    missing = _list_missing(batch)
    if missing:
        return f"What {name} was drawn from is not known (its policy has no {', '.join(missing)})."
    return None


def _estimate(
    c: Connection,
    batch: Batch,
    audits: dict[str, _Labelled],
    kept: float,
    guess: Guess | None,
    n_flagged: int,
    label_free: Number | None,
) -> AuditedError:
    rows = _read_frame(c, batch)
    n = len(rows)
    actions = np.array([row.action or "" for row in rows], dtype=np.str_)
    corrected = np.isin(actions, ("edit", "reject"))
    audited = np.array([row.id in audits for row in rows], dtype=bool)
    wrong = corrected | np.array([row.id in audits and audits[row.id].is_wrong for row in rows], dtype=bool)
    confidences = np.array([np.nan if row.confidence is None else row.confidence for row in rows])
    guesses = np.zeros(n)
    if guess is not None:
        guesses = guess.chance_wrong(confidences, actions == "accept")
    probabilities = read_draw(batch).probabilities(confidences, [row.was_accepted for row in rows])
    found = estimate(wrong, corrected, audited, kept * probabilities, guesses)
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


def _list_missing(batch: Batch) -> list[str]:
    """What the policy of a batch does not say, but would have to; draws of before had no strata."""
    missing = [name for name in _WHAT_A_POLICY_NEEDS if not batch.policy.get(name)]
    draw = batch.policy.get("audit_draw")
    return [*missing, "audit_draw"] if draw and "strata" not in draw else missing


def read_draw(batch: Batch) -> AuditDraw:
    """How the audits of a batch were drawn."""
    return AuditDraw(**{name: tuple(values) for name, values in batch.policy["audit_draw"].items()})


def _read_frame(c: Connection, batch: Batch) -> list[Any]:
    """The predictions that a batch was drawn from, as far as they are still here, in an order that means nothing.

    Who answered again since is taken for silent then.
    """
    p, policy = predictions.c, batch.policy
    latest = (
        select(
            p.id,
            p.time_us,
            p.confidence,
            (p.input.is_not(None) | p.input_uri.is_not(None)).label("has_input"),
        )
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
        select(
            latest.c.id,
            latest.c.time_us,
            latest.c.confidence,
            outcomes.c.action,
            ((outcomes.c.action == "accept") & feedback.c.id.is_not(None)).label("was_accepted"),
        )
        .outerjoin(outcomes, outcomes.c.prediction_id == latest.c.id)
        .outerjoin(
            feedback, (feedback.c.id == outcomes.c.feedback_id) & (feedback.c.stored_us <= batch.created_us)
        )
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
            is_accepted=row.action == "accept",
            confidence=row.confidence,
        )
        for row in rows
    ]


def _is_wrong(task: Task, output: Any, label: Any) -> bool:
    try:
        return measure_distance(task, output, label) > 0
    except Malformed:
        return True


def _learn_guess(labelled: Sequence[_Labelled]) -> Guess | None:
    """How likely an output is wrong that nobody corrected, from the labels of earlier batches."""
    known = [
        (each.confidence, each.is_wrong, each.is_accepted)
        for each in labelled
        if not each.is_corrected and each.confidence is not None
    ]
    if len(known) < _ENOUGH_FOR_A_GUESS:
        return None
    accepted = [is_wrong for _, is_wrong, is_accepted in known if is_accepted]
    silent = [each for each in known if not each[2]]
    is_known_apart = len(accepted) >= _ENOUGH_ACCEPTED and len(silent) >= _ENOUGH_ACCEPTED
    # Else those that were accepted are taken for silent.
    learnt = silent if is_known_apart else known
    return Guess(
        calibrate_smoothly([confidence for confidence, _, _ in learnt], [wrong for _, wrong, _ in learnt]),
        (sum(accepted) + 0.5) / (len(accepted) + 1) if is_known_apart else None,
    )


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
