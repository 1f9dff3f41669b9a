"""Labeling batches from the order to the decision; each step is one transaction.

order_audits (they are due) ───────────┐
collect (a run waits) ─────────────────┤                          ┌─ accept_batch ─► examples, run requested
draft_batch (a person) ─ order_batch ──┴► ordered ─ deliver ──────┴─ reject_batch ─► run failed
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any, Final

import msgspec

from errata.identity import NewId
from errata.settings import DAY_SECONDS, Mining, Model, Settings
from errata.topics import BATCH_ORDERED, RETRAIN, RUN_REQUESTED, SIGNALS
from labeling.mining import compose_batch, plan_audits, role_of
from quality.audit import Guess
from quality.data_standing import call
from storage import audits, batches, data_shifts, examples, outbox, predictions, releases, runs, signals, voc
from storage.database import Database, Transaction
from storage.errors import Conflict, NotFound
from storage.locks import lock_run_opening
from storage.records import Batch, BatchItem, Example, Label, Prediction, Role, Run, RunStep
from storage.slices import ALL

log = logging.getLogger(__name__)

#: Of the predictions that may be chosen the latest are read, at most this many: inputs of 64 KiB are a lot.
POOL: Final = 50_000
#: What a batch is for that no run waits for, and that nobody asked for.
AUDITS_ALONE: Final = "audits"
#: VOC rated higher than this is no complaint.
WORST_PRAISE: Final = 6


@dataclass(frozen=True, slots=True)
class Pool:
    """What a batch is chosen from: the predictions of one version and slice in a span of time."""

    version: str
    slice: str
    since_us: int
    until_us: int
    predictions: Sequence[Prediction]
    already: set[str]
    complaints: set[str]
    roles: Mapping[str, Role]
    #: What earlier labels say of predictions that nobody corrected, where audits are drawn by it.
    guess: Guess | None = None
    #: What is watched of the version and has moved.
    moved: Sequence[str] = ()


def collect(db: Database, settings: Settings, now_us: int, new_id: NewId) -> list[str]:
    """Order a batch for each run that waits for one and has settled; return the ids of these batches.

    Predictions are taken from the slice and the time since the change that opened the run, as far as
    `lookback_seconds` allows. Where there are some but none can be labelled, the run has failed.
    """
    with db.read() as c:
        waiting = [run for run in runs.list_runs(c, status="waiting") if run.batch_id is None]
    ordered = []
    for run in reversed(waiting):
        mining = settings.models[run.model].mining if run.model in settings.models else None
        if mining is None or now_us < run.opened_us + _us(mining.settle_seconds):
            continue
        change_us, drifted = _find_change(db, run)
        pool = read_pool(
            db,
            run.model,
            run.champion,
            settings.models[run.model],
            now_us,
            change_us=change_us,
            of_slice=drifted,
        )
        focus = "" if drifted == ALL else f" It is chosen from {drifted}, where the rate has drifted."
        batch, items = _compose(
            pool, run.model, mining, run.seed, f"Run {run.id} waits for it.{focus}", now_us, new_id
        )
        if items:
            if _order_for_run(db, replace(batch, run_id=run.id), items, now_us, new_id):
                ordered.append(batch.id)
        elif pool.predictions:
            _fail(db, run, _why_empty(pool), now_us)
    return ordered


def order_audits(db: Database, settings: Settings, now_us: int, new_id: NewId) -> list[str]:
    """Order batches of audits alone where they are due; return their ids.

    One of a model is on its way at a time, so that labels that nobody writes are not ordered again and again. It is
    drawn from what the champion predicted since the one before, no longer ago than `lookback_seconds`.
    """
    ordered = []
    for model, known in settings.models.items():
        if not known.mining.audit_days:
            continue
        with db.read() as c:
            champion = releases.champion(c, model)
            before = _list_audits(c, model)
            moved = (
                data_shifts.list_moved(c, model, champion.version, known.data_drift.ignored)
                if champion
                else []
            )
        if champion is None or not _is_due(before, champion.time_us, known.mining, moved, now_us):
            continue
        until_us = [each.policy["until_us"] for each in before if each.policy["version"] == champion.version]
        pool = read_pool(db, model, champion.version, known, now_us, change_us=max(until_us, default=None))
        mining = msgspec.structs.replace(
            known.mining,
            quantity=known.mining.audit_quantity,
            audit_share=1.0,
            evaluation_share=0.0,
            diverse_share=0.0,
        )
        reason = f"Audits of {model} {champion.version} are due every {known.mining.audit_days:g} days."
        batch, items = _compose(pool, model, mining, now_us % 2**31, reason, now_us, new_id)
        items = [item for item in items if item.part == "audit"]
        if not items:
            continue
        batch = replace(batch, quantity=len(items), policy=batch.policy | {"purpose": AUDITS_ALONE})
        with db.write() as c:
            lock_run_opening(c)
            if _list_audits(c, model) != before:
                # Another worker was faster.
                continue
            batches.create_batch(c, batch, items)
            batches.set_status(c, batch.id, "ordered", batch.reason, now_us)
            outbox.put(c, SIGNALS, batch.model, BATCH_ORDERED, _announce(batch), now_us, new_id(now_us))
        ordered.append(batch.id)
    return ordered


def _list_audits(c: Transaction, model: str) -> list[Batch]:
    """The batches of audits alone, the newest first."""
    return [
        each for each in batches.list_batches(c, model=model) if each.policy.get("purpose") == AUDITS_ALONE
    ]


def _is_due(
    before: Sequence[Batch], released_us: int, mining: Mining, moved: Sequence[str], now_us: int
) -> bool:
    if any(batch.decided_us is None for batch in before):
        return False
    last_us = max([released_us, *(batch.created_us for batch in before)])
    days = mining.audit_days / (mining.drift_audit_factor if moved else 1.0)
    return now_us >= last_us + round(days * DAY_SECONDS * 1_000_000)


def draft_batch(db: Database, settings: Settings, model: str, now_us: int, new_id: NewId) -> Batch:
    """Compose and store a batch that no run waits for, from what the champion predicted lately; a draft.

    Raises NotFound for a model without settings, and Conflict where there is nothing to label.
    """
    if model not in settings.models:
        raise NotFound("model", model)
    mining = settings.models[model].mining
    with db.read() as c:
        champion = releases.champion(c, model)
    if champion is None:
        raise Conflict(f"{model} has no champion: register its first version")
    pool = read_pool(db, model, champion.version, settings.models[model], now_us)
    seed = now_us % 2**31
    batch, items = _compose(pool, model, mining, seed, "A person asked for it.", now_us, new_id)
    if not items:
        raise Conflict(_why_empty(pool))
    with db.write() as c:
        batches.create_batch(c, batch, items)
    return batch


def order_batch(db: Database, batch_id: str, reason: str, now_us: int, new_id: NewId) -> Batch:
    """Order a draft; raises Conflict for any other batch."""
    with db.write() as c:
        batches.set_status(c, batch_id, "ordered", reason, now_us)
        batch = batches.get_batch(c, batch_id)
        outbox.put(c, SIGNALS, batch.model, BATCH_ORDERED, _announce(batch), now_us, new_id(now_us))
    return batch


def deliver(db: Database, batch_id: str, labels: Sequence[Label], now_us: int) -> Batch:
    """Store labels; once every item that was not erased has a label or a flag, the batch is delivered."""
    with db.write() as c:
        batches.put_labels(c, batch_id, labels)
        open_items = [item for item in batches.read_items(c, batch_id) if item.labeled_us is None]
        for item in list(open_items):
            try:
                predictions.get_prediction(c, item.prediction_id)
            except NotFound:
                open_items.remove(item)
        if not open_items and batches.get_batch(c, batch_id).status == "ordered":
            batches.set_status(c, batch_id, "delivered", "Every item has a label or a flag.", now_us)
        return batches.get_batch(c, batch_id)


def accept_batch(db: Database, batch_id: str, reason: str, now_us: int, new_id: NewId) -> Batch:
    """Make examples of a delivered batch, and request the run that waits for it; else raises Conflict.

    An item that was flagged or whose prediction was erased makes no example; nor does one of a group that judges,
    unless it was chosen to judge: audits leave out what is corrected, and would make errors look rarer.
    """
    with db.write() as c:
        batches.set_status(c, batch_id, "accepted", reason, now_us)
        batch = batches.get_batch(c, batch_id)
        items = batches.read_items(c, batch_id)
        sources: dict[str, Prediction] = {}
        for item in items:
            with suppress(NotFound):
                sources[item.prediction_id] = predictions.get_prediction(c, item.prediction_id)
        new = _make_examples(batch, items, sources, examples.read_group_roles(c, batch.model), now_us)
        if not new:
            raise Conflict(f"batch {batch_id} has no item that became an example: reject it")
        examples.put_examples(c, new)
        run = runs.lock_run(c, batch.run_id) if batch.run_id else None
        if run is not None and run.status == "waiting":
            evidence = _count_examples(batch, items, new)
            request = {"run_id": run.id, "model": run.model}
            runs.put_step(c, RunStep(run_id=run.id, step="labelled", evidence=evidence, time_us=now_us))
            runs.put_step(c, RunStep(run_id=run.id, step="requested", evidence=request, time_us=now_us))
            runs.update_run(c, run.id, status="requested")
            outbox.put(c, RETRAIN, run.model, RUN_REQUESTED, request, now_us, new_id(now_us))
    return batch


def reject_batch(db: Database, batch_id: str, reason: str, now_us: int) -> Batch:
    """Refuse a delivered batch: the run that waited for it has failed; its predictions may be ordered again.

    Nothing is ordered in its place by itself, because that would cost money nobody has agreed to.
    """
    with db.write() as c:
        batches.set_status(c, batch_id, "rejected", reason, now_us)
        batch = batches.get_batch(c, batch_id)
        run = runs.lock_run(c, batch.run_id) if batch.run_id else None
        if run is not None and run.status == "waiting":
            why = f"The labels of batch {batch_id} were rejected: {reason}"
            runs.update_run(c, run.id, status="failed", verdict_reason=why, decided_us=now_us)
    return batch


def cost_of(batch: Batch) -> Decimal:
    """What a batch costs in its currency: quantity times unit price."""
    return batch.quantity * Decimal(batch.unit_price)


def read_pool(
    db: Database,
    model: str,
    version: str,
    settings: Model,
    now_us: int,
    *,
    change_us: int | None = None,
    of_slice: str = ALL,
) -> Pool:
    """Read what a batch may be chosen from; nothing from before the change, nor from before the lookback."""
    mining = settings.mining
    since_us = max(now_us - _us(mining.lookback_seconds), change_us or 0)
    with db.read() as c:
        found = predictions.read_predictions(
            c,
            model=model,
            version=version,
            slice=of_slice,
            since_us=since_us,
            until_us=now_us,
            limit=POOL,
        )
        known = batches.list_ordered_predictions(c, model)
        comments = voc.read_voc(c, model=model, since_us=since_us, limit=POOL)
        roles = examples.read_group_roles(c, model)
        guess = (
            audits.read_guess(c, model=model, version=version, task=settings.task)
            if mining.audit_draw == "active"
            else None
        )
        moved = data_shifts.list_moved(c, model, version, settings.data_drift.ignored)
    if len(found) == POOL:
        log.warning(
            "%s has more than %s predictions since %s: the batch is chosen from these", model, POOL, since_us
        )
    complaints = {
        comment.prediction_id
        for comment in comments
        if comment.prediction_id and (comment.rating is None or comment.rating <= WORST_PRAISE)
    }
    return Pool(version, of_slice, since_us, now_us, found, known, complaints, roles, guess, moved)


def _compose(
    pool: Pool, model: str, mining: Mining, seed: int, reason: str, now_us: int, new_id: NewId
) -> tuple[Batch, list[BatchItem]]:
    raised = _raise_audits(mining, pool.moved)
    if raised.audit_share > mining.audit_share:
        what = ", ".join(call(watched) for watched in pool.moved)
        reason = (
            f"{reason} The share of audits is {raised.audit_share:.0%} instead of {mining.audit_share:.0%}, because "
            f"what the version is given or answers has moved ({what})."
        )
    mining = raised
    draw = plan_audits(pool.predictions, mining, pool.guess, pool.already)
    items = compose_batch(
        pool.predictions,
        mining,
        model=model,
        seed=seed,
        already=pool.already,
        complaints=pool.complaints,
        roles=pool.roles,
        draw=draw,
    )
    policy = {
        "mining": msgspec.to_builtins(mining),
        "seed": seed,
        "version": pool.version,
        "slice": pool.slice,
        "since_us": pool.since_us,
        "until_us": pool.until_us,
        "n_predictions": len(pool.predictions),
        "n_ordered_before": sum(p.id in pool.already for p in pool.predictions),
        "audit_draw": asdict(draw),
    }
    batch = Batch(
        id=new_id(now_us),
        model=model,
        status="draft",
        run_id=None,
        quantity=len(items),
        unit_price=mining.unit_price,
        currency=mining.currency,
        guide=mining.guide,
        guide_version=mining.guide_version,
        policy=policy,
        reason=reason,
        created_us=now_us,
    )
    return batch, items


def _raise_audits(mining: Mining, moved: Sequence[str]) -> Mining:
    """More audits while something has moved, but at least half of the hard examples."""
    if not moved:
        return mining
    hard = 1 - mining.audit_share - mining.evaluation_share - mining.diverse_share
    share = min(mining.audit_share * mining.drift_audit_factor, mining.audit_share + hard / 2)
    return msgspec.structs.replace(mining, audit_share=max(share, mining.audit_share))


def _order_for_run(
    db: Database, batch: Batch, items: Sequence[BatchItem], now_us: int, new_id: NewId
) -> bool:
    """Store and order `batch` for its run; False if another process was faster."""
    assert batch.run_id is not None
    with db.write() as c:
        run = runs.lock_run(c, batch.run_id)
        if run.status != "waiting" or run.batch_id is not None:
            return False
        batches.create_batch(c, batch, items)
        batches.set_status(c, batch.id, "ordered", batch.reason, now_us)
        evidence = _announce(batch) | {"parts": dict(Counter(item.part for item in items))}
        runs.put_step(c, RunStep(run_id=run.id, step="ordered", evidence=evidence, time_us=now_us))
        runs.update_run(c, run.id, batch_id=batch.id)
        outbox.put(c, SIGNALS, batch.model, BATCH_ORDERED, _announce(batch), now_us, new_id(now_us))
    return True


def _announce(batch: Batch) -> dict[str, Any]:
    return {
        "batch_id": batch.id,
        "model": batch.model,
        "run_id": batch.run_id,
        "quantity": batch.quantity,
        "cost": str(cost_of(batch)),
        "currency": batch.currency,
        "guide_version": batch.guide_version,
    }


def _find_change(db: Database, run: Run) -> tuple[int | None, str]:
    """When the change began that opened the run, as far as it is known, and in which slice."""
    if run.signal_id is None:
        return None, ALL
    with db.read() as c:
        signal = signals.get_signal(c, run.signal_id)
    return signal.change_us, signal.slice


def _fail(db: Database, run: Run, why: str, now_us: int) -> None:
    with db.write() as c:
        if runs.lock_run(c, run.id).status == "waiting":
            runs.update_run(c, run.id, status="failed", verdict_reason=why, decided_us=now_us)


def _why_empty(pool: Pool) -> str:
    return (
        f"None of the {len(pool.predictions)} predictions of {pool.version} can be labelled: each was "
        "ordered before, or was sent without `input` and `input_uri`."
    )


def _make_examples(
    batch: Batch,
    items: Sequence[BatchItem],
    sources: Mapping[str, Prediction],
    roles: Mapping[str, Role],
    now_us: int,
) -> list[Example]:
    # The share at the time of the order decided who was mined; a setting that changed since must not undo it.
    percent = batch.policy["mining"]["evaluation_groups_percent"]
    made = []
    for item in items:
        source = sources.get(item.prediction_id)
        if source is None or item.label is None:
            continue
        role = roles.get(item.group) or role_of(item.group, percent, batch.model)
        if role == "evaluation" and item.part != "evaluation":
            continue
        made.append(
            Example(
                id=item.prediction_id,
                model=batch.model,
                input=source.input if source.input is not None else {"uri": source.input_uri},
                label=item.label,
                group=item.group,
                role=role,
                part=item.part,
                batch_id=batch.id,
                created_us=now_us,
            )
        )
    return made


def _count_examples(batch: Batch, items: Sequence[BatchItem], new: Sequence[Example]) -> dict[str, Any]:
    flags = Counter(flag for item in items for flag in item.flags)
    return {
        "batch_id": batch.id,
        "training": sum(example.role == "training" for example in new),
        "evaluation": sum(example.role == "evaluation" for example in new),
        "flags": dict(flags),
        "cost": str(cost_of(batch)),
        "currency": batch.currency,
    }


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
