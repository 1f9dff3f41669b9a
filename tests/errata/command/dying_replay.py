"""`errata dead-letters replay` that kills itself: run as `python dying_replay.py PLACE NUMBER`.

PLACE is where: `send` (before a record is handed to the producer), `acknowledged` (after the broker has all of them),
`mark` (within the transaction that marks them) or `marked` (after it was committed); NUMBER is how often it was there.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from errata.command import replaying
from errata.command.cli import run
from storage import dead_letters


def main(place: str, number: int) -> int:
    reached = 0

    def reach(here: str) -> None:
        nonlocal reached
        if here == place:
            reached += 1
            if reached == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def before(here: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def reach_and_act(*args: Any, **kwargs: Any) -> Any:
            reach(here)
            return act(*args, **kwargs)

        return reach_and_act

    mark, list_keys = dead_letters.mark_replayed, dead_letters.list_keys

    def mark_replayed(*args: Any) -> None:
        reach("acknowledged")
        mark(*args)
        reach("marked")

    replaying.Outlet.send = before("send", replaying.Outlet.send)
    dead_letters.list_keys = before("mark", list_keys)
    dead_letters.mark_replayed = mark_replayed
    return run(["dead-letters", "replay"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
