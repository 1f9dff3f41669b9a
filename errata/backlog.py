"""Events between a service's threads and the one that delivers them: bounded; predictions give way first."""

import itertools
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from errata.counters import Counters
from errata.partitioning import Encoded
from errata.topics import FEEDBACK, PREDICTIONS, VOC

_ORDER: Final = (FEEDBACK, VOC, PREDICTIONS)
#: So many events are handed over without a lock, which would be a third of what a call costs, ...
_UNSEEN_EVENTS: Final = 512
#: ... if none of them is larger than this. Both together are how far a full queue may exceed its limits.
_UNSEEN_BYTES: Final = 4096


class Backlog:
    """A queue of at most `limit_events` and `limit_bytes`, and 512 small events of each topic not looked at yet.

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
        #: Appending to one and taking from it are atomic. They are emptied when so many are in one: one while
        #: the other side sleeps, so that somebody wakes it.
        self._unseen: dict[str, deque[Encoded]] = counters.unseen
        self._look_at = _UNSEEN_EVENTS
        #: While the other side sleeps: how many events it waits for.
        self._ring_at = 0
        #: By topic, in the order in which they are taken.
        self._waiting: dict[str, deque[Encoded]] = {topic: deque() for topic in _ORDER}
        self._n_bytes = 0
        self._n_taken = 0
        self._n_hurrying = 0
        self._is_ending = False

    def __len__(self) -> int:
        return self._n_sorted() + sum(map(len, self._unseen.values()))

    def put(self, event: Encoded) -> None:
        """Add an event, or count it as dropped."""
        unseen = self._unseen[event.topic]
        unseen.append(event)
        if len(unseen) >= self._look_at or len(event.raw) > _UNSEEN_BYTES:
            self._look()

    def take(self, limit: int, limit_bytes: int) -> list[Encoded]:
        """Take events, feedback and VOC first and each topic in one piece, as far as the limits allow.

        One is taken if there is any. Each is to be settled or put back.
        """
        self._look()
        with self._lock:
            if self._n_sorted() <= limit and self._n_bytes <= limit_bytes:
                taken = list(itertools.chain.from_iterable(self._waiting.values()))
                for waiting in self._waiting.values():
                    waiting.clear()
                self._n_bytes = 0
            else:
                taken = self._take_some(limit, limit_bytes)
            self._n_taken += len(taken)
        return taken

    def _take_some(self, limit: int, limit_bytes: int) -> list[Encoded]:
        taken: list[Encoded] = []
        n_bytes = 0
        for waiting in self._waiting.values():
            while waiting and len(taken) < limit and n_bytes < limit_bytes:
                taken.append(waiting.popleft())
                n_bytes += len(taken[-1].raw)
        self._n_bytes -= n_bytes
        return taken

    def take_all(self) -> list[Encoded]:
        """Take all events."""
        return self.take(sys.maxsize, sys.maxsize)

    def put_back(self, events: Sequence[Encoded]) -> None:
        """Return taken events to the front, in their order; for them the limits do not count."""
        with self._lock:
            for event in reversed(events):
                self._waiting[event.topic].appendleft(event)
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
        dropped: list[Encoded] = []
        with self._lock:
            for topic, unseen in self._unseen.items():
                dropped += self._sort_in(topic, [unseen.popleft() for _ in range(len(unseen))])
            if 0 < self._ring_at <= self._n_sorted():
                self._ring_at = 0
                self._look_at = _UNSEEN_EVENTS
                self._bell.set()
        for topic in _ORDER if dropped else ():
            self._counters.drop(topic, "queue_full", sum(event.topic == topic for event in dropped))

    def _sort_in(self, topic: str, events: list[Encoded]) -> list[Encoded]:
        """Add events, and return what had to go for them: predictions, or some of themselves."""
        self._counters.queued += len(events)
        n_bytes = self._n_bytes + sum([len(event.raw) for event in events])
        if self._n_sorted() + len(events) <= self._limit_events and n_bytes <= self._limit_bytes:
            self._waiting[topic] += events
            self._n_bytes = n_bytes
            return []
        dropped: list[Encoded] = []
        predictions = self._waiting[PREDICTIONS]
        for event in events:
            while topic != PREDICTIONS and predictions and not self._has_room_for(event):
                dropped.append(predictions.pop())
                self._n_bytes -= len(dropped[-1].raw)
            if self._has_room_for(event) or (
                topic != PREDICTIONS and self._n_bytes + len(event.raw) <= self._limit_bytes
            ):
                self._waiting[topic].append(event)
                self._n_bytes += len(event.raw)
            else:
                dropped.append(event)
        return dropped

    def _has_room_for(self, event: Encoded) -> bool:
        return self._n_sorted() < self._limit_events and self._n_bytes + len(event.raw) <= self._limit_bytes

    def _n_sorted(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _settle(self, n_events: int) -> None:
        self._n_taken -= n_events
        if not len(self) and not self._n_taken:
            self._settled.notify_all()
