"""The continuous verification as a timer that takes a share of the time."""

import logging
import time
from collections.abc import Callable

from storage.verify_rounds import Round

logger = logging.getLogger(__name__)

#: How long one turn may take; a piece that was begun is ended.
_TURN_SECONDS = 0.2


class Verifying:
    """Compares piece after piece by `verify_next(now_us)` for `share` of the time, and rests for the rest of it."""

    def __init__(
        self,
        verify_next: Callable[[int], tuple[Round, list[str]]],
        *,
        share: float,
        now_us: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verify_next = verify_next
        self._share = share
        self._now_us = now_us
        self._monotonic = monotonic
        self._rests_until = monotonic()

    def take_turn(self) -> None:
        """Compare until the turn or the round is over, unless it is time to rest. Raises Unavailable."""
        started = self._monotonic()
        if started < self._rests_until:
            return
        is_over = False
        while not is_over:
            now_us = self._now_us()
            current, differences = self._verify_next(now_us)
            for difference in differences:
                logger.error("the proof fails: %s", difference)
            is_over = current.completed_us == now_us or self._monotonic() - started >= _TURN_SECONDS
        self._rests_until = started + (self._monotonic() - started) / self._share
