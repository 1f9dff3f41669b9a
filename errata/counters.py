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
    before. `dropped` is by kind of event and reason, `invalid` by reason. `torn` counts the spool files whose
    end was cut off by a kill, `spool_failures` how often the disk took no events, which then wait in memory.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        #: Handed over, but not in `queued` yet: the backlog counts them when it looks at them.
        self.unseen: dict[str, deque[Encoded]] = {topic: deque() for topic in KINDS}
        self.queued = 0
        self.sent = 0
        self.spooled = 0
        self.recovered = 0
        self.torn = 0
        self.spool_failures = 0
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.invalid: Counter[str] = Counter()

    def add(
        self,
        *,
        queued: int = 0,
        sent: int = 0,
        spooled: int = 0,
        recovered: int = 0,
        torn: int = 0,
        spool_failures: int = 0,
    ) -> None:
        """Count events, and what happened to the spool."""
        with self.lock:
            self.queued += queued
            self.sent += sent
            self.spooled += spooled
            self.recovered += recovered
            self.torn += torn
            self.spool_failures += spool_failures

    def drop(self, topic: str, reason: str, n_events: int = 1) -> None:
        """Count events of `topic` that are given up; the log tells of the first, and of ten times as many..."""
        if not n_events:
            return
        kind = KINDS[topic]
        with self.lock:
            n_before = self.dropped[kind, reason]
            self.dropped[kind, reason] += n_events
        if len(str(n_before + n_events)) > len(str(n_before)) or not n_before:
            logger.warning("errata: dropped %s (%s), %d so far", kind, reason, n_before + n_events)

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
                "queued": self.queued + sum(map(len, self.unseen.values())),
                "sent": self.sent,
                "spooled": self.spooled,
                "recovered": self.recovered,
                "torn": self.torn,
                "spool_failures": self.spool_failures,
                "dropped": {" ".join(name): n for name, n in self.dropped.items()},
                "invalid": dict(self.invalid),
            }
