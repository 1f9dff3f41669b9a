"""API keys of the HTTP intake: their form, and whose a key is that a sender shows.

A key is `errata_ID_SECRET`. The secret has 256 random bits and is kept nowhere: what is stored is its SHA-256.
"""

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from errata.errors import Unavailable
from quality.windows import DAY_US
from storage.records import ApiKey

logger = logging.getLogger(__name__)

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_FORM: Final = re.compile(r"errata_([0-9a-f]{12})_([0-9a-f]{64})")
_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `text` is for its sender alone."""

    id: str
    text: str = field(repr=False)
    hash: str = field(repr=False)


def make_key(random_bytes: Callable[[int], bytes]) -> NewKey:
    """Make a key of `random_bytes`, which must be fit for secrets."""
    key_id, secret = random_bytes(_ID_BYTES).hex(), random_bytes(_SECRET_BYTES).hex()
    return NewKey(key_id, f"errata_{key_id}_{secret}", _hash(secret))


class KeyRing:
    """The keys as they were read last, so that a request asks no database.

    `refresh` is called every few seconds by one thread while others call `find`.
    """

    def __init__(
        self,
        read_keys: Callable[[], Sequence[ApiKey]],
        note_uses: Callable[[Mapping[str, int]], None],
        *,
        outage_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._read_keys = read_keys
        self._note_uses = note_uses
        self._outage_seconds = outage_seconds
        self._monotonic = monotonic
        self._keys: dict[str, ApiKey] = {}
        #: When the last reading that succeeded began.
        self._read_at: float | None = None
        self._used_days_us: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def refresh(self) -> None:
        """Read the keys anew and note which were used; a database that is away is logged and changes nothing.

        Raises Stop when the database has no tables of keys.
        """
        began = self._monotonic()
        try:
            keys = {key.id: key for key in self._read_keys()}
            self._keys, self._read_at = keys, began
            used = dict(self._used_days_us)
            self._note_uses(
                {
                    key_id: day_us
                    for key_id, day_us in used.items()
                    if key_id in keys and (keys[key_id].last_used_us or 0) < day_us
                }
            )
        except Unavailable as error:
            logger.warning("keys are as they were read last: %s", error)

    def find(self, authorization: str | None, now_us: int) -> ApiKey | None:
        """The key in an `Authorization` header; None for whatever is wrong with it.

        It compares in constant time, also where the id is unknown. Raises Unavailable when the keys were read too
        long ago, or never, to be relied on.
        """
        if self._read_at is None or self._monotonic() - self._read_at > self._outage_seconds:
            raise Unavailable("the keys can't be read from the database")
        bearer = _BEARER.fullmatch(authorization or "")
        shown = _FORM.fullmatch(bearer[1]) if bearer else None
        key_id, secret = (shown[1], shown[2]) if shown else ("", "")
        key = self._keys.get(key_id)
        same = hmac.compare_digest(_hash(secret), key.hash if key else _hash("no such key"))
        if key is None or not same or not _is_good(key, now_us):
            return None
        self._used_days_us[key.id] = now_us // DAY_US * DAY_US
        return key


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _is_good(key: ApiKey, now_us: int) -> bool:
    return key.revoked_us is None and (key.expires_us is None or now_us < key.expires_us)
