"""How processes log: one line per event on standard error, which whoever started the process collects."""

import logging
import threading

from errata.redaction import Redaction


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines in which secrets are hidden, whoever logged them and in whatever form."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        return self._redaction.hide(super().format(record))


def configure_logging(redaction: Redaction) -> None:
    """Log what Errata says from INFO, what its libraries say from WARNING, and what ends a thread."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
        handlers=[_Handler(redaction)],
    )
    for room in ("errata", "streams", "storage", "labeling", "retrain"):
        logging.getLogger(room).setLevel(logging.INFO)
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "a thread"
    trace = (ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
    logging.getLogger("errata").error("%s has ended", name, exc_info=trace)
