"""What users do later: calls kept until their time has come."""

import heapq
import itertools
from collections.abc import Callable


class Schedule:
    """Calls in the order of their times; the clock is the caller's."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        """How many calls still wait."""
        return len(self._waiting)

    def at(self, seconds: float, call: Callable[[], object]) -> None:
        """Keep `call` until `seconds`."""
        heapq.heappush(self._waiting, (seconds, next(self._order), call))

    def run_due(self, now_seconds: float) -> int:
        """Make every call whose time has come and return how many there were."""
        count = 0
        while self._waiting and self._waiting[0][0] <= now_seconds:
            _, _, call = heapq.heappop(self._waiting)
            call()
            count += 1
        return count
