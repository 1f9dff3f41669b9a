"""What `errata doctor` looks at: each finding says what is wrong and how to mend it."""

import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from errata.errors import ErrataError
from errata.settings import Settings
from errata.topics import EVENT_TOPICS, TOPICS, Topic, describe_topics

#: Packages whose versions a report of a fault has to name.
_PACKAGES: Final = ("errata", "faust-streaming", "aiokafka", "kafka-python", "msgspec", "SQLAlchemy")
#: Clocks that differ by more than this make leases end early and times doubtful.
_SKEW_SECONDS: Final = 2.0
_FREE_BYTES: Final = 1024**3
#: Records that are gone after less than this are gone after an outage over a weekend.
_RETENTION_MS: Final = 3 * 86_400_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and its result, in a sentence."""

    check: str
    ok: bool
    message: str


def examine(settings: Settings, now_us: Callable[[], int]) -> list[Finding]:
    """Check everything a process needs; never raises for something that is wrong."""
    database = _database(settings)
    return [
        _models(settings),
        database,
        *([_clock(settings, now_us), _intake(settings)] if database.ok else []),
        _broker(settings),
        _libraries(),
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
        server, _ = read_server(settings.database.url)
    except ErrataError as error:
        return Finding("database", False, f"{error}: check database.url and that the server runs")
    if current != newest:
        return Finding(
            "database", False, f"its schema is {current or 'empty'}, not {newest}: run errata migrate"
        )
    return Finding("database", True, f"{server}, schema {current}")


def _clock(settings: Settings, now_us: Callable[[], int]) -> Finding:
    from storage.database import read_server

    try:
        before_us = now_us()
        _, told_us = read_server(settings.database.url)
        after_us = now_us()
    except ErrataError as error:
        return Finding("clock", False, f"{error}: check that the database stays up")
    if told_us is None:
        return Finding("clock", True, "the database has that of this machine")
    # It looked at its clock at some time in between.
    skew_seconds = max(before_us - told_us, told_us - after_us, 0) / 1_000_000
    if skew_seconds > _SKEW_SECONDS:
        return Finding(
            "clock",
            False,
            f"it differs from the database's by {skew_seconds:.1f} s or more: let NTP set both, or leases overlap",
        )
    return Finding("clock", True, f"within {_SKEW_SECONDS:g} s of the database's")


def _intake(settings: Settings) -> Finding:
    """What the workers have noted of themselves."""
    from storage.database import open_database
    from storage.pauses import list_paused
    from storage.verify_rounds import get_round

    database = open_database(settings.database.url)
    try:
        with database.read() as c:
            paused, current = list_paused(c), get_round(c)
    except ErrataError as error:
        return Finding("intake", False, f"{error}: check that the database stays up")
    finally:
        database.close()
    if paused:
        return Finding("intake", False, " ".join(each.reason for each in paused))
    n_differences = max(current.n_differences, current.n_differences_before) if current else 0
    if n_differences:
        return Finding(
            "intake",
            False,
            f"{n_differences} numbers are not what the facts say: run errata verify, and keep the database as it is",
        )
    return Finding("intake", True, "no partition is paused, no difference was found")


def _broker(settings: Settings) -> Finding:
    try:
        found = describe_topics(settings.broker, TOPICS, timeout_seconds=5.0)
    except ErrataError as error:
        return Finding("broker", False, f"{error}: check broker.bootstrap and that the broker runs")
    wrong = judge_topics(found)
    if wrong is not None:
        return Finding("broker", False, wrong)
    return Finding("broker", True, f"{settings.broker.bootstrap}, {len(found)} topics")


def judge_topics(found: Mapping[str, Topic]) -> str | None:
    """What is wrong with the topics that exist and how to mend it; None if nothing is."""
    missing = sorted(set(TOPICS) - set(found))
    if missing:
        return f"topics missing: {', '.join(missing)}; start errata worker, which makes them"
    counts = {topic: found[topic].n_partitions for topic in EVENT_TOPICS}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{topic} {n}" for topic, n in counts.items())
        return (
            f"the event topics have different numbers of partitions ({listed}): "
            f"raise all to {max(counts.values())} by kafka-topics --alter"
        )
    for topic in EVENT_TOPICS:
        policy, retention_ms = found[topic].cleanup_policy, found[topic].retention_ms
        if policy is not None and "compact" in policy:
            return f"{topic} is compacted, which removes events: set cleanup.policy to delete by kafka-configs --alter"
        if retention_ms is not None and 0 <= retention_ms < _RETENTION_MS:
            return (
                f"{topic} keeps records for {retention_ms / 3_600_000:g} h: set retention.ms to more than workers may "
                "be down and backups be old, by kafka-configs --alter"
            )
    return None


def _libraries() -> Finding:
    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    try:
        from streams.driver import check_private_names
    except ModuleNotFoundError as error:
        return Finding(
            "libraries", False, f"{error.name} is missing, no worker runs here: pip install 'errata[worker]'"
        )
    try:
        check_private_names()
    except ErrataError as error:
        return Finding("libraries", False, str(error))
    return Finding("libraries", True, ", ".join(found))


def _artifacts(settings: Settings) -> Finding:
    directory = Path(settings.artifacts.directory)
    existing = _existing(directory)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding(
            "artifacts", False, f"{directory} can't be written: check artifacts.directory and its owner"
        )
    return Finding("artifacts", True, str(directory))


def _disk(settings: Settings) -> Finding:
    """Room for what is written on this machine: artifacts, and the database if it is a file."""
    places = [Path(settings.artifacts.directory)]
    if settings.database.url.startswith("sqlite:///"):
        places.append(Path(settings.database.url.removeprefix("sqlite:///")))
    free_bytes, place = min((shutil.disk_usage(_existing(place)).free, str(place)) for place in places)
    message = f"{free_bytes / 1024**3:.1f} GiB are free for {place}"
    if free_bytes < _FREE_BYTES:
        return Finding("disk", False, f"{message}: free some, or move it to another disk")
    return Finding("disk", True, message)


def _existing(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists."""
    return next(parent for parent in (path, *path.resolve().parents) if parent.exists())
