"""Sees when another worker was killed, and frees its partitions at once instead of after its session.

Each worker holds a lifeline for as long as it lives (storage/lifelines.py). A worker is taken for dead when its
lifeline, which we saw held, is free in several looks in a row, and ours was held all the while: where a server
restarts, all go at once, and that tells nothing. Whoever is removed though it lives joins again: what it had in hand
is fenced by the positions in the database, as with any worker that lost its partitions.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from errata.errors import ErrataError, Stop
from storage.errors import SharedSession
from storage.records import FORMING, Lifeline, Look, Membership
from streams.metrics import Metrics

logger = logging.getLogger(__name__)

#: How often it is looked.
LOOK_SECONDS: Final = 0.5
#: Looks that come sooner after the one before tell nothing new.
_LEAST_SECONDS: Final = 0.4
#: Looks in a row that find a lifeline free. Its holder looks as often, and in one of them takes a lock again that was
#: only lost.
_DEAD_LOOKS: Final = 3
#: For so many looks a worker that starts waits until who is dead is removed.
_BURIAL_LOOKS: Final = 6
#: Nobody knows since when such a lifeline is free, and by now its session is over.
_FORGOTTEN_LOOKS: Final = 240


class Lifelines(Protocol):
    """What the watch needs of storage.lifelines.Lifelines."""

    def look(self, membership: Membership) -> Look:
        """Keep our lifeline, with who we are in the group, and look at all others. Raises Unavailable."""

    def bury(self, number: int) -> None:
        """Remove the lifeline of a process that is gone. Raises Unavailable."""

    def end(self) -> None:
        """Take our lifeline away, so that nobody takes us for dead."""


@dataclass(slots=True)
class _Seen:
    was_held: bool = False
    n_free: int = 0


class Witness:
    """Tells from looks who has died."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def judge(self, look: Look) -> tuple[list[Lifeline], list[Lifeline]]:
        """Those who died under our eyes, and those who are gone nobody knows since when; until they are buried."""
        if not look.is_continued:
            self.forget()
        self._seen = {each.number: self._seen.get(each.number, _Seen()) for each in look.others}
        dead, forgotten = [], []
        for each in look.others:
            seen = self._seen[each.number]
            seen.was_held = seen.was_held or each.is_held
            seen.n_free = 0 if each.is_held else seen.n_free + 1
            if seen.was_held and seen.n_free >= _DEAD_LOOKS:
                dead.append(each)
            elif seen.n_free >= _FORGOTTEN_LOOKS:
                forgotten.append(each)
        return dead, forgotten

    def forget(self) -> None:
        """Begin anew: what was seen before tells nothing any more."""
        self._seen = {}


class DeathWatch:
    """Looks at the other workers, and takes the dead ones out of the consumer group."""

    def __init__(
        self,
        lifelines: Lifelines,
        read_membership: Callable[[], Membership],
        remove_members: Callable[[Collection[str]], Collection[str]],
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`remove_members` takes members out of the group and returns those that were in it.

        It raises Unavailable, or Stop.
        """
        self._lifelines = lifelines
        self._read_membership = read_membership
        self._remove_members = remove_members
        self._metrics = metrics
        self._monotonic = monotonic
        self._witness = Witness()
        self._looked = -_LEAST_SECONDS
        self._is_off = False

    def await_burials(self, wait: Callable[[float], bool]) -> None:
        """Before we join: give others the time to remove who is dead, so that the group is not formed with it.

        `wait` waits for so many seconds; true if it shall be the last time. What does not work is left to the looks.
        """
        with suppress(ErrataError):
            for _ in range(_BURIAL_LOOKS):
                others = self._lifelines.look(Membership()).others
                is_held = {each.is_held for each in others if each.membership.member_id}
                if is_held != {True, False} or wait(LOOK_SECONDS):
                    break
            # From here on nobody may be removed until we are in the group.
            self._lifelines.look(Membership("", FORMING))

    def look(self) -> None:
        """Look once, and act. Raises Unavailable: the next look begins anew, or goes on where the broker was away."""
        if self._is_off or self._monotonic() - self._looked < _LEAST_SECONDS:
            return
        self._looked = self._monotonic()
        membership = self._read_membership()
        try:
            look = self._lifelines.look(membership)
        except SharedSession as error:
            self._turn_off(error)
            return
        except ErrataError:
            self._witness.forget()
            self._metrics.set_watched_workers(0)
            raise
        self._metrics.set_watched_workers(sum(each.is_held for each in look.others))
        dead, forgotten = self._witness.judge(look)
        if dead and _is_formed(membership, look):
            self._free_partitions([each for each in dead if each.membership.member_id])
            forgotten += dead
        for each in forgotten:
            self._lifelines.bury(each.number)

    def _free_partitions(self, dead: Sequence[Lifeline]) -> None:
        """All in one request: by the first that is removed the group begins to form anew."""
        if not dead:
            return
        try:
            were_members = self._remove_members([each.membership.member_id for each in dead])
        except Stop as error:
            names = ", ".join(each.holder for each in dead)
            logger.warning("dead: %s; the session has to end by itself: %s", names, error)
            return
        for each in dead:
            if each.membership.member_id in were_members:
                self._metrics.count_removed_worker()
                logger.warning("worker %s is dead: its partitions are freed", each.holder)

    def _turn_off(self, error: SharedSession) -> None:
        self._is_off = True
        self._metrics.set_watched_workers(0)
        logger.warning("a killed worker is noticed only by the end of its session: %s", error)
        self._lifelines.end()


def _is_formed(ours: Membership, look: Look) -> bool:
    """Whether we are in the group, and nobody who lives says that it has begun to form anew.

    While a group forms, a broker may hold on to a leader that is removed (Tansu 0.6.0 does, for ever). Whoever is still
    in an earlier generation has not looked since, or was stopped and is in the group no more.
    """
    generations = [each.membership.generation for each in look.others if each.is_held]
    return ours.generation not in (None, FORMING) and all(
        each is None or FORMING < each <= ours.generation for each in generations
    )
