"""Which partition dead letters flood: counts of the last minutes."""

from collections import deque
from dataclasses import dataclass

from streams.ledger import Partition


@dataclass(frozen=True, slots=True)
class Flood:
    """`n_dead` of the last `n` events of a partition were dead letters, which is more than its limits."""

    partition: Partition
    n: int
    n_dead: int


class Floods:
    """Counts the events of each partition over `seconds`; a flood has `dead_letters` of them and `share` of all.

    What was counted is gone with the process: a flood that goes on is noticed again.
    """

    def __init__(self, *, share: float, dead_letters: int, seconds: float) -> None:
        self._share = share
        self._dead_letters = dead_letters
        self._span_us = round(seconds * 1_000_000)
        self._counts: dict[Partition, deque[tuple[int, int, int]]] = {}
        self._sums: dict[Partition, tuple[int, int]] = {}

    def note(self, partition: Partition, n: int, n_dead: int, now_us: int) -> Flood | None:
        """Count events that were stored; return the flood that the partition is in by now, if it is in one."""
        counts = self._counts.setdefault(partition, deque())
        total, total_dead = self._sums.get(partition, (0, 0))
        counts.append((now_us, n, n_dead))
        total, total_dead = total + n, total_dead + n_dead
        while counts[0][0] <= now_us - self._span_us:
            _, old, old_dead = counts.popleft()
            total, total_dead = total - old, total_dead - old_dead
        self._sums[partition] = total, total_dead
        if self._dead_letters and total_dead >= max(self._dead_letters, self._share * total):
            return Flood(partition, total, total_dead)
        return None
