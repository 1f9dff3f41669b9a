"""Watch what each champion is given and answers, as it comes in: without waiting for feedback, and opening no run."""

import math
from dataclasses import asdict
from typing import Final

from errata.identity import NewId
from errata.settings import DataDrift, Settings
from errata.topics import DATA_SHIFT_NOTICED, SIGNALS
from quality.data_drift import EmbeddingState, Notice, count_pairs, follow
from quality.data_standing import call, say_calm, say_moved
from quality.windows import MINUTE_US
from storage import outbox
from storage.alerts import News, raise_alert, resolve_alert
from storage.data_shifts import (
    put_data_drift_states,
    put_data_shift,
    read_data_drift_states,
    read_until,
)
from storage.database import Database, Transaction
from storage.locks import lock_data_drift
from storage.observed import read_observed, read_old_embeddings
from storage.records import DataShift
from storage.releases import champion, is_still_champion

#: A minute is read when it has been over for so long, so that its predictions have come in.
_SETTLE_US: Final = 10_000_000
#: Predictions that are read of a model in one round, about.
_PREDICTIONS_A_ROUND: Final = 5000


def watch_data(db: Database, settings: Settings, now_us: int, new_id: NewId) -> list[DataShift]:
    """Bring what is watched of every champion up to date; return what has moved or is calm again.

    Predictions are read once, in whole minutes, the first of each up to a number that is set; one that comes in after
    later ones were read is left out. A version sets its own reference: what another one answered, and how surely, says
    nothing of it. What is noticed is stored in one transaction for each model, with the states that noticed it.
    """
    shifts = []
    for name, model in settings.models.items():
        if model.data_drift.predictions_per_minute:
            shifts += _watch_model(db, name, model.data_drift, now_us, new_id)
    return shifts


def data_drift_key(model: str, watched: str) -> str:
    """The condition that something watched of a model has moved."""
    return f"data_drift/{model}/{watched}"


def _watch_model(db: Database, name: str, settings: DataDrift, now_us: int, new_id: NewId) -> list[DataShift]:
    with db.read() as c:
        release = champion(c, name)
        if release is None:
            return []
        version = release.version
        since_us = read_until(c, name, version)
        steps = read_observed(
            c,
            model=name,
            version=version,
            since_us=since_us,
            until_us=(now_us - _SETTLE_US) // MINUTE_US * MINUTE_US,
            step_us=MINUTE_US,
            most_per_step=settings.predictions_per_minute,
            most=_PREDICTIONS_A_ROUND,
        )
        if not steps:
            return []
        states = read_data_drift_states(c, name, version)
        embedding = states.get("embedding", EmbeddingState())
        assert isinstance(embedding, EmbeddingState)
        n_pairs = count_pairs(embedding, steps, settings)
        old = (
            read_old_embeddings(
                c,
                model=name,
                version=version,
                after=(embedding.old_us, embedding.old_id),
                until_us=steps[-1].start_us,
                limit=n_pairs,
            )
            if n_pairs
            else []
        )
    states, notices = follow(states, steps, old, settings, f"{name}/{version}")
    with db.write() as c:
        lock_data_drift(c)
        if read_until(c, name, version) != since_us:
            # Another worker was faster.
            return []
        if not is_still_champion(c, release):
            # Its alerts have ended with the release of the next.
            return []
        shifts = [_describe(notice, name, version, settings, new_id(now_us)) for notice in notices]
        for shift in shifts:
            _put(c, shift, now_us, new_id)
        put_data_drift_states(c, name, version, states, steps[-1].end_us, now_us)
    return shifts


def _describe(notice: Notice, model: str, version: str, settings: DataDrift, shift_id: str) -> DataShift:
    whose = f"{model} {version}"
    change = notice.state.course.change if notice.state.course else None
    return DataShift(
        id=shift_id,
        model=model,
        version=version,
        watched=notice.watched,
        time_us=notice.time_us,
        stage=notice.stage,
        change_us=change.since_us if change else None,
        n_values=change.n if change else 0,
        log_evidence=notice.log_evidence,
        level=math.log(settings.events_per_false_alarm),
        reason=(
            say_moved(notice.watched, notice.state, whose)
            if notice.stage == "moved"
            else say_calm(notice.watched, notice.state, whose, settings)
        ),
    )


def _put(c: Transaction, shift: DataShift, now_us: int, new_id: NewId) -> None:
    put_data_shift(c, shift)
    key = data_drift_key(shift.model, shift.watched)
    if shift.stage == "calm":
        resolve_alert(c, key, shift.reason, now_us)
    else:
        title = f"The {call(shift.watched)} of {shift.model} {shift.version} moved"
        news = News(
            key=key,
            kind="data_drift",
            severity="info",
            title=title,
            sentence=shift.reason,
            model=shift.model,
        )
        raise_alert(c, news, now_us, new_id)
    outbox.put(c, SIGNALS, shift.model, DATA_SHIFT_NOTICED, asdict(shift), now_us, shift.id)
