"""Which offsets may be committed: the runs of records handed out, and which of them are stored.

Pure bookkeeping. An offset is committable only when every run before it is finished; how far a partition was
read, what Faust acknowledged and in which order runs were finished has no say.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

#: A topic and a partition of it.
Partition = tuple[str, int]


@dataclass(slots=True, eq=False)
class Entry:
    """One run that was handed out: `[first_offset, next_offset)` of its partition, and its bytes."""

    partition: Partition
    first_offset: int
    next_offset: int
    size_bytes: int
    finished: bool = False
    #: False once the partition was taken away or is read again from elsewhere: finishing then changes
    #: nothing.
    alive: bool = True


class Ledger:
    """The runs in flight of every partition, in the order of their offsets."""

    def __init__(self) -> None:
        self._entries: dict[Partition, deque[Entry]] = {}
        self._committable: dict[Partition, int] = {}
        #: Runs handed out and neither finished nor forgotten, and their bytes.
        self.unfinished = 0
        self.unfinished_bytes = 0

    def hand_out(self, partition: Partition, first_offset: int, next_offset: int, size_bytes: int) -> Entry:
        """Note that a run is on its way to be stored; it must start where the one before it ended."""
        entries = self._entries.setdefault(partition, deque())
        if entries and entries[-1].next_offset != first_offset:
            raise ValueError(
                f"{partition}: a run from {first_offset} can't follow one to {entries[-1].next_offset}"
            )
        entry = Entry(partition, first_offset, next_offset, size_bytes)
        entries.append(entry)
        self.unfinished += 1
        self.unfinished_bytes += size_bytes
        return entry

    def finish(self, entry: Entry) -> bool:
        """Note that a run is stored. False if that no longer counts, its partition being forgotten."""
        if not entry.alive or entry.finished:
            return False
        entry.finished = True
        self._release(entry)
        entries = self._entries[entry.partition]
        while entries and entries[0].finished:
            self._committable[entry.partition] = entries.popleft().next_offset
        return True

    def committable(self, partition: Partition) -> int | None:
        """Return the offset after the last run of the unbroken chain of finished ones, if there is one."""
        return self._committable.get(partition)

    def partitions(self) -> list[Partition]:
        """Partitions with something to commit."""
        return list(self._committable)

    def forget(self, partitions: Iterable[Partition] | None = None) -> None:
        """Drop what is known of some partitions (or all): they are taken away, or read from elsewhere."""
        for partition in list(self._entries) if partitions is None else partitions:
            for entry in self._entries.pop(partition, ()):
                entry.alive = False
                if not entry.finished:
                    self._release(entry)
            self._committable.pop(partition, None)

    def _release(self, entry: Entry) -> None:
        self.unfinished -= 1
        self.unfinished_bytes -= entry.size_bytes
