"""What became of the events that a client was handed."""

import logging
import threading
from collections import Counter, deque
from typing import Any, Final

from errata.partitioning import Encoded
from errata.topics import FEEDBACK, PREDICTIONS, VOC

logger = logging.getLogger(__name__)

#: What counters and logs call the events of a topic.
KINDS: Final = {PREDICTIONS: "prediction", FEEDBACK: "feedback", VOC: "voc"}


class Counters:
    """Counts of one client. At rest, queued = sent - recovered + spooled + dropped + invalid.

    `queued` counts the events a service handed over, `sent` those the broker acknowledged, `spooled` those
    that were written to disk and `recovered` what was read from there and sent, also for processes that ended
    before. `dropped` is by kind of event and reason, `invalid` by reason. `torn` counts the pieces of spool
    files that nobody can read any more: what a kill cut off in the middle.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        #: Handed over, but not in `queued` yet: the backlog counts them when it looks at them.
        self.unseen: deque[Encoded] = deque()
        self.queued = 0
        self.sent = 0
        self.spooled = 0
        self.recovered = 0
        self.torn = 0
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.invalid: Counter[str] = Counter()

    def add(
        self, *, queued: int = 0, sent: int = 0, spooled: int = 0, recovered: int = 0, torn: int = 0
    ) -> None:
        """Count events."""
        with self.lock:
            self.queued += queued
            self.sent += sent
            self.spooled += spooled
            self.recovered += recovered
            self.torn += torn

    def drop(self, topic: str, reason: str) -> None:
        """Count an event of `topic` that is given up; the log tells of the first, the tenth, the hundredth..."""
        kind = KINDS[topic]
        with self.lock:
            self.dropped[kind, reason] += 1
            n_dropped = self.dropped[kind, reason]
        if str(n_dropped).strip("0") == "1":
            logger.warning("errata: dropped %s (%s), %d so far", kind, reason, n_dropped)

    def refuse(self, reason: str, detail: object) -> None:
        """Count an event that is not valid; the log tells of the first with this reason."""
        with self.lock:
            self.invalid[reason] += 1
            n_refused = self.invalid[reason]
        if n_refused == 1:
            logger.warning("errata: an event is not valid (%s): %s", reason, detail)

    def as_dict(self) -> dict[str, Any]:
        """All counts, for JSON: `dropped` by `kind reason`, as in `prediction queue_full`."""
        with self.lock:
            return {
                "queued": self.queued + len(self.unseen),
                "sent": self.sent,
                "spooled": self.spooled,
                "recovered": self.recovered,
                "torn": self.torn,
                "dropped": {" ".join(name): n for name, n in self.dropped.items()},
                "invalid": dict(self.invalid),
            }
