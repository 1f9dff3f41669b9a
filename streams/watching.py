"""The first step of the loop: watch the correction rate of each champion, and decide what an alarm leads to.

Beside the corrections of volunteers stand the labels of audits, where there are any: they say whether outputs are wrong
more often, and alarm of what nobody corrects (quality/audited_drift.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from errata.identity import NewId
from errata.settings import Model, Settings
from errata.topics import DRIFT_NOTICED, RETRAIN, RUN_REQUESTED, SIGNALS
from errata.wire import format_time
from quality.audited_drift import (
    AUDITS,
    AuditFrame,
    AuditNotice,
    AuditState,
    Judgement,
    follow_audits,
    reset_audits_for_version,
)
from quality.causes import explain
from quality.data_standing import call
from quality.drift import DetectorState, Matured, Notice, follow, reset_for_version
from quality.evidence import events_per_false_alarm
from quality.horizons import is_same_drift, name_horizon, name_past, say_horizon, share_level
from quality.past import PastState, Rise, follow_past
from quality.trigger import (
    Evidence,
    PastRun,
    Suppression,
    why_due,
    why_not_enough,
    why_not_now,
)
from quality.windows import DAY_US, HOUR_US, MINUTE_US, WEEK_US
from storage import outbox
from storage.alerts import News, raise_alert, resolve_alert
from storage.audits import judge_by_audits, read_audit_frames
from storage.data_shifts import list_moved
from storage.database import Database, Transaction
from storage.errors import Conflict
from storage.locks import lock_run_opening
from storage.predictions import count_subjects, read_confidences, read_matured
from storage.records import Release, Run, RunStatus, RunStep, Signal
from storage.releases import champion, is_still_champion, list_releases
from storage.runs import list_runs, open_run, put_step
from storage.signals import (
    StoredState,
    forget_detector_states,
    put_detector_states,
    put_signal,
    read_detector_states,
)
from storage.slices import ALL
from storage.windows import count_in_windows

#: Signals by these rules are no news: a run that was due, and what the whole or another horizon has told already.
_NO_ALERT: Final = ("schedule", "whole", "horizon")
#: So many confidences are read from before a change, and from after it.
_CONFIDENCES: Final = 5000
#: A run in one of these is on its way to a verdict.
OPEN: Final[tuple[RunStatus, ...]] = ("waiting", "requested", "training")


def watch(db: Database, settings: Settings, now_us: int, new_id: NewId) -> list[Signal]:
    """Bring the detectors of every champion up to date; return the signals of what was decided.

    For each horizon predictions are read once, in whole steps of time, when they are as old as it. One that arrives
    after later ones were read is counted in the windows, but not there: a backlog is followed as it comes in, a day at
    a time, and only what its partitions give out of order is left out. What is decided is stored in one transaction for
    each model, with the states that it was decided from.
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
        asked = _occasion(release, now_us, new_id(now_us))
        put_signal(c, replace(asked, decision="opened", rule="person", reason=reason, run_id=run.id))
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


def begin_states(
    stored: Mapping[str, StoredState], before: Mapping[str, StoredState], steps: Sequence[Matured], most: int
) -> dict[str, DetectorState]:
    """The states of the slices that are watched: the whole first, then at most `most` of those in `steps`.

    A new champion is held to the same references as the one `before` it: a version that was trained on drifted data
    must not make drift the norm.
    """
    known = {name: DetectorState.from_json(each.state) for name, each in (stored or before).items()}
    if not stored:
        known = {name: reset_for_version(state) for name, state in known.items() if state.ceiling is not None}
    states = {ALL: known.pop(ALL, DetectorState()), **dict(sorted(known.items())[:most])}
    totals: dict[str, int] = {}
    for step in steps:
        for name, (n, _) in step.counts.items():
            totals[name] = totals.get(name, 0) + n
    new = sorted(totals.keys() - states.keys(), key=lambda name: (-totals[name], name))
    return states | dict.fromkeys(new[: most + 1 - len(states)], DetectorState())


def alarm_level(model: Model, events_per_week: float | None, slices: Sequence[str]) -> float:
    """How many events of a slice lead to one false alarm of each horizon; `events_per_week` None if not known yet.

    The detector of audits has the same share of what is allowed as a horizon.
    """
    allowed = model.detector.false_alarms_per_week
    n_detectors = len(model.detector.horizons_seconds) + 1
    if allowed is None or events_per_week is None:
        return share_level(model.detector.events_per_false_alarm, n_detectors)
    # Slices of a tag share out the events of the whole; each tag counts them once more.
    tags = {name.partition("=")[0] for name in slices}
    return share_level(events_per_false_alarm(events_per_week, allowed, len(tags)), n_detectors)


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of a slice that has not ended: where its detector stands, and the level that it has reached."""

    slice: str
    state: DetectorState
    level: float
    horizon_us: int


def why_no_run(
    model: Model,
    alarm: Alarm,
    count_subjects: Callable[[int], int],
    until_us: int,
    runs: Sequence[Run],
    now_us: int,
    *,
    whole: DetectorState | None = None,
    others: Sequence[tuple[int, DetectorState]] = (),
) -> Suppression | None:
    """What speaks against a run for an alarm of a champion, if anything does; `runs` are all of the model.

    `whole` is the detector of all predictions, where the alarm is of a slice: while it is not calm, it decides.
    `others` are the detectors of the whole and of the same slice at other horizons: one of them that has opened a run
    for this drift has decided. `count_subjects` tells how many have predictions since a time; it is asked only where
    nothing else speaks against a run, since that means reading the predictions.
    """
    change = alarm.state.change
    suppressed = _told_elsewhere(others, change.since_us if change else None, until_us)
    suppressed = suppressed or why_not_now(past_runs(runs), model.trigger, now_us)
    if suppressed is None and whole is not None and whole.stage != "calm":
        suppressed = Suppression("whole", f"All predictions are {whole.stage} of too, and decide for it.")
    if suppressed is not None:
        return suppressed
    since_us = change.since_us if change else None
    evidence = Evidence(
        n=change.n if change else 0,
        k=change.k if change else 0,
        n_subjects=0 if since_us is None else count_subjects(since_us),
        since_us=until_us if since_us is None else since_us,
        until_us=until_us,
        allowed=change.allowed if change else alarm.state.ceiling or 0.0,
    )
    return why_not_enough(evidence, model.trigger)


def decide(
    release: Release, alarm: Alarm, cause: str, suppressed: Suppression | None, now_us: int, new_id: NewId
) -> tuple[Signal, Run | None]:
    """The signal of an alarm, and the run that it opens unless something speaks against it.

    `cause` is a sentence about why corrections rose, as far as that can be told.
    """
    signal = replace(
        _describe(release, alarm.slice, alarm.state, alarm.horizon_us, now_us, new_id(now_us)),
        log_evidence=alarm.state.alarm_log_evidence or 0.0,
        level=math.log(alarm.level),
    )
    observed = f"{signal.reason} {cause}".strip()
    if suppressed is not None:
        return replace(signal, reason=f"{observed} {suppressed.reason}", rule=suppressed.rule), None
    focus = "" if alarm.slice == ALL else f" Its batch is chosen from {alarm.slice}."
    reason = f"{observed}{focus}"
    run = _new_run(release, reason, signal.id, now_us, new_id)
    return replace(signal, decision="opened", reason=reason, run_id=run.id), run


def tell_drift(signal: Signal) -> News:
    """What people are told of a signal; all signals of one model and slice are about one condition."""
    led_to = f" Run {signal.run_id} was opened." if signal.run_id is not None else ""
    return News(
        key=drift_key(signal.model, signal.slice),
        kind="drift",
        severity="warning",
        title=f"Drift of {signal.model} {signal.version}",
        sentence=signal.reason + led_to,
        model=signal.model,
    )


def drift_key(model: str, slice: str) -> str:  # noqa: A002
    """The condition that the correction rate of a model has drifted in a slice."""
    return f"drift/{model}/{slice}"


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


def _watch_model(db: Database, name: str, model: Model, now_us: int, new_id: NewId) -> list[Signal]:
    with db.read() as c:
        releases = list_releases(c, name)
        if not releases:
            return []
        release = releases[0]
        stored = read_detector_states(c, name, release.version)
        earlier = next((each.version for each in releases if each.version != release.version), None)
        moved = list_moved(c, name, release.version, model.data_drift.ignored)
        horizons = [
            # What has no level is watched at the shortest horizon: a warning is for being early.
            _follow_horizon(
                c, release, earlier, model, horizon_us, stored, now_us, with_past=place == 0, moved=moved
            )
            for place, horizon_us in enumerate(model.detector.horizons_us)
        ]
        since_us = min(each.time_us for each in releases if each.version == release.version)
        audits = _follow_audits(c, release, earlier, model, stored, horizons[0].level, since_us)
    if not audits.frames and not any(horizon.seen for horizon in horizons):
        return []
    with db.write() as c:
        lock_run_opening(c)
        if read_detector_states(c, name, release.version) != stored:
            # Another worker was faster.
            return []
        if not is_still_champion(c, release):
            # Its alerts have ended with the release of the next.
            return []
        deciding = _Deciding(c, release, model, horizons, audits, now_us, new_id)
        deciding.tell_notices()
        deciding.tell_audits()
        deciding.tell_rises()
        deciding.look_again()
        deciding.keep_schedule()
        for horizon in horizons:
            if not horizon.seen:
                continue
            for detector, states in horizon.to_store().items():
                forget_detector_states(c, name, release.version, detector, horizon.gone)
                put_detector_states(c, name, release.version, detector, states, now_us)
        put_detector_states(c, name, release.version, AUDITS, audits.to_store(), now_us)
    return deciding.signals


@dataclass
class _Horizon:
    """The detectors of one horizon after a round: their states, and what changed in it."""

    horizon_us: int
    level: float
    #: Predictions up to here are in the states.
    matured_us: int
    states: dict[str, DetectorState]
    notices: list[Notice]
    #: Slices that had predictions in this round.
    seen: set[str]
    stored: Mapping[str, StoredState]
    #: Slices that are to be forgotten.
    gone: list[str]
    #: Those of the detectors that know no level, and what rose in this round.
    past: dict[str, PastState]
    rises: list[Rise]
    #: The share of the evidence that warns, and what has moved that made it less, if anything did.
    warning_share: float
    moved: Sequence[str]

    @property
    def name(self) -> str:
        return name_horizon(self.horizon_us)

    def to_store(self) -> dict[str, dict[str, StoredState]]:
        """The states that this round has changed, by detector."""
        changed = {}
        for slice_name, state in self.states.items():
            before = self.stored.get(slice_name)
            text = state.to_json()
            if before is None or slice_name in self.seen:
                changed[slice_name] = StoredState(text, self.matured_us)
            elif text != before.state:
                # Something was told of a slice that had no predictions.
                changed[slice_name] = StoredState(text, before.matured_us)
        past = {
            slice_name: StoredState(state.to_json(), self.matured_us)
            for slice_name, state in self.past.items()
            if slice_name in self.seen
        }
        return {self.name: changed, name_past(self.horizon_us): past}


def _follow_horizon(
    c: Transaction,
    release: Release,
    earlier: str | None,
    model: Model,
    horizon_us: int,
    stored: Mapping[str, Mapping[str, StoredState]],
    now_us: int,
    *,
    with_past: bool,
    moved: Sequence[str],
) -> _Horizon:
    """Bring the detectors of one horizon up to date with the predictions that are now as old.

    While something that is watched of the version has `moved` a warning takes less evidence. An alarm does not: what is
    allowed of false ones would be used up by data drift that does no harm.
    """
    name = name_horizon(horizon_us)
    mine = stored.get(name, {})
    before: Mapping[str, StoredState] = {}
    if not mine and earlier is not None:
        before = read_detector_states(c, release.model, earlier).get(name, {})
    # A change is dated to the minute; where sessions are counted to the hour, so that few are cut in two. Steps are
    # read when they are over, so that a replay has the same ones.
    step_us = min(HOUR_US if model.detector.by_session else MINUTE_US, horizon_us)
    after_us = mine[ALL].matured_us if ALL in mine else 0
    steps = read_matured(
        c,
        model=release.model,
        version=release.version,
        after_us=after_us,
        until_us=(now_us - horizon_us) // step_us * step_us - 1,
        horizon_us=horizon_us,
        step_us=step_us,
        most_steps=DAY_US // step_us,
        with_singles=with_past,
        by_session=model.detector.by_session,
    )
    matured_us = steps[-1].end_us if steps else after_us
    seen = {slice_name for step in steps for slice_name in step.counts}
    gone = [
        slice_name
        for slice_name, each in mine.items()
        if slice_name != ALL and slice_name not in seen and each.matured_us < matured_us - WEEK_US
    ]
    kept = {slice_name: each for slice_name, each in mine.items() if slice_name not in gone}
    begun = begin_states(kept, before, steps, model.detector.slices)
    level = alarm_level(model, _measure_traffic(c, release.model, model, steps), list(begun))
    warning_share = model.trigger.warning_share
    if moved:
        warning_share = min(model.trigger.drift_warning_share, warning_share)
    states, notices = follow(begun, steps, model.detector, level=level, warning_share=warning_share)
    past: dict[str, PastState] = {}
    rises: list[Rise] = []
    if with_past:
        known = stored.get(name_past(horizon_us), {})
        past = {
            slice_name: PastState.from_json(known[slice_name].state) if slice_name in known else PastState()
            for slice_name in states
        }
        past, rises = follow_past(past, steps, level=level, salt=name_past(horizon_us))
    return _Horizon(
        horizon_us, level, matured_us, states, notices, seen, mine, gone, past, rises, warning_share, moved
    )


@dataclass
class _Audits:
    """The detector of audits after a round: its state, and what changed in it."""

    level: float
    state: AuditState
    notices: list[AuditNotice]
    #: The batches that were accepted since the round before.
    frames: list[AuditFrame]
    stored: StoredState | None

    def to_store(self) -> dict[str, StoredState]:
        """The state, where this round has changed it."""
        text = self.state.to_json()
        if not self.frames and (self.stored is None or text == self.stored.state):
            return {}
        return {ALL: StoredState(text, self.state.covered_us)}


def _follow_audits(
    c: Transaction,
    release: Release,
    earlier: str | None,
    model: Model,
    stored: Mapping[str, Mapping[str, StoredState]],
    level: float,
    since_us: int,
) -> _Audits:
    """Bring the detector of audits up to date with the batches that were accepted since the round before."""
    mine = stored.get(AUDITS, {}).get(ALL)
    if mine is not None:
        state = AuditState.from_json(mine.state)
    else:
        before = None
        if earlier is not None:
            before = read_detector_states(c, release.model, earlier).get(AUDITS, {}).get(ALL)
        state = (
            AuditState() if before is None else reset_audits_for_version(AuditState.from_json(before.state))
        )
    frames = read_audit_frames(
        c, model=release.model, version=release.version, task=model.task, after=state, since_us=since_us
    )
    state, notices = follow_audits(state, frames, model.detector, level=level)
    return _Audits(level, state, notices, [frame for frame, _ in frames], mine)


@dataclass
class _Deciding:
    """What a round of watching decides for one model, and puts into its transaction."""

    c: Transaction
    release: Release
    model: Model
    horizons: list[_Horizon]
    audits: _Audits
    now_us: int
    new_id: NewId

    def __post_init__(self) -> None:
        self.signals: list[Signal] = []

    def tell_notices(self) -> None:
        """Tell what changed in the order in which it matured."""
        noticed = [(notice, horizon) for horizon in self.horizons for notice in horizon.notices]
        noticed.sort(key=lambda each: (each[0].time_us + each[1].horizon_us, each[1].horizon_us))
        for notice, horizon in noticed:
            self._tell(notice, horizon)

    def _tell(self, notice: Notice, horizon: _Horizon) -> None:
        """Note a warning or its end; decide about an alarm."""
        if notice.stage == "alarmed":
            self._decide(horizon, notice.slice, notice.state)
            return
        signal = replace(
            self._describe(horizon, notice.slice, notice.state),
            log_evidence=max(notice.log_evidence, 0.0),
            level=math.log(horizon.level),
        )
        if notice.stage == "warned":
            share = f"{100 * horizon.warning_share:g} %"
            why = f"{signal.reason} This is a warning: {share} of the evidence that alarms is reached."
            if horizon.moved:
                what = ", ".join(call(watched) for watched in horizon.moved)
                why += f" It comes early because what the version is given or answers has moved ({what})."
            signal = replace(signal, decision="warned", reason=why)
        else:
            state = notice.state
            why = (
                f"{_with(notice.slice)} calm again: since the latest evidence {state.stage_k} of {state.stage_n} "
                f"predictions were corrected within {say_horizon(horizon.horizon_us)}, "
                f"surely fewer than the {state.stage_allowed / state.stage_n:.1%} allowed."
            )
            signal = replace(
                signal, decision="calmed", n_events=state.stage_n, n_corrections=state.stage_k, reason=why
            )
        self._put(signal)

    def tell_rises(self) -> None:
        """Warn of slices that are corrected more often than before, where nobody who knows a level says so."""
        for horizon in self.horizons:
            for rise in horizon.rises:
                if horizon.states[rise.slice].stage == "calm":
                    self._put(self._warn(rise, horizon))

    def _warn(self, rise: Rise, horizon: _Horizon) -> Signal:
        state = rise.state
        since = f" since {format_time(state.gain_since_us)}" if state.gain_since_us is not None else ""
        return replace(
            _occasion(self.release, self.now_us, self.new_id(self.now_us)),
            slice=rise.slice,
            change_us=state.gain_since_us,
            n_events=state.gain_n,
            n_corrections=state.gain_k,
            log_evidence=rise.log_evidence,
            level=math.log(horizon.level),
            decision="warned",
            rule="past",
            detector=name_past(horizon.horizon_us),
            reason=(
                f"{state.gain_k} of {state.gain_n} predictions{_of(rise.slice)} were corrected within "
                f"{say_horizon(horizon.horizon_us)}{since}, of the {state.n - state.gain_n} before "
                f"{rise.rate_before:.1%}. This warning knows no level, and takes a season for a change."
            ),
        )

    def tell_audits(self) -> None:
        """Decide about an alarm of audits; note its end."""
        for notice in self.audits.notices:
            if notice.stage == "alarmed":
                self._decide_by_audits(notice.state)
                continue
            state = notice.state
            signal = replace(
                self._describe_audits(state),
                decision="calmed",
                log_evidence=max(notice.log_evidence, 0.0),
                reason=(
                    f"By audits all predictions are calm again: the share of wrong outputs is surely below the "
                    f"{state.ceiling or 0.0:.1%} allowed."
                ),
            )
            self._put(signal)

    def look_again(self) -> None:
        """Decide anew about alarms that go on, if what spoke against a run may speak no longer."""
        if self.audits.state.stage == "alarmed":
            self._decide_by_audits(self.audits.state)
        for horizon in self.horizons:
            if not horizon.seen:
                continue
            for slice_name, state in list(horizon.states.items()):
                if state.stage == "alarmed":
                    self._decide(horizon, slice_name, horizon.states[slice_name])

    def keep_schedule(self) -> None:
        """Open a run where none was for long, as long as there is a trainer and something to learn from."""
        # The shortest horizon has followed most predictions.
        whole, trigger = self.horizons[0].states[ALL], self.model.trigger
        runs = past_runs(list_runs(self.c, model=self.release.model))
        reason = why_due(runs, self.release.time_us, trigger, self.now_us)
        enough = whole.n + whole.reference_n >= trigger.minimum_predictions
        if reason is None or not enough or not self.model.training.trainer:
            return
        if why_not_now(runs, trigger, self.now_us) is not None:
            return
        signal = _occasion(self.release, self.now_us, self.new_id(self.now_us))
        run = _new_run(self.release, reason, signal.id, self.now_us, self.new_id)
        self._open(run, replace(signal, decision="opened", rule="schedule", reason=reason, run_id=run.id))

    def _decide(self, horizon: _Horizon, slice_name: str, state: DetectorState) -> None:
        runs = list_runs(self.c, model=self.release.model)
        current = horizon.states[slice_name]
        told = current.told if current.stage == "alarmed" else ""
        if told == "drift" and any(run.decided_us is None for run in runs):
            # The run that this alarm has opened is on its way.
            return
        if told == "audits" and not self.audits.frames:
            # What audits say has not changed, and reading it again takes long.
            return

        def count_since(since_us: int) -> int:
            return count_subjects(
                self.c,
                model=self.release.model,
                version=self.release.version,
                slice=slice_name,
                since_us=since_us,
                until_us=horizon.matured_us,
            )

        alarm = Alarm(slice_name, state, horizon.level, horizon.horizon_us)
        suppressed = why_no_run(
            self.model,
            alarm,
            count_since,
            horizon.matured_us,
            runs,
            self.now_us,
            whole=None if slice_name == ALL else horizon.states[ALL],
            others=[
                (other.horizon_us, other.states[name])
                for other in self.horizons
                for name in dict.fromkeys((ALL, slice_name))
                if other is not horizon and name in other.states
            ],
        )
        if suppressed is not None and suppressed.rule == told:
            # What speaks against a run is told once.
            return
        causes = [self._explain(alarm, horizon.matured_us)]
        judged = self._judge(alarm)
        if judged is not None:
            causes.append(judged.sentence)
            if suppressed is None and judged.verdict == "disagree":
                suppressed = Suppression("audits", "Corrections alone open no run.")
                if told == suppressed.rule:
                    return
        cause = " ".join(filter(None, causes))
        signal, run = decide(self.release, alarm, cause, suppressed, self.now_us, self.new_id)
        horizon.states[slice_name] = replace(
            current, told=signal.rule, opened=current.opened or run is not None
        )
        if run is not None:
            self._open(run, signal)
        else:
            self._put(signal)

    def _judge(self, alarm: Alarm) -> Judgement | None:
        """What audits say of an alarm about all predictions; None where no change is known."""
        since_us = alarm.state.change.since_us if alarm.state.change else None
        if since_us is None or alarm.slice != ALL:
            return None
        return judge_by_audits(
            self.c,
            model=self.release.model,
            version=self.release.version,
            task=self.model.task,
            detector=self.model.detector,
            state=self.audits.state,
            since_us=since_us,
        )

    def _decide_by_audits(self, state: AuditState) -> None:
        """Decide about an alarm of audits: it needs no floor of corrections, since it is drawn from everybody."""
        runs = list_runs(self.c, model=self.release.model)
        current = self.audits.state
        told = current.told if current.stage == "alarmed" else ""
        if told == "drift" and any(run.decided_us is None for run in runs):
            return
        whole = [(horizon.horizon_us, horizon.states[ALL]) for horizon in self.horizons]
        suppressed = _told_elsewhere(whole, state.gain_since_us, state.covered_us)
        suppressed = suppressed or why_not_now(past_runs(runs), self.model.trigger, self.now_us)
        if suppressed is not None and suppressed.rule == told:
            return
        risen = any(each.stage != "calm" for _, each in whole)
        beside = (
            "Corrections have risen too." if risen else "Corrections have not risen: users do not tell of it."
        )
        signal = replace(
            self._describe_audits(state),
            log_evidence=state.alarm_log_evidence or 0.0,
            level=math.log(self.audits.level),
        )
        reason = f"{signal.reason} {beside}"
        run = None
        if suppressed is not None:
            signal = replace(signal, reason=f"{reason} {suppressed.reason}", rule=suppressed.rule)
        else:
            run = _new_run(self.release, reason, signal.id, self.now_us, self.new_id)
            signal = replace(signal, decision="opened", reason=reason, run_id=run.id)
        self.audits.state = replace(current, told=signal.rule, opened=current.opened or run is not None)
        if run is not None:
            self._open(run, signal)
        else:
            self._put(signal)

    def _describe_audits(self, state: AuditState) -> Signal:
        """A signal of what audits have found."""
        since = f" since {format_time(state.gain_since_us)}" if state.gain_since_us is not None else ""
        return replace(
            _occasion(self.release, self.now_us, self.new_id(self.now_us)),
            change_us=state.gain_since_us,
            n_events=state.gain_n,
            n_corrections=state.gain_corrected,
            ceiling=state.ceiling or 0.0,
            detector=AUDITS,
            reason=(
                f"{state.gain_wrong} of {state.gain_labels} audits of what nobody corrected{since} found an error, and "
                f"{state.gain_corrected} of {state.gain_n} predictions were corrected, where up to "
                f"{state.ceiling or 0.0:.1%} wrong outputs would be no drift."
            ),
        )

    def _explain(self, alarm: Alarm, until_us: int) -> str:
        """Whether the model got worse or the inputs got harder, as a sentence; empty where no change is known."""
        since_us = alarm.state.change.since_us if alarm.state.change else None
        if since_us is None:
            return ""

        def read(span: tuple[int, int]) -> list[tuple[float, bool]]:
            return read_confidences(
                self.c,
                model=self.release.model,
                version=self.release.version,
                slice=alarm.slice,
                since_us=span[0],
                until_us=span[1],
                horizon_us=alarm.horizon_us,
                limit=_CONFIDENCES,
            )

        return explain(read((0, since_us - 1)), read((since_us, until_us))).sentence

    def _open(self, run: Run, signal: Signal) -> None:
        open_run(self.c, run)
        put_step(self.c, RunStep(run_id=run.id, step="opened", evidence=asdict(signal), time_us=self.now_us))
        self._put(signal)

    def _put(self, signal: Signal) -> None:
        put_signal(self.c, signal)
        key = drift_key(signal.model, signal.slice)
        if signal.decision == "calmed":
            if not self._is_alarmed_elsewhere(signal):
                resolve_alert(self.c, key, signal.reason, self.now_us)
        elif signal.decision in ("opened", "suppressed") and signal.rule not in _NO_ALERT:
            raise_alert(self.c, tell_drift(signal), self.now_us, self.new_id)
        outbox.put(self.c, SIGNALS, signal.model, DRIFT_NOTICED, asdict(signal), self.now_us, signal.id)
        self.signals.append(signal)

    def _describe(self, horizon: _Horizon, slice_name: str, state: DetectorState) -> Signal:
        id_ = self.new_id(self.now_us)
        return _describe(self.release, slice_name, state, horizon.horizon_us, self.now_us, id_)

    def _is_alarmed_elsewhere(self, signal: Signal) -> bool:
        """Whether another horizon, or the detector of audits, still has an alarm about the slice of a signal."""
        by_audits = signal.slice == ALL and self.audits.state.stage == "alarmed"
        return by_audits or any(
            horizon.name != signal.detector
            and signal.slice in horizon.states
            and horizon.states[signal.slice].stage == "alarmed"
            for horizon in self.horizons
        )


def _told_elsewhere(
    others: Sequence[tuple[int, DetectorState]], since_us: int | None, until_us: int
) -> Suppression | None:
    """That another horizon has opened a run for the drift that an alarm is about, if one has."""
    for horizon_us, state in others:
        if state.opened and is_same_drift(state, since_us, until_us):
            return Suppression(
                "horizon",
                f"It is told by the corrections within {say_horizon(horizon_us)} already, which opened a run for it.",
            )
    return None


def _measure_traffic(c: Transaction, name: str, model: Model, steps: Sequence[Matured]) -> float | None:
    """Predictions in a week, from the whole days (UTC) of the last seven; None where there is none, or no need."""
    if model.detector.false_alarms_per_week is None or not steps:
        return None
    today_us = steps[-1].end_us // DAY_US * DAY_US
    n, first_us = count_in_windows(c, model=name, since_us=today_us - WEEK_US, until_us=today_us)
    if first_us is None:
        return None
    n_days = (today_us - first_us // DAY_US * DAY_US) // DAY_US
    return 7 * n / n_days


def _observe(slice_name: str, state: DetectorState, horizon_us: int) -> str:
    change = state.change
    n, k, since_us = (change.n, change.k, change.since_us) if change else (0, 0, None)
    since = f" since {format_time(since_us)}" if since_us is not None else ""
    allowed = change.allowed if change else state.ceiling or 0.0
    return (
        f"{k} of {n} predictions{_of(slice_name)} were corrected within {say_horizon(horizon_us)}{since}, "
        f"where up to {allowed:.1%} would be no drift."
    )


def _describe(
    release: Release, slice_name: str, state: DetectorState, horizon_us: int, now_us: int, signal_id: str
) -> Signal:
    """A signal of what a detector has seen."""
    change = state.change
    return replace(
        _occasion(release, now_us, signal_id),
        slice=slice_name,
        change_us=change.since_us if change else None,
        n_events=change.n if change else 0,
        n_corrections=change.k if change else 0,
        ceiling=change.allowed if change else state.ceiling or 0.0,
        reason=_observe(slice_name, state, horizon_us),
        detector=name_horizon(horizon_us),
    )


def _occasion(release: Release, now_us: int, signal_id: str) -> Signal:
    """A signal of no evidence, to be filled."""
    return Signal(
        id=signal_id,
        model=release.model,
        version=release.version,
        slice=ALL,
        time_us=now_us,
        change_us=None,
        n_events=0,
        n_corrections=0,
        log_evidence=0.0,
        ceiling=0.0,
        decision="suppressed",
        reason="",
        run_id=None,
    )


def _of(slice_name: str) -> str:
    return "" if slice_name == ALL else f" with {slice_name}"


def _with(slice_name: str) -> str:
    return "All predictions are" if slice_name == ALL else f"Predictions with {slice_name} are"


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
