"""What `errata doctor` looks at: each finding says what is wrong and how to mend it."""

import os
import platform
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from errata.errors import ErrataError
from errata.settings import Settings
from errata.topics import EVENT_TOPICS, TOPICS, Topic, describe_topics
from errata.wire import format_time

_TOLERATED_SKEW_US: Final = 2_000_000
_LEAST_BYTES: Final = 1_000_000_000
#: Records that are kept for less are gone after an outage over a weekend.
_LEAST_RETENTION_MS: Final = 3 * 86_400_000
#: Packages whose versions a report of a fault has to name.
_PACKAGES: Final = ("errata", "kafka-python", "msgspec", "SQLAlchemy", "faust-streaming", "aiokafka")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and its result, in a sentence."""

    check: str
    ok: bool
    message: str


def examine(settings: Settings) -> list[Finding]:
    """Check everything a process needs; never raises for something that is wrong."""
    database = _database(settings)
    return [
        _models(settings),
        database,
        *([_clock(settings), _intake(settings), _failover(settings)] if database.ok else []),
        _broker(settings),
        _driver(),
        _versions(),
        _artifacts(settings),
        _disk(settings),
    ]


def _models(settings: Settings) -> Finding:
    if not settings.models:
        return Finding("models", False, "none is configured: add a [models.NAME] table to errata.toml")
    without = sorted(name for name, model in settings.models.items() if not model.training.trainer)
    also = f"; no trainer: {', '.join(without)}" if without else ""
    return Finding("models", True, ", ".join(sorted(settings.models)) + also)


def _database(settings: Settings) -> Finding:
    from storage.database import current_revision, newest_revision, read_server

    try:
        current, newest = current_revision(settings.database.url), newest_revision()
        server = read_server(settings.database.url)
    except ErrataError as error:
        return Finding("database", False, f"{error}: check database.url and that the server runs")
    if current != newest:
        return Finding(
            "database", False, f"its schema is {current or 'empty'}, not {newest}: run errata migrate"
        )
    return Finding("database", True, f"{server}, schema {current}")


def _broker(settings: Settings) -> Finding:
    try:
        found = describe_topics(settings.broker, TOPICS, timeout_seconds=5.0)
    except ErrataError as error:
        return Finding("broker", False, f"{error}: check broker.bootstrap and that the broker runs")
    wrong = judge_topics(found)
    if wrong is not None:
        return Finding("broker", False, wrong)
    return Finding("broker", True, f"{settings.broker.bootstrap}, partitions: {_tell_partitions(found)}")


def judge_topics(found: Mapping[str, Topic]) -> str | None:
    """What is wrong with the topics that exist, and how to mend it; None if nothing is."""
    missing = sorted(set(TOPICS) - set(found))
    if missing:
        return f"topics missing: {', '.join(missing)}; start errata worker, which makes them"
    if len({found[topic].n_partitions for topic in EVENT_TOPICS}) > 1:
        return (
            f"topics differ in partitions ({_tell_partitions(found)}): feedback would lie in other partitions than its "
            "predictions; add partitions to the smaller ones"
        )
    for topic in EVENT_TOPICS:
        policy, retention_ms = found[topic].cleanup_policy, found[topic].retention_ms
        if policy is not None and "compact" in policy:
            return f"{topic} is compacted, which removes events: set its cleanup.policy to delete"
        if retention_ms is not None and 0 <= retention_ms < _LEAST_RETENTION_MS:
            return (
                f"{topic} keeps records for {retention_ms / 3_600_000:g} h: set its retention.ms to more than "
                "workers may be down and backups be old"
            )
    return None


def _tell_partitions(found: Mapping[str, Topic]) -> str:
    return ", ".join(f"{topic} {found[topic].n_partitions}" for topic in sorted(EVENT_TOPICS))


def _clock(settings: Settings) -> Finding:
    """Windows, leases and retention compare our clock with times that others have written."""
    from storage.database import read_clock_us

    before_us = time.time_ns() // 1000
    try:
        told_us = read_clock_us(settings.database.url)
    except ErrataError as error:
        return Finding("clock", False, f"{error}: check database.url and that the server runs")
    after_us = time.time_ns() // 1000
    if told_us is None:
        return Finding("clock", True, "the database has that of this machine")
    skew_us = max(told_us - after_us, before_us - told_us, 0)
    if skew_us > _TOLERATED_SKEW_US:
        return Finding(
            "clock",
            False,
            f"it differs from the database's by {skew_us / 1e6:.1f} s: run NTP on both machines",
        )
    return Finding("clock", True, "it agrees with the database's")


def _intake(settings: Settings) -> Finding:
    from storage.database import open_database
    from storage.overview import read_overview

    database = open_database(settings.database.url)
    try:
        with database.read() as connection:
            overview = read_overview(connection)
    except ErrataError as error:
        return Finding("intake", False, f"{error}: check database.url and that the server runs")
    finally:
        database.close()
    if overview.paused:
        return Finding("intake", False, " ".join(pause.reason for pause in overview.paused))
    if overview.round is None:
        return Finding("intake", True, "no worker has verified anything yet")
    n_differences = max(overview.round.n_differences, overview.round.n_differences_before)
    if n_differences:
        return Finding(
            "intake", False, f"{n_differences} differences between counts and facts: run errata verify"
        )
    completed_us = overview.round.completed_us
    told = "under way" if completed_us is None else f"complete at {format_time(completed_us)}"
    return Finding("intake", True, f"no partition is paused; verification {told}, no difference")


def _failover(settings: Settings) -> Finding:
    """Whether workers see each other die, or wait for the session of a dead one to end."""
    from storage.database import open_database
    from storage.errors import SharedSession
    from storage.lifelines import count_living

    database = open_database(settings.database.url)
    try:
        n_living = count_living(database, secrets.randbelow)
    except SharedSession as error:
        return Finding(
            "failover",
            False,
            f"{error}, so that the partitions of a killed worker wait {settings.broker.session_timeout_seconds:g} s: "
            "let database.url lead to PostgreSQL itself, or to a pooler that keeps sessions",
        )
    except ErrataError as error:
        return Finding("failover", False, f"{error}: check database.url and that the server runs")
    finally:
        database.close()
    return Finding("failover", True, f"workers see each other die; {n_living} live")


def _driver() -> Finding:
    try:
        from streams.driver import check_private_names
    except ModuleNotFoundError as error:
        return Finding("driver", True, f"{error.name} is not installed here: workers need errata[worker]")
    try:
        check_private_names()
    except ErrataError as error:
        return Finding("driver", False, f"{error}: install the versions that pyproject.toml names")
    return Finding("driver", True, "Faust and aiokafka have what it relies on")


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return Finding("versions", True, ", ".join(found))


def _disk(settings: Settings) -> Finding:
    """Whether there is room where this machine's files grow."""
    places = {Path(settings.artifacts.directory), Path(settings.retention.erasures_file)}
    if settings.database.url.startswith("sqlite:///"):
        places.add(Path(settings.database.url.removeprefix("sqlite:///")))
    free = {}
    for place in places:
        existing = next(parent for parent in (place, *place.resolve().parents) if parent.exists())
        free[str(place)] = shutil.disk_usage(existing).free
    scarce = [
        f"{name} ({bytes_ / 1e9:.1f} GB)" for name, bytes_ in sorted(free.items()) if bytes_ < _LEAST_BYTES
    ]
    if scarce:
        return Finding("disk", False, f"little room is left for {', '.join(scarce)}: make room")
    return Finding("disk", True, f"{min(free.values()) / 1e9:.0f} GB are free")


def _artifacts(settings: Settings) -> Finding:
    directory = Path(settings.artifacts.directory)
    existing = next(parent for parent in (directory, *directory.resolve().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding(
            "artifacts", False, f"{directory} can't be written: check artifacts.directory and its owner"
        )
    return Finding("artifacts", True, str(directory))
