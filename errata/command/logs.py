"""How processes log: one line per event on standard error, which whoever started the process collects."""

import json
import logging
import sys
import threading
from typing import Any, Final

from errata.redaction import Redaction
from errata.settings import Logs
from errata.wire import format_time

#: What a message may be about besides its words: passed as `extra`, and a field of its own in JSON.
_FIELDS: Final = ("topic", "partition", "offset", "timer")


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines in which secrets are hidden, whoever logged them and in whatever form."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        return self._redaction.hide(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say that a message was lost, but not with what: logging would print it, secrets and all."""
        sys.stderr.write(f"a message of {record.name}, line {record.lineno}, could not be written\n")


class _JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII, so that nothing that is logged can break a line or a collector."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        # Within JSON a secret may be escaped twice, and would not be found in the line.
        self._hide = redaction.hide

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": format_time(round(record.created * 1_000_000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._hide(record.getMessage()),
        }
        fields |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            fields["trace"] = self._hide(self.formatException(record.exc_info))
        return json.dumps(fields, default=str)


def configure_logging(logs: Logs, redaction: Redaction) -> None:
    """Log what Errata says from `logs.level`, what its libraries say from WARNING, and what ends a thread."""
    handler = _Handler(redaction)
    handler.setFormatter(
        _JsonFormatter(redaction)
        if logs.format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for room in ("errata", "streams", "storage", "labeling", "retrain"):
        logging.getLogger(room).setLevel(logs.level.upper())
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "a thread"
    trace = (ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
    logging.getLogger("errata").error("%s has ended", name, exc_info=trace)
