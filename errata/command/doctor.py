"""What `errata doctor` looks at: each finding says what is wrong and how to mend it."""

import os
from dataclasses import dataclass
from pathlib import Path

from errata.errors import ErrataError
from errata.settings import Settings
from errata.topics import TOPICS, read_topic_ids


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and its result, in a sentence."""

    check: str
    ok: bool
    message: str


def examine(settings: Settings) -> list[Finding]:
    """Check everything a process needs; never raises for something that is wrong."""
    return [_models(settings), _database(settings), _broker(settings), _artifacts(settings)]


def _models(settings: Settings) -> Finding:
    if not settings.models:
        return Finding("models", False, "none is configured: add a [models.NAME] table to errata.toml")
    without = sorted(name for name, model in settings.models.items() if not model.training.trainer)
    also = f"; no trainer: {', '.join(without)}" if without else ""
    return Finding("models", True, ", ".join(sorted(settings.models)) + also)


def _database(settings: Settings) -> Finding:
    from storage.database import current_revision, newest_revision

    try:
        current, newest = current_revision(settings.database.url), newest_revision()
    except ErrataError as error:
        return Finding("database", False, f"{error}: check database.url and that the server runs")
    if current != newest:
        return Finding(
            "database", False, f"its schema is {current or 'empty'}, not {newest}: run errata migrate"
        )
    return Finding("database", True, f"schema {current}")


def _broker(settings: Settings) -> Finding:
    try:
        found = read_topic_ids(settings.broker, TOPICS, timeout_seconds=5.0)
    except ErrataError as error:
        return Finding("broker", False, f"{error}: check broker.bootstrap and that the broker runs")
    missing = sorted(set(TOPICS) - set(found))
    if missing:
        return Finding(
            "broker", False, f"topics missing: {', '.join(missing)}; start errata worker, which makes them"
        )
    return Finding("broker", True, f"{settings.broker.bootstrap}, {len(found)} topics")


def _artifacts(settings: Settings) -> Finding:
    directory = Path(settings.artifacts.directory)
    existing = next(parent for parent in (directory, *directory.resolve().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding(
            "artifacts", False, f"{directory} can't be written: check artifacts.directory and its owner"
        )
    return Finding("artifacts", True, str(directory))
