"""How much a sender may send: token buckets. Pure; the time is given, in seconds that never go back."""

from collections import OrderedDict
from typing import Final

_SENDERS: Final = 10_000


class _Bucket:
    """What a sender has left at a time."""

    __slots__ = ("left", "time")

    def __init__(self, left: float, time: float) -> None:
        self.left = left
        self.time = time


class RateLimit:
    """Each sender may take `burst` at once and `per_second` in the long run: never more than burst + rate x time.

    It remembers `senders` of them. Of further ones it remembers all together, as one sender, until another has its
    burst again and can be forgotten.
    """

    def __init__(self, per_second: float, burst: float, senders: int = _SENDERS) -> None:
        self._per_second = per_second
        self._burst = burst
        self._senders = senders
        #: The one who has not taken for longest comes first.
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._others = _Bucket(burst, 0.0)

    def take(self, sender: str, n: float, now: float) -> float:
        """Take `n` and return 0.0; or take nothing and return the seconds after which `n` will be there."""
        bucket = self._bucket_of(sender, now)
        missing = n - bucket.left
        if missing <= 0:
            bucket.left -= n
            return 0.0
        return missing / self._per_second

    def look(self, sender: str, n: float, now: float) -> float:
        """What `take` would return; nothing is taken."""
        return max(0.0, n - self._bucket_of(sender, now).left) / self._per_second

    def _bucket_of(self, sender: str, now: float) -> _Bucket:
        """What `sender` has left now."""
        bucket = self._buckets.get(sender)
        if bucket is None:
            self._fill(self._others, now)
            if not self._has_room(now):
                return self._others
            # It may have been one of the others until now, and begins with what they left.
            bucket = self._buckets[sender] = _Bucket(self._others.left, now)
        self._buckets.move_to_end(sender)
        self._fill(bucket, now)
        return bucket

    def _has_room(self, now: float) -> bool:
        """Whether one more can be remembered, perhaps because another has its burst again and is forgotten."""
        if len(self._buckets) < self._senders:
            return True
        oldest, bucket = next(iter(self._buckets.items()))
        self._fill(bucket, now)
        if bucket.left < self._burst:
            return False
        del self._buckets[oldest]
        return True

    def _fill(self, bucket: _Bucket, now: float) -> None:
        bucket.left = min(self._burst, bucket.left + max(0.0, now - bucket.time) * self._per_second)
        bucket.time = max(bucket.time, now)
