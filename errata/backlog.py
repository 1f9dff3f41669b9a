"""Events between a service's threads and the one that delivers them: bounded; predictions give way first."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from errata.counters import Counters
from errata.partitioning import Encoded
from errata.topics import PREDICTIONS

#: So many events are handed over without a lock, which would be a third of what a call costs, ...
_UNSEEN_EVENTS: Final = 64
#: ... if none of them is larger than this. Both together are how far a full queue may exceed its limits.
_UNSEEN_BYTES: Final = 4096


class Backlog:
    """A queue of at most `limit_events` and `limit_bytes`, and 64 small events that nobody has looked at yet.

    Feedback and VOC push predictions out, newest first. They are refused only where they alone fill
    `limit_bytes`: losing them is worse than a longer queue, but a queue without end would kill the service.
    What had to go is counted in `counters`.
    """

    def __init__(self, counters: Counters, limit_events: int, limit_bytes: int, batch_events: int) -> None:
        self._counters = counters
        self._limit_events = limit_events
        self._limit_bytes = limit_bytes
        self._batch_events = batch_events
        self._lock = counters.lock
        self._settled = threading.Condition(self._lock)
        self._bell = threading.Event()
        #: Appending to it and taking from it are atomic. It is emptied when so many are in it: one while the
        #: other side sleeps, so that somebody wakes it.
        self._unseen: deque[Encoded] = counters.unseen
        self._look_at = _UNSEEN_EVENTS
        #: While the other side sleeps: how many events it waits for.
        self._ring_at = 0
        self._predictions: deque[Encoded] = deque()
        self._others: deque[Encoded] = deque()
        self._n_bytes = 0
        self._n_taken = 0
        self._n_hurrying = 0
        self._is_ending = False

    def __len__(self) -> int:
        return len(self._unseen) + len(self._predictions) + len(self._others)

    def put(self, event: Encoded) -> None:
        """Add an event, or count it as dropped."""
        unseen = self._unseen
        unseen.append(event)
        if len(unseen) >= self._look_at or len(event.raw) > _UNSEEN_BYTES:
            self._look()

    def take(self, limit: int) -> list[Encoded]:
        """Take up to `limit` events, feedback and VOC first; each is to be settled or put back."""
        self._look()
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
            self._bell.set()
            try:
                return self._settled.wait_for(lambda: not len(self) and not self._n_taken, timeout_seconds)
            finally:
                self._n_hurrying -= 1

    def end(self) -> None:
        """End the waits of the other side, for good."""
        with self._lock:
            self._is_ending = True
            self._bell.set()

    def _wait_for(self, n_events: int, timeout_seconds: float | None) -> bool:
        self._bell.clear()
        self._ring_at = n_events
        self._look_at = min(n_events, _UNSEEN_EVENTS)
        # Looked at last, so that whoever adds an event after this look knows that somebody sleeps.
        if len(self) < n_events and not self._is_ending:
            self._bell.wait(timeout_seconds)
        self._ring_at = 0
        self._look_at = _UNSEEN_EVENTS
        return len(self) >= n_events

    def _look(self) -> None:
        """Sort in what was handed over, within the limits, and wake the other side if it waits for that."""
        with self._lock:
            new = [self._unseen.popleft() for _ in range(len(self._unseen))]
            self._counters.queued += len(new)
            n_bytes = self._n_bytes + sum([len(event.raw) for event in new])
            n_events = len(self._predictions) + len(self._others) + len(new)
            dropped: list[Encoded] = []
            if n_events <= self._limit_events and n_bytes <= self._limit_bytes:
                self._predictions += [event for event in new if event.topic == PREDICTIONS]
                self._others += [event for event in new if event.topic != PREDICTIONS]
                self._n_bytes = n_bytes
            else:
                for event in new:
                    dropped += self._squeeze_in(event)
            if 0 < self._ring_at <= len(self):
                self._ring_at = 0
                self._look_at = _UNSEEN_EVENTS
                self._bell.set()
        for event in dropped:
            self._counters.drop(event.topic, "queue_full")

    def _squeeze_in(self, event: Encoded) -> list[Encoded]:
        """Add an event if it fits or is worth more than predictions, and return what had to go for it."""

        def is_full() -> bool:
            n_events = len(self._predictions) + len(self._others)
            return n_events >= self._limit_events or n_bytes > self._limit_bytes

        dropped: list[Encoded] = []
        n_bytes = self._n_bytes + len(event.raw)
        if event.topic == PREDICTIONS:
            if is_full():
                return [event]
            self._predictions.append(event)
        else:
            while self._predictions and is_full():
                dropped.append(self._predictions.pop())
                n_bytes -= len(dropped[-1].raw)
            if n_bytes > self._limit_bytes:
                dropped.append(event)
                n_bytes -= len(event.raw)
            else:
                self._others.append(event)
        self._n_bytes = n_bytes
        return dropped

    def _settle(self, n_events: int) -> None:
        self._n_taken -= n_events
        if not len(self) and not self._n_taken:
            self._settled.notify_all()
