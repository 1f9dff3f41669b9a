"""Events between a service's threads and the one that delivers them: bounded; predictions give way first."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from errata.topics import PREDICTIONS


class Waiting(NamedTuple):
    """An event that was handed over and not looked at yet, in the JSON format of CloudEvents."""

    topic: str
    raw: bytes


class Backlog:
    """A queue of at most `limit_events` and `limit_bytes`.

    Feedback and VOC push predictions out, newest first. They are refused only where they alone fill
    `limit_bytes`: losing them is worse than a longer queue, but a queue without end would kill the service.
    """

    def __init__(self, limit_events: int, limit_bytes: int, batch_events: int) -> None:
        self._limit_events = limit_events
        self._limit_bytes = limit_bytes
        self._batch_events = batch_events
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._filled = threading.Event()
        self._many = threading.Event()
        self._predictions: deque[Waiting] = deque()
        self._others: deque[Waiting] = deque()
        self._n_bytes = 0
        self._n_taken = 0

    def __len__(self) -> int:
        return len(self._predictions) + len(self._others)

    def put(self, event: Waiting) -> list[Waiting]:
        """Add an event and return what had to go for it: predictions, or the event itself."""
        with self._lock:
            dropped = self._make_room(event)
            if not dropped or dropped[-1] is not event:
                (self._predictions if event.topic == PREDICTIONS else self._others).append(event)
                self._n_bytes += len(event.raw)
            if not self._filled.is_set():
                self._filled.set()
            if len(self) >= self._batch_events and not self._many.is_set():
                self._many.set()
        return dropped

    def take(self, limit: int) -> list[Waiting]:
        """Take up to `limit` events, feedback and VOC first; each is to be settled or put back."""
        with self._lock:
            taken: list[Waiting] = []
            for waiting in (self._others, self._predictions):
                while waiting and len(taken) < limit:
                    taken.append(waiting.popleft())
            self._n_bytes -= sum(len(event.raw) for event in taken)
            self._n_taken += len(taken)
            self._forget_signals()
        return taken

    def put_back(self, events: Iterable[Waiting]) -> None:
        """Return taken events to the front, in their order; for them the limits do not count."""
        events = list(events)
        with self._lock:
            self._predictions.extendleft(reversed([event for event in events if event.topic == PREDICTIONS]))
            self._others.extendleft(reversed([event for event in events if event.topic != PREDICTIONS]))
            self._n_bytes += sum(len(event.raw) for event in events)
            self._settle(len(events))
            self._filled.set()

    def settle(self, n_events: int) -> None:
        """Of the taken events, so many are sent, or on disk, or given up."""
        with self._lock:
            self._settle(n_events)

    def wait_for_event(self, timeout_seconds: float | None) -> bool:
        """Return True as soon as an event waits, or False after the timeout."""
        return self._filled.wait(timeout_seconds)

    def wait_for_many(self, timeout_seconds: float) -> None:
        """Return as soon as a batch of events waits or somebody is in a hurry, or after the timeout."""
        self._many.wait(timeout_seconds)

    def wait_until_settled(self, timeout_seconds: float) -> bool:
        """Hurry the other side; return True as soon as nothing waits or is taken, False after the timeout."""
        with self._lock:
            self.hurry()
            return self._settled.wait_for(lambda: not len(self) and not self._n_taken, timeout_seconds)

    def hurry(self) -> None:
        """End the waits of the other side."""
        self._filled.set()
        self._many.set()

    def _make_room(self, event: Waiting) -> list[Waiting]:
        def is_full() -> bool:
            return len(self) >= self._limit_events or self._n_bytes + len(event.raw) > self._limit_bytes

        if not is_full():
            return []
        if event.topic == PREDICTIONS:
            return [event]
        dropped = []
        while self._predictions and is_full():
            gone = self._predictions.pop()
            self._n_bytes -= len(gone.raw)
            dropped.append(gone)
        if self._n_bytes + len(event.raw) > self._limit_bytes:
            dropped.append(event)
        return dropped

    def _settle(self, n_events: int) -> None:
        self._n_taken -= n_events
        if not len(self) and not self._n_taken:
            self._settled.notify_all()

    def _forget_signals(self) -> None:
        if not len(self):
            self._filled.clear()
        if len(self) < self._batch_events:
            self._many.clear()
