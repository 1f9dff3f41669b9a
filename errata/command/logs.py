"""How processes log: one line per event on standard error, which whoever started the process collects."""

import logging
import threading
from datetime import UTC, datetime
from typing import Final

import msgspec

from errata.redaction import Redaction
from errata.settings import Logs

#: What a message may be about besides its words: passed as `extra`, and a field of its own in JSON.
_FIELDS: Final = ("topic", "partition", "offset", "timer", "model")


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines in which secrets are hidden, whoever logged them and in whatever form."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        return self._redaction.hide(super().format(record))


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, `trace` of an error, and what of _FIELDS is known."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure_logging(logs: Logs, redaction: Redaction) -> None:
    """Log what Errata says from INFO, what its libraries say from WARNING, and what ends a thread."""
    handler = _Handler(redaction)
    handler.setFormatter(
        _JsonLines()
        if logs.format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for room in ("errata", "streams", "storage", "labeling", "retrain"):
        logging.getLogger(room).setLevel(logging.INFO)
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "a thread"
    trace = (ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
    logging.getLogger("errata").error("%s has ended", name, exc_info=trace)
