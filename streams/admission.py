"""Who may send what to the HTTP intake: by key where keys are asked for, by address where they are not."""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from errata.events import Event, FeedbackData
from errata.settings import Intake
from storage.records import ApiKey
from streams.api_keys import KeyRing
from streams.rate_limit import RateLimit

#: Wrong keys that one address may show at once, and in a second after that, before it is told to wait.
_FAILURES_AT_ONCE: Final = 20
_FAILURES_PER_SECOND: Final = 1.0


class NotAdmitted(Exception):
    """The request shows no key that is good. `wait_seconds` is above 0 where its address did so too often."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__("no good key was shown")
        self.wait_seconds = wait_seconds


class TooMuch(Exception):
    """The sender has sent more than it may; after `wait_seconds` it may send this much."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__("more was sent than may be")
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: a key, or where there are no keys an address. `name` is what the limits count by."""

    name: str
    key: ApiKey | None = None

    def may_use(self, model: str) -> bool:
        """Whether the sender may ask about `model` and send for it."""
        return self.key is None or self.key.models is None or model in self.key.models

    def find_forbidden(self, events: Iterable[tuple[int, Event]]) -> list[tuple[int, str, str]]:
        """Position, reason and detail of each event that the key is not for.

        Feedback names no model, only a prediction that may not be here yet: its source is what is looked at.
        """
        if self.key is None:
            return []
        found = []
        for position, event in events:
            if event.source != self.key.source:
                detail = f"`source` must be {self.key.source!r}, for which this key was made"
                found.append((position, "forbidden_source", detail))
            elif not isinstance(event.data, FeedbackData) and not self._may_send(event.data.model):
                detail = f"`data.model`: this key is not for {event.data.model}"
                found.append((position, "forbidden_model", detail))
        return found

    def _may_send(self, model: str | None) -> bool:
        return model is None or self.may_use(model)


class Admission:
    """Lets senders in, with a `ring` by their keys, else everybody; and sees to it that none sends too much."""

    def __init__(
        self,
        intake: Intake,
        ring: KeyRing | None,
        *,
        now_us: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._ring = ring
        self._now_us = now_us
        self._monotonic = monotonic
        self._failures = RateLimit(_FAILURES_PER_SECOND, _FAILURES_AT_ONCE)
        self._events = RateLimit(intake.events_per_second, intake.burst_events)
        self._bytes = RateLimit(intake.bytes_per_second, intake.burst_bytes)

    def admit(self, authorization: str | None, address: str) -> Sender:
        """Who sends. Raises NotAdmitted, and Unavailable while the keys can't be read.

        A good key is let in however often others at its address failed: behind a proxy all have one address.
        """
        network = _network_of(address)
        if self._ring is None:
            return Sender(network)
        key = self._ring.find(authorization, self._now_us())
        if key is None:
            raise NotAdmitted(self._failures.take(network, 1, self._monotonic()))
        return Sender(f"key {key.id}", key)

    def check_announced(self, sender: Sender, n_bytes: int) -> None:
        """Raise TooMuch if the sender may not send `n_bytes` now, so that they need not be read."""
        _raise_if(self._bytes.look(sender.name, n_bytes, self._monotonic()))

    def charge_bytes(self, sender: Sender, n_bytes: int) -> None:
        """Count a body that was read, whatever is in it: reading it was work. Raises TooMuch."""
        _raise_if(self._bytes.take(sender.name, n_bytes, self._monotonic()))

    def charge_events(self, sender: Sender, n_events: int) -> None:
        """Count events that are to be published. Raises TooMuch."""
        _raise_if(self._events.take(sender.name, n_events, self._monotonic()))


def _raise_if(wait_seconds: float) -> None:
    if wait_seconds > 0:
        raise TooMuch(wait_seconds)


def _network_of(address: str) -> str:
    """What one sender holds for certain: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(found if found.version == 4 else ipaddress.ip_network((found.packed[:8] + bytes(8), 64)))
