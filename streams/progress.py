"""Whether the worker gets anywhere, and what happens if it does not."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

EXIT_STALLED = 70


class Progress:
    """The time of the last sign of life: a run stored, a fetch while none waits, or an answer "not now"."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last_beat = monotonic()

    def beat(self) -> None:
        """Give a sign of life."""
        self._last_beat = self._monotonic()

    def silent_seconds(self) -> float:
        """Time since the last sign of life."""
        return self._monotonic() - self._last_beat


class Watchdog:
    """Ends the process after `limit_seconds` without progress, writing every thread's stack to stderr.

    Safe at any moment, since nothing is committed before it is stored.
    """

    def __init__(
        self, progress: Progress, limit_seconds: float, end_process: Callable[[int], Any] = os._exit
    ) -> None:
        self._progress = progress
        self._limit_seconds = limit_seconds
        self._end_process = end_process
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._progress.beat()
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._limit_seconds / 4)):
            silent_seconds = self._progress.silent_seconds()
            if silent_seconds > self._limit_seconds:
                logger.critical("no progress for %.0f s: the worker ends, to be started anew", silent_seconds)
                faulthandler.dump_traceback(all_threads=True)
                logging.shutdown()
                self._end_process(EXIT_STALLED)
                return
