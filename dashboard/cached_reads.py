"""What the screens read, cached for a few seconds; nothing else in the dashboard caches or opens a database.

Raises what storage raises: Unavailable where the database does not answer, Stop where its tables do not fit.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import streamlit as st

import quality.maturity
import storage.alerts
import storage.audits
import storage.batches
import storage.data_shifts
import storage.dead_letters
import storage.examples
import storage.intake
import storage.joint_slices
import storage.ledger
import storage.maturity
import storage.predictions
import storage.releases
import storage.runs
import storage.sheets
import storage.signals
import storage.voc
import storage.windows
from errata.errors import Stop
from errata.identity import new_id
from errata.settings import Model, Settings, find_settings, load_settings
from quality.data_drift import State
from quality.drift import DetectorState
from quality.maturity import AttributionWindow, Delays
from quality.requirements import list_requirements
from storage.database import Database, current_revision, open_database
from storage.errors import NotFound
from storage.records import (
    Alert,
    Batch,
    BatchItem,
    Case,
    DeadLetter,
    Delivery,
    Example,
    Prediction,
    Release,
    Run,
    RunStep,
    Scorecard,
    Signal,
    Voc,
    Window,
)

#: How old a shown number may be beyond what the database holds.
FRESH_SECONDS: Final = 5
#: What changes slowly, or takes long to read, is read no more often than this.
SLOW_SECONDS: Final = 30
_ENTRIES: Final = 256

Change = Literal["fixed", "broken", "still_wrong", "still_right"]


class Inbox(NamedTuple):
    """Which comments are wanted; None and the empty text mean any."""

    model: str | None = None
    status: str | None = None
    search: str = ""
    ratings: tuple[int, int] | None = None


class VersionSum(NamedTuple):
    """The windows of a version added up, and the first and the last minute that they come from."""

    window: Window
    first_us: int
    last_us: int


def now_us() -> int:
    """The clock of the edge."""
    return time.time_ns() // 1000


def read_settings() -> Settings:
    """The settings of this process: of `-- --settings`, else `$ERRATA_SETTINGS`, else `errata.toml` here."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings", type=Path)
    named: Path | None = parser.parse_known_args(sys.argv[1:])[0].settings
    return load_settings(find_settings(named, os.environ), os.environ)


def time_zone(settings: Settings) -> ZoneInfo:
    """The zone in which times are shown."""
    return ZoneInfo(settings.dashboard.time_zone)


@st.cache_resource(show_spinner=False)
def open_once(url: str) -> Database:
    """The one database of this process. Raises Stop when it has no tables yet; that answer is not cached."""
    if current_revision(url) is None:
        raise Stop(
            "The database has no tables yet: run `errata migrate`, which makes them, and reload this page."
        )
    return open_database(url)


def database() -> Database:
    """The database of the settings."""
    return open_once(read_settings().database.url)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_models() -> list[str]:
    """Every model there is: those with predictions, and those that are configured."""
    with database().read() as c:
        return sorted({*storage.windows.list_models(c), *read_settings().models})


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_versions(model: str) -> list[str]:
    """Versions of a model that predicted or were released: the champion, then the newest first."""
    with database().read() as c:
        served = storage.windows.list_versions(c, model)
        released = [version.version for version in storage.releases.list_versions(c, model)]
        champion = storage.releases.champion(c, model)
    ordered = sorted({*served, *released}, key=_by_number, reverse=True)
    if champion is not None and champion.version in ordered:
        ordered.remove(champion.version)
    return [champion.version, *ordered] if champion is not None else ordered


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def sum_windows(model: str, since_us: int, until_us: int) -> list[Window]:
    """One sum over a span of time for each version and slice."""
    with database().read() as c:
        return storage.windows.sum_windows(c, model=model, since_us=since_us, until_us=until_us)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_windows(model: str, slice_name: str, since_us: int, until_us: int, width_us: int) -> list[Window]:
    """One sum for each version and point of time of `width_us`."""
    with database().read() as c:
        return storage.windows.read_windows(
            c, model=model, slice=slice_name, since_us=since_us, until_us=until_us, width_us=width_us
        )


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def sum_versions(model: str, since_us: int, until_us: int) -> dict[str, VersionSum]:
    """One sum over a span of time for each version that predicted in it."""
    with database().read() as c:
        sums = storage.windows.sum_windows(
            c, model=model, since_us=since_us, until_us=until_us, by=("version",)
        )
        spans = storage.windows.read_spans(c, model=model, since_us=since_us, until_us=until_us)
    return {window.version: VersionSum(window, *spans[window.version]) for window in sums if window.n}


@st.cache_data(ttl=SLOW_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_delays(model: str) -> Delays | None:
    """When corrections of a model come after their predictions; None as long as that is not known."""
    known = _model(model)
    horizon_us = known.detector.horizons_us[0]
    with database().read() as c:
        return storage.maturity.read_delays(
            c, model=model, now_us=now_us(), horizon_us=horizon_us, given_us=known.attribution_window_us
        )


def describe_window(model: str) -> AttributionWindow:
    """The age from which on the outcomes of a model are final, and how that is known."""
    return quality.maturity.describe_window(read_delays(model), _model(model).attribution_window_us)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_corrections(model: str, slice_name: str, since_us: int) -> dict[str, storage.maturity.Corrections]:
    """The correction rate of each version since a moment: so far, fresh and matured."""
    delays = read_delays(model)
    with database().read() as c:
        return storage.maturity.read_corrections(
            c, model=model, slice=slice_name, since_us=since_us, now_us=now_us(), delays=delays
        )


@st.cache_data(ttl=SLOW_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_joint_counts(
    model: str, version: str, tags: tuple[str, ...], since_us: int, until_us: int
) -> storage.joint_slices.JointCounts:
    """The joint slices of some tags, from the latest predictions of a span."""
    with database().read() as c:
        return storage.joint_slices.read_joint_counts(
            c, model=model, version=version, tags=tags, since_us=since_us, until_us=until_us
        )


@st.cache_data(ttl=SLOW_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_audited_error(model: str, version: str, since_us: int) -> storage.audits.AuditedError:
    """What audits say of a version; the label-free estimate is of the predictions from `since_us` on."""
    task = _model(model).task
    with database().read() as c:
        return storage.audits.read_audited_error(
            c, model=model, version=version, task=task, since_us=since_us
        )


@st.cache_data(ttl=SLOW_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_audit_drift(model: str, version: str) -> storage.audits.AuditDrift:
    """Whether the audits of a version find more errors than is usual."""
    with database().read() as c:
        return storage.audits.read_audit_drift(c, model=model, version=version, settings=_model(model))


@st.cache_data(ttl=SLOW_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_sheets(model: str, spans_us: tuple[int, ...]) -> list[storage.sheets.Sheet]:
    """The requirement sheet of the champion over each span; none where nothing is asked or nothing was served."""
    settings = _model(model)
    if not list_requirements(settings.requirements):
        return []
    delays = read_delays(model)
    with database().read() as c:
        version = storage.sheets.find_served(c, model)
        if version is None:
            return []
        return [
            storage.sheets.read_sheet(
                c,
                model=model,
                version=version,
                settings=settings,
                delays=delays,
                now_us=now_us(),
                span_us=span_us,
            )
            for span_us in spans_us
        ]


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_slices(model: str) -> list[str]:
    """Slices of a model."""
    with database().read() as c:
        return list(storage.windows.list_slices(c, model))


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_signals(model: str, limit: int = 1000) -> list[Signal]:
    """Signals of a model, the newest first."""
    with database().read() as c:
        return storage.signals.read_signals(c, model=model, limit=limit)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_horizons(model: str, version: str) -> dict[int, dict[str, DetectorState]]:
    """Where the detectors of a version stand, by horizon and slice."""
    with database().read() as c:
        return storage.signals.read_horizons(c, model, version, _model(model).detector.horizons_us)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_data_drift_states(model: str, version: str) -> dict[str, State]:
    """Where what is watched of a version for data drift stands."""
    with database().read() as c:
        return storage.data_shifts.read_data_drift_states(c, model, version)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def get_signal(signal_id: str | None) -> Signal | None:
    """The signal of this id, however many came after it; None when there is none."""
    if signal_id is None:
        return None
    with database().read() as c:
        try:
            return storage.signals.get_signal(c, signal_id)
        except NotFound:
            return None


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_releases(model: str) -> list[Release]:
    """Releases of a model, the newest first."""
    with database().read() as c:
        return storage.releases.list_releases(c, model)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_runs(model: str | None = None, limit: int = 100) -> list[Run]:
    """Runs, the newest first."""
    with database().read() as c:
        return storage.runs.list_runs(c, model=model, limit=limit)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_steps(run_id: str) -> list[RunStep]:
    """The arrows of a run that were taken."""
    with database().read() as c:
        return storage.runs.read_steps(c, run_id)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_scorecards(
    run_id: str | None = None, version: str | None = None, model: str | None = None
) -> list[Scorecard]:
    """Scorecards of a run, or of a version of a model."""
    with database().read() as c:
        return storage.runs.read_scorecards(c, run_id=run_id, version=version, model=model)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def count_cases(run_id: str) -> Counter[str]:
    """How many cases of a run were fixed, broken, still wrong and still right."""
    with database().read() as c:
        return Counter(case.change for case in storage.runs.read_cases(c, run_id))


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_cases(run_id: str, change: Change, model: str, limit: int) -> list[tuple[Case, Example | None]]:
    """Cases of a run, those that changed most first, with their examples."""
    with database().read() as c:
        cases = storage.runs.read_cases(c, run_id, change=change, limit=limit)
        ids = [case.example_id for case in cases]
        examples = {
            example.id: example for example in storage.examples.read_examples(c, model=model, ids=ids)
        }
    return [(case, examples.get(case.example_id)) for case in cases]


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_batches(model: str | None = None) -> list[Batch]:
    """Batches, the newest first."""
    with database().read() as c:
        return storage.batches.list_batches(c, model=model)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_items(batch_id: str) -> list[BatchItem]:
    """Items of a batch."""
    with database().read() as c:
        return storage.batches.read_items(c, batch_id)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def get_prediction(prediction_id: str) -> Prediction | None:
    """One prediction; None when it has not come or was erased."""
    with database().read() as c:
        try:
            return storage.predictions.get_prediction(c, prediction_id)
        except NotFound:
            return None


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def count_voc(inbox: Inbox, since_us: int | None = None) -> int:
    """How many comments fit."""
    with database().read() as c:
        return storage.voc.count_voc(c, **inbox._asdict(), since_us=since_us)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_voc(inbox: Inbox, limit: int, offset: int = 0, since_us: int | None = None) -> list[Voc]:
    """Comments that fit, the newest first."""
    with database().read() as c:
        return storage.voc.read_voc(c, **inbox._asdict(), since_us=since_us, limit=limit, offset=offset)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def summarise_voc(model: str, since_us: int) -> storage.voc.VocSummary:
    """The comments on a model in numbers."""
    with database().read() as c:
        return storage.voc.summarise_voc(c, model=model, since_us=since_us)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def get_voc(voc_id: str) -> Voc | None:
    """One comment; None when there is none of this id."""
    with database().read() as c:
        try:
            return storage.voc.get_voc(c, voc_id)
        except NotFound:
            return None


def set_voc_status(voc_id: str, status: str) -> None:
    """Change the status of the comment with this id, and forget what was read before."""
    storage.voc.set_status(database(), voc_id, status)
    for cached in (count_voc, read_voc, summarise_voc, get_voc):
        cached.clear()


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def read_ledger_summary() -> list[storage.ledger.PartitionIntake]:
    """What each partition gave so far."""
    with database().read() as c:
        return storage.ledger.read_ledger_summary(c)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def count_orphans() -> int:
    """How much feedback waits for its prediction."""
    with database().read() as c:
        return storage.intake.count_orphans(c)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def count_dead_letters() -> dict[str, int]:
    """Dead letters by reason."""
    with database().read() as c:
        return dict(storage.dead_letters.count_by_reason(c))


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_dead_letters(reason: str | None, limit: int) -> Sequence[DeadLetter]:
    """Dead letters, the newest first."""
    with database().read() as c:
        return storage.dead_letters.list_dead_letters(c, reason=reason, limit=limit)


def _model(name: str) -> Model:
    """The settings of a model; the defaults for one that has none."""
    return read_settings().models.get(name, Model())


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_open_alerts() -> list[Alert]:
    """The alerts that are open, the most severe first."""
    with database().read() as c:
        return storage.alerts.list_open(c)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def list_alerts(limit: int) -> list[Alert]:
    """Open and resolved alerts, the latest first."""
    with database().read() as c:
        return storage.alerts.list_alerts(c, limit=limit)


def read_deliveries(alert_ids: Sequence[str]) -> list[Delivery]:
    """What was and is to be delivered of some alerts; not cached, because somebody may wait for it."""
    with database().read() as c:
        return storage.alerts.read_deliveries(c, alert_ids)


def find_trial(channel: str) -> Alert | None:
    """The latest test of a channel that is among the latest alerts; not cached either."""
    key = storage.alerts.trial_key(channel)
    with database().read() as c:
        return next((alert for alert in storage.alerts.list_alerts(c) if alert.key == key), None)


def try_channel(channel: str) -> None:
    """Have a test sent through a channel, by a worker, and forget what was read before."""
    with database().write() as c:
        storage.alerts.try_channel(c, channel, "the dashboard", now_us(), new_id)
    list_alerts.clear()


def _by_number(version: str) -> tuple[int, str]:
    """Versions that are numbers sort as numbers."""
    return (int(version), version) if version.isdecimal() else (-1, version)
