"""What both demo services share: a steady pace, the client, a stop signal, and a last word about what was sent."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from errata.client import Client
from examples.schedule import Schedule


def run_service(
    client: Client,
    tick: Callable[[float], bool],
    schedule: Schedule,
    *,
    per_second: float,
    report: Path,
) -> None:
    """Call `tick(now_seconds)` at a steady pace until it answers False or SIGTERM comes; users react meanwhile.

    After the last tick nobody is shown anything new; reactions whose time has not come are given up, as users do when a
    service closes. `report` then holds the client's counters as JSON.
    """
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    next_tick = time.monotonic()
    is_open = True
    while not stopping.is_set() and (is_open or len(schedule)):
        now = time.monotonic()
        schedule.run_due(now)
        if is_open and now >= next_tick:
            is_open = tick(now)
            # After a stall the pace goes on from now: a burst would be no real traffic.
            next_tick = max(next_tick + 1 / per_second, now - 1 / per_second)
        stopping.wait(max(0.0, min(next_tick - time.monotonic(), 0.02) if is_open else 0.05))
    client.close(timeout_seconds=20)
    temporary = report.with_suffix(".part")
    temporary.write_text(json.dumps(client.counters.as_dict()), encoding="utf-8")
    temporary.rename(report)
