"""What became of the events that a client was handed."""

import threading
from collections import Counter
from typing import Any


class Counters:
    """Counts of one client. At rest, queued = sent - recovered + spooled + dropped + invalid.

    `queued` counts the events a service handed over, `sent` those the broker acknowledged, `spooled` those
    that were written to disk and `recovered` what was read from there and sent, also for processes that ended
    before. `dropped` is by kind of event and reason, `invalid` by reason.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.queued = 0
        self.sent = 0
        self.spooled = 0
        self.recovered = 0
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.invalid: Counter[str] = Counter()

    def add(self, *, queued: int = 0, sent: int = 0, spooled: int = 0, recovered: int = 0) -> None:
        """Count events."""
        with self.lock:
            self.queued += queued
            self.sent += sent
            self.spooled += spooled
            self.recovered += recovered

    def drop(self, kind: str, reason: str) -> int:
        """Count an event that was given up, and return how many there are of this kind and reason."""
        with self.lock:
            self.dropped[kind, reason] += 1
            return self.dropped[kind, reason]

    def refuse(self, reason: str) -> int:
        """Count an event that is not valid, and return how many there are with this reason."""
        with self.lock:
            self.invalid[reason] += 1
            return self.invalid[reason]

    def as_dict(self) -> dict[str, Any]:
        """All counts, for JSON: `dropped` by `kind reason`, as in `prediction queue_full`."""
        with self.lock:
            return {
                "queued": self.queued,
                "sent": self.sent,
                "spooled": self.spooled,
                "recovered": self.recovered,
                "dropped": {" ".join(name): n for name, n in self.dropped.items()},
                "invalid": dict(self.invalid),
            }
