"""The first step of the loop: watch the correction rate of each champion, and decide what an alarm leads to."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Final

from errata.identity import NewId
from errata.settings import Model, Settings
from errata.topics import DRIFT_NOTICED, RETRAIN, RUN_REQUESTED, SIGNALS
from errata.wire import format_time
from quality.drift import DetectorState, Update, reset_for_version, update
from quality.trigger import Evidence, PastRun, why_not_enough, why_not_now
from quality.windows import MINUTE_US
from storage import outbox
from storage.database import Database
from storage.errors import Conflict
from storage.locks import lock_run_opening
from storage.predictions import Matured, count_subjects, read_matured
from storage.records import Release, Run, RunStatus, RunStep, Signal
from storage.releases import champion, list_releases
from storage.runs import list_runs, open_run, put_step
from storage.signals import StoredState, get_detector_state, put_detector_state, put_signal, read_signals
from storage.slices import ALL

#: A run in one of these is on its way to a verdict.
OPEN: Final[tuple[RunStatus, ...]] = ("waiting", "requested", "training")


def watch(db: Database, settings: Settings, now_us: int, new_id: NewId) -> list[Signal]:
    """Bring the detector of every champion up to date; return the signals of those that alarmed.

    Predictions are read once, in the order of their times, when they are as old as the horizon of the detector.
    One that arrives after later ones were read is counted in the windows, but not here: a backlog is followed
    as it comes in, and only what its partitions give out of order is left out. What is decided is stored in one
    transaction for each model.
    """
    signals = []
    for name, model in settings.models.items():
        signals += _watch_model(db, name, model, now_us, new_id)
    return signals


def request_run(db: Database, model: str, *, reason: str, collect: bool, now_us: int, new_id: NewId) -> Run:
    """Open a run by hand: with `collect` it waits for a labeling batch, else it goes to a trainer at once.

    Raises Conflict where the model has no champion to beat, or a run is open already.
    """
    with db.write() as c:
        lock_run_opening(c)
        release = champion(c, model)
        if release is None:
            raise Conflict(f"{model} has no champion: register its first version")
        for open_already in list_runs(c, model=model, status=OPEN, limit=1):
            raise Conflict(f"run {open_already.id} of {model} is {open_already.status}: wait for its verdict")
        run = _new_run(release, reason, None, now_us, new_id)
        opened = RunStep(run_id=run.id, step="opened", evidence={"reason": reason}, time_us=now_us)
        if collect:
            open_run(c, run)
            put_step(c, opened)
            return run
        run = replace(run, status="requested")
        request = {"run_id": run.id, "model": model}
        open_run(c, run)
        put_step(c, opened)
        put_step(c, RunStep(run_id=run.id, step="requested", evidence=request, time_us=now_us))
        outbox.put(c, RETRAIN, model, RUN_REQUESTED, request, now_us, new_id(now_us))
    return run


def follow(
    state: DetectorState, spans: Sequence[Matured], model: Model
) -> tuple[DetectorState, list[Update]]:
    """Take in spans of matured predictions; return the new state and the steps at which there was an alarm."""
    alarms = []
    for span in spans:
        step = update(state, span.n, span.k, model.detector, start_us=span.start_us)
        state = step.state
        if step.alarm:
            alarms.append(step)
    return state, alarms


def decide(
    release: Release,
    model: Model,
    alarm: Update,
    n_subjects: int,
    until_us: int,
    runs: Sequence[Run],
    now_us: int,
    new_id: NewId,
) -> tuple[Signal, Run | None]:
    """What an alarm of a champion leads to: its signal, and the run that it opens; `runs` are all of the model."""
    n, k, change_us = (
        (alarm.change.n, alarm.change.k, alarm.change.since_us) if alarm.change else (0, 0, None)
    )
    ceiling = alarm.state.ceiling or 0.0
    since = f" since {format_time(change_us)}" if change_us is not None else ""
    observed = f"{k} of {n} predictions were corrected{since}, where up to {ceiling:.1%} would be no drift."
    signal = Signal(
        id=new_id(now_us),
        model=release.model,
        version=release.version,
        slice=ALL,
        time_us=now_us,
        change_us=change_us,
        n_events=n,
        n_corrections=k,
        log_evidence=alarm.log_evidence,
        ceiling=ceiling,
        decision="suppressed",
        reason=observed,
        run_id=None,
    )
    evidence = Evidence(
        n=n,
        k=k,
        n_subjects=n_subjects,
        since_us=until_us if change_us is None else change_us,
        until_us=until_us,
        allowed=ceiling,
    )
    suppressed = why_not_now(past_runs(runs), model.trigger, now_us) or why_not_enough(
        evidence, model.trigger
    )
    if suppressed is not None:
        return replace(signal, reason=f"{observed} {suppressed.reason}", rule=suppressed.rule), None
    run = _new_run(release, observed, signal.id, now_us, new_id)
    return replace(signal, decision="opened", run_id=run.id), run


def past_runs(runs: Sequence[Run]) -> list[PastRun]:
    """Runs as the rules see them; a signal is what opened them unless a person did."""
    return [
        PastRun(
            id=run.id,
            status=run.status,
            opened_us=run.opened_us,
            decided_us=run.decided_us,
            automatic=run.signal_id is not None,
            failed_gate=run.verdict == "keep",
        )
        for run in runs
    ]


def first_state(before: StoredState | None) -> DetectorState:
    """The state of the detector of a new champion, given that of the champion before it.

    It is held to the same reference: a version that was trained on drifted data must not make drift the norm.
    """
    state = DetectorState.from_json(before.state) if before else DetectorState()
    return reset_for_version(state) if state.ceiling is not None else DetectorState()


def _watch_model(db: Database, name: str, model: Model, now_us: int, new_id: NewId) -> list[Signal]:
    horizon_us = _us(model.detector.horizon_seconds)
    with db.read() as c:
        releases = list_releases(c, name)
        if not releases:
            return []
        release = releases[0]
        stored = get_detector_state(c, name, release.version, ALL)
        earlier = next((each.version for each in releases if each.version != release.version), None)
        before = get_detector_state(c, name, earlier, ALL) if earlier is not None else None
        spans = read_matured(
            c,
            model=name,
            version=release.version,
            after_us=stored.matured_us if stored else 0,
            until_us=now_us - horizon_us,
            horizon_us=horizon_us,
            # A change is dated to the minute.
            step_us=MINUTE_US,
        )
    if not spans:
        return []
    matured_us = spans[-1].end_us
    old = DetectorState.from_json(stored.state) if stored else first_state(before)
    state, alarms = follow(old, spans, model)
    with db.write() as c:
        lock_run_opening(c)
        if get_detector_state(c, name, release.version, ALL) != stored:
            # Another worker was faster.
            return []
        signals = []
        told = {each.change_us for each in read_signals(c, model=name) if each.version == release.version}
        for alarm in alarms:
            since_us = alarm.change.since_us if alarm.change else None
            n_subjects = (
                0
                if since_us is None
                else count_subjects(
                    c, model=name, version=release.version, since_us=since_us, until_us=matured_us
                )
            )
            signal, run = decide(
                release, model, alarm, n_subjects, matured_us, list_runs(c, model=name), now_us, new_id
            )
            if run is None and signal.change_us in told:
                # The same drift alarms again and again until somebody ends it; one signal of it is enough.
                continue
            told.add(signal.change_us)
            if run is not None:
                open_run(c, run)
                put_step(c, RunStep(run_id=run.id, step="opened", evidence=asdict(signal), time_us=now_us))
            put_signal(c, signal)
            outbox.put(c, SIGNALS, name, DRIFT_NOTICED, asdict(signal), now_us, signal.id)
            signals.append(signal)
        put_detector_state(
            c, name, release.version, ALL, state=state.to_json(), matured_us=matured_us, now_us=now_us
        )
    return signals


def _new_run(release: Release, reason: str, signal_id: str | None, now_us: int, new_id: NewId) -> Run:
    return Run(
        id=new_id(now_us),
        model=release.model,
        status="waiting",
        reason=reason,
        signal_id=signal_id,
        batch_id=None,
        champion=release.version,
        candidate=None,
        dataset_hash=None,
        verdict=None,
        verdict_reason=None,
        # Any number will do, as long as the run keeps it.
        seed=now_us % 2**31,
        opened_us=now_us,
        decided_us=None,
    )


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
