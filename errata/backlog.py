"""Events between a service's threads and the one that delivers them: bounded; predictions give way first."""

import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from errata.counters import Counters
from errata.partitioning import Encoded
from errata.topics import PREDICTIONS

_NEVER: Final = sys.maxsize


class Backlog:
    """A queue of at most `limit_events` and `limit_bytes`.

    Feedback and VOC push predictions out, newest first. They are refused only where they alone fill
    `limit_bytes`: losing them is worse than a longer queue, but a queue without end would kill the service.
    """

    def __init__(self, counters: Counters, limit_events: int, limit_bytes: int, batch_events: int) -> None:
        self._counters = counters
        self._limit_events = limit_events
        self._limit_bytes = limit_bytes
        self._batch_events = batch_events
        # One lock for the queue and for the counters: taking it is a good part of what a call costs.
        self._lock = counters.lock
        self._settled = threading.Condition(self._lock)
        self._bell = threading.Event()
        #: The bell rings when so many events wait. Ringing is dear, and useless while the other side works.
        self._ring_at = _NEVER
        self._predictions: deque[Encoded] = deque()
        self._others: deque[Encoded] = deque()
        self._n_bytes = 0
        self._n_taken = 0
        self._n_hurrying = 0
        self._is_ending = False

    def __len__(self) -> int:
        return len(self._predictions) + len(self._others)

    def put(self, event: Encoded) -> list[Encoded]:
        """Count and add an event, and return what had to go for it: predictions, or the event itself."""
        with self._lock:
            self._counters.queued += 1
            predictions, others = self._predictions, self._others
            n_events = len(predictions) + len(others) + 1
            n_bytes = self._n_bytes + len(event.raw)
            if n_events > self._limit_events or n_bytes > self._limit_bytes:
                return self._push_out(event)
            (predictions if event.topic == PREDICTIONS else others).append(event)
            self._n_bytes = n_bytes
            if n_events >= self._ring_at:
                self._ring()
        return []

    def take(self, limit: int) -> list[Encoded]:
        """Take up to `limit` events, feedback and VOC first; each is to be settled or put back."""
        with self._lock:
            taken: list[Encoded] = []
            for waiting in (self._others, self._predictions):
                taken += [waiting.popleft() for _ in range(min(len(waiting), limit - len(taken)))]
            self._n_taken += len(taken)
        # Counted without the lock, which callers want; until then they see a little less room than there is.
        n_bytes = sum([len(event.raw) for event in taken])
        with self._lock:
            self._n_bytes -= n_bytes
        return taken

    def put_back(self, events: Sequence[Encoded]) -> None:
        """Return taken events to the front, in their order; for them the limits do not count."""
        predictions = [event for event in events if event.topic == PREDICTIONS]
        others = [event for event in events if event.topic != PREDICTIONS]
        with self._lock:
            self._predictions.extendleft(reversed(predictions))
            self._others.extendleft(reversed(others))
            self._n_bytes += sum(len(event.raw) for event in events)
            self._settle(len(events))

    def settle(self, n_events: int) -> None:
        """Of the taken events, so many are sent, or on disk, or given up."""
        with self._lock:
            self._settle(n_events)

    def wait_for_event(self, timeout_seconds: float | None) -> bool:
        """Return True as soon as an event waits, or False after the timeout or at the end."""
        return self._wait_for(1, timeout_seconds)

    def wait_for_many(self, timeout_seconds: float) -> None:
        """Return as soon as a batch of events waits or somebody is in a hurry, or after the timeout."""
        if not self._n_hurrying:
            self._wait_for(self._batch_events, timeout_seconds)

    def wait_until_settled(self, timeout_seconds: float) -> bool:
        """Hurry the other side; return True as soon as nothing waits or is taken, False after the timeout."""
        with self._lock:
            self._n_hurrying += 1
            self._ring()
            try:
                return self._settled.wait_for(lambda: not len(self) and not self._n_taken, timeout_seconds)
            finally:
                self._n_hurrying -= 1

    def end(self) -> None:
        """End the waits of the other side, for good."""
        with self._lock:
            self._is_ending = True
            self._ring()

    def _wait_for(self, n_events: int, timeout_seconds: float | None) -> bool:
        with self._lock:
            if len(self) >= n_events or self._is_ending:
                return len(self) >= n_events
            self._bell.clear()
            self._ring_at = n_events
        self._bell.wait(timeout_seconds)
        with self._lock:
            self._ring_at = _NEVER
            return len(self) >= n_events

    def _ring(self) -> None:
        self._ring_at = _NEVER
        self._bell.set()

    def _push_out(self, event: Encoded) -> list[Encoded]:
        """Make room for an event that does not fit, as far as it is worth more than predictions."""
        if event.topic == PREDICTIONS:
            return [event]
        dropped: list[Encoded] = []
        n_bytes = self._n_bytes + len(event.raw)
        while self._predictions and (len(self) >= self._limit_events or n_bytes > self._limit_bytes):
            dropped.append(self._predictions.pop())
            n_bytes -= len(dropped[-1].raw)
        if n_bytes > self._limit_bytes:
            self._n_bytes = n_bytes - len(event.raw)
            return [*dropped, event]
        self._others.append(event)
        self._n_bytes = n_bytes
        if len(self) >= self._ring_at:
            self._ring()
        return dropped

    def _settle(self, n_events: int) -> None:
        self._n_taken -= n_events
        if not len(self) and not self._n_taken:
            self._settled.notify_all()
