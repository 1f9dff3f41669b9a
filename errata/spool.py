"""Events on disk while the broker is away: appended, read back oldest first, forgotten once they are sent.

Every process writes files of its own and holds a lock on them for as long as it lives. Files without a living
owner were left by a process that ended or was killed; the next one that opens the directory adopts them.

An entry is its length and its CRC-32 (little-endian, 4 bytes each), then the bytes. What a kill or a full
disk cut off in the middle is told by these and set aside, along with whatever follows it in that file, in a
file that ends in `.torn`. Which entries of a file were forgotten is not written down: after a kill, those of
one file at most are read a second time.
"""

import fcntl
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct("<II")
_SUFFIX: Final = ".spool"
_TORN_SUFFIX: Final = ".torn"


@dataclass(slots=True)
class _File:
    """One file that this process owns: `descriptor` holds its lock, its next entry begins at `start`."""

    path: Path
    descriptor: int
    n_bytes: int
    start: int = 0


class Spool:
    """A queue of byte strings in a directory. One thread uses it; many processes may share the directory."""

    def __init__(
        self,
        directory: Path,
        *,
        file_bytes: int = 8 * 1024 * 1024,
        fsync_seconds: float = 1.0,
        on_torn: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """Open the directory, make it if need be, and adopt what earlier processes left. Raises OSError.

        `fsync_seconds` is how much a power cut may take; a kill takes nothing that was appended. `on_torn` is
        told of each file in which something unreadable was set aside.
        """
        self._directory = directory
        self._file_bytes = file_bytes
        self._fsync_seconds = fsync_seconds
        self._on_torn = on_torn
        self._fsync_at = 0.0
        self._n_files = 0
        #: Oldest first; the last one is appended to if it was made by this process.
        self._files: deque[_File] = deque()
        self._writing: _File | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.adopt()

    @property
    def n_bytes(self) -> int:
        """What is not forgotten yet, on disk."""
        return sum(file.n_bytes - file.start for file in self._files)

    def adopt(self) -> int:
        """Take over the files whose owner is gone, and return how many. Raises OSError."""
        own = {file.path for file in self._files}
        adopted = []
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            if path in own:
                continue
            file = _lock(path)
            if file is not None:
                adopted.append(file)
        # They are older than anything this process wrote.
        self._files.extendleft(reversed(adopted))
        return len(adopted)

    def append(self, entries: Sequence[bytes]) -> None:
        """Write entries behind all others. Raises OSError, and then none of them is in the spool."""
        if not entries:
            return
        if self._writing is None or self._writing.n_bytes >= self._file_bytes:
            self._writing = self._open_next()
        file = self._writing
        chunk = b"".join(_HEAD.pack(len(entry), zlib.crc32(entry)) + entry for entry in entries)
        try:
            _write_all(file.descriptor, chunk)
            self._fsync(file.descriptor)
        except OSError:
            # Half an entry would hide what is appended behind it.
            os.ftruncate(file.descriptor, file.n_bytes)
            os.lseek(file.descriptor, file.n_bytes, os.SEEK_SET)
            raise
        file.n_bytes += len(chunk)

    def read(self, limit: int, limit_bytes: int) -> list[bytes]:
        """The oldest entries, at least one if there is any; they stay until `forget`. Raises OSError."""
        while self._files:
            file = self._files[0]
            entries = _read_entries(file, limit, limit_bytes)
            if entries:
                return entries
            if file.start < file.n_bytes:
                self._set_aside(file)
            self._remove_first()
        return []

    def forget(self, entries: Sequence[bytes]) -> None:
        """Let go of what the last `read` returned. Raises OSError."""
        file = self._files[0]
        file.start += sum(_HEAD.size + len(entry) for entry in entries)
        if file.start >= file.n_bytes:
            self._remove_first()

    def close(self) -> None:
        """Let go of the directory; what is in the files waits for the next process that opens it."""
        for file in self._files:
            if file is self._writing:
                os.fsync(file.descriptor)
            os.close(file.descriptor)
        self._files.clear()
        self._writing = None

    def abandon(self) -> None:
        """In a forked child: let go of the files without a trace, they belong to the parent."""
        for file in self._files:
            os.close(file.descriptor)
        self._files.clear()
        self._writing = None

    def _open_next(self) -> _File:
        self._n_files += 1
        # The time comes first, so that names sort by age; with the process and the count it is unique.
        name = f"{time.time_ns():020d}-{os.getpid()}-{self._n_files}{_SUFFIX}"
        path = self._directory / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # Another process adopted it between these two lines, and will remove it; the next try makes
            # another.
            os.close(descriptor)
            raise
        file = _File(path, descriptor, 0)
        self._files.append(file)
        return file

    def _fsync(self, descriptor: int) -> None:
        now = time.monotonic()
        if now >= self._fsync_at:
            os.fsync(descriptor)
            self._fsync_at = now + self._fsync_seconds

    def _set_aside(self, file: _File) -> None:
        """Keep what cannot be read of a file beside it, for a person."""
        rest = os.pread(file.descriptor, file.n_bytes - file.start, file.start)
        path = file.path.with_suffix(_TORN_SUFFIX)
        path.touch(0o600)
        path.write_bytes(rest)
        self._on_torn(path)

    def _remove_first(self) -> None:
        file = self._files.popleft()
        if file is self._writing:
            self._writing = None
        file.path.unlink(missing_ok=True)
        os.close(file.descriptor)


def sift(directory: Path, is_kept: Callable[[bytes], bool]) -> tuple[int, int]:
    """Remove entries that are not to be kept from files without a living owner, and torn files that hold such.

    Returns how many entries were removed, and how many files were left alone because a process owns them.
    Raises OSError.
    """
    n_removed = n_owned = 0
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        file = _lock(path)
        if file is None:
            n_owned += path.exists()
            continue
        try:
            n_removed += _sift_file(file, is_kept)
        finally:
            os.close(file.descriptor)
    for path in sorted(directory.glob(f"*{_TORN_SUFFIX}")):
        if not is_kept(path.read_bytes()):
            path.unlink()
            n_removed += 1
    return n_removed, n_owned


def _sift_file(file: _File, is_kept: Callable[[bytes], bool]) -> int:
    entries = _read_entries(file, limit=2**31, limit_bytes=2**31)
    kept = [entry for entry in entries if is_kept(entry)]
    end = sum(_HEAD.size + len(entry) for entry in entries)
    torn = os.pread(file.descriptor, file.n_bytes - end, end)
    keeps_torn = not torn or is_kept(torn)
    n_removed = len(entries) - len(kept) + (not keeps_torn)
    if n_removed:
        chunk = b"".join(_HEAD.pack(len(entry), zlib.crc32(entry)) + entry for entry in kept)
        replacement = file.path.with_suffix(".sifted")
        replacement.touch(0o600)
        replacement.write_bytes(chunk + (torn if keeps_torn else b""))
        with replacement.open("rb") as written:
            os.fsync(written.fileno())
        replacement.replace(file.path)
    return n_removed


def _lock(path: Path) -> _File | None:
    """Open and lock a file, or None when it has an owner or was removed meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink == 0:
            raise BlockingIOError
    except BlockingIOError:
        os.close(descriptor)
        return None
    return _File(path, descriptor, os.fstat(descriptor).st_size)


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _read_entries(file: _File, limit: int, limit_bytes: int) -> list[bytes]:
    entries: list[bytes] = []
    place, n_bytes = file.start, 0
    while len(entries) < limit and (n_bytes < limit_bytes or not entries):
        head = os.pread(file.descriptor, _HEAD.size, place)
        if len(head) < _HEAD.size:
            break
        length, crc = _HEAD.unpack(head)
        if place + _HEAD.size + length > file.n_bytes:
            break
        entry = os.pread(file.descriptor, length, place + _HEAD.size)
        if len(entry) < length or zlib.crc32(entry) != crc:
            break
        entries.append(entry)
        place += _HEAD.size + length
        n_bytes += length
    return entries
