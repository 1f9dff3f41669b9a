"""What the worker does from time to time: timers, one after another, in a thread of their own."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from errata.errors import Unavailable
from streams.metrics import Metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timer:
    """`run` is called about every `every_seconds`; that only one of several workers acts is its business."""

    name: str
    every_seconds: float
    run: Callable[[], None]


class Timers:
    """Runs timers in one thread. What one raises is logged, and it is run again when it is next due."""

    def __init__(
        self,
        timers: Sequence[Timer],
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
        name: str = "timers",
    ) -> None:
        self._due = dict.fromkeys(timers, monotonic())
        self._failing: set[str] = set()
        self._metrics = metrics
        self._monotonic = monotonic
        self._stopped = threading.Event()
        # Not waited for when the process ends: a timer that hangs must not keep it, and each commits or does
        # nothing.
        self._thread = threading.Thread(target=self._run_for_ever, name=name, daemon=True)

    def start(self) -> None:
        """Run every timer now, and then in its rhythm."""
        self._thread.start()

    def stop(self, patience_seconds: float) -> None:
        """Run no further timer, and wait up to `patience_seconds` for the one that is running."""
        self._stopped.set()
        self._thread.join(patience_seconds)

    def run_due(self) -> float:
        """Run each timer that is due; return the time until the next one is.

        A timer that took longer than its rhythm is not run several times to catch up.
        """
        for timer, due in self._due.items():
            if self._stopped.is_set():
                break
            if due <= self._monotonic():
                self._run(timer)
                self._due[timer] = max(due + timer.every_seconds, self._monotonic())
        now = self._monotonic()
        return max(0.0, min((due - now for due in self._due.values()), default=60.0))

    def _run(self, timer: Timer) -> None:
        try:
            timer.run()
        except Exception as error:
            self._metrics.count_timer_failure(timer.name)
            if timer.name not in self._failing:
                self._failing.add(timer.name)
                logger.warning(
                    "timer %s failed and will be run again: %s",
                    timer.name,
                    error,
                    exc_info=None if isinstance(error, Unavailable) else error,
                    extra={"timer": timer.name},
                )
        else:
            if timer.name in self._failing:
                self._failing.discard(timer.name)
                logger.warning("timer %s works again", timer.name, extra={"timer": timer.name})

    def _run_for_ever(self) -> None:
        while not self._stopped.wait(self.run_due()):
            pass
