"""Which version of a model a service shall run: the champion, looked up as often as the service likes.

    resolver = VersionResolver("var/artifacts", "card-reader")
    champion = resolver.current()  # In every request: it costs one stat of champion.json.

Errata writes `ARTIFACTS/MODEL/champion.json` as a whole, and the files of a version before that. A service
that does not see this directory asks the HTTP intake instead.
"""

import hashlib
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

logger = logging.getLogger(__name__)

CHAMPION: Final = "champion.json"
DESCRIPTION: Final = "network.json"
WEIGHTS: Final = "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The champion: the files of `version` are in `directory`, and their digest is `sha256`."""

    version: str
    directory: Path
    sha256: str


class Champion(msgspec.Struct, frozen=True):
    """What champion.json says. `artifact` is the version's directory, below that of all artifacts."""

    model: str
    version: str
    artifact: str
    sha256: str


class _Description(msgspec.Struct, frozen=True):
    weights_sha256: str


class VersionResolver:
    """Follows the champion of one model. One thread uses it."""

    def __init__(
        self,
        where: str | Path,
        model: str,
        *,
        artifacts: Path | None = None,
        every_seconds: float = 5.0,
        timeout_seconds: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Follow the artifacts directory `where`, or the HTTP intake at a URL.

        With a URL, `artifacts` is where the artifacts directory is on this machine, and the intake is asked
        every `every_seconds` at most. Raises ValueError when `artifacts` is missing.
        """
        self._url: str | None = None
        if isinstance(where, str) and where.startswith(("http://", "https://")):
            if artifacts is None:
                raise ValueError("with a URL, `artifacts` must say where the artifacts directory is mounted")
            self._url = f"{where.rstrip('/')}/v1/models/{urllib.parse.quote(model, safe='')}/champion"
            self._artifacts = artifacts
        else:
            self._artifacts = Path(where)
        self._model = model
        self._every_seconds = every_seconds
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._ask_at = -float("inf")
        self._seen: tuple[int, int, int] | None = None
        self._champion: bytes | None = None
        self._resolved: Resolved | None = None

    def current(self) -> Resolved | None:
        """The champion, or None before the first release.

        Never raises: while the champion cannot be read, or its files are not those it was released with, the
        one before goes on.
        """
        try:
            if self._url is None:
                self._look()
            elif self._monotonic() >= self._ask_at:
                self._ask_at = self._monotonic() + self._every_seconds
                self._take_up(self._ask(self._url))
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            logger.warning("the champion of %s cannot be read: %s", self._model, error)
        return self._resolved

    def _look(self) -> None:
        """Read champion.json if it is another file than last time."""
        path = self._artifacts / self._model / CHAMPION
        try:
            status = path.stat()
        except FileNotFoundError:
            return
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen != self._seen:
            self._take_up(path.read_bytes())
            self._seen = seen

    def _ask(self, url: str) -> bytes | None:
        """What the intake says; None where there is no champion yet."""
        try:
            with urllib.request.urlopen(url, timeout=self._timeout_seconds) as response:  # noqa: S310
                return bytes(response.read(64 * 1024))
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise

    def _take_up(self, written: bytes | None) -> None:
        """Make what is written the champion, after its files were checked. Raises OSError or ValueError."""
        if written is None or written == self._champion:
            return
        champion = msgspec.json.decode(written, type=Champion)
        directory = self._artifacts / champion.artifact
        check_artifact(directory, champion.sha256)
        self._champion = written
        self._resolved = Resolved(champion.version, directory, champion.sha256)
        logger.info("the champion of %s is version %s", self._model, champion.version)


def check_artifact(directory: Path, sha256: str) -> None:
    """Raise ValueError unless the files in `directory` are those of the digest, OSError if they are missing.

    The digest is that of network.json, which names the digest of weights.safetensors.
    """
    description = (directory / DESCRIPTION).read_bytes()
    if hashlib.sha256(description).hexdigest() != sha256:
        raise ValueError(f"{directory / DESCRIPTION} is not the file that was released")
    expected = msgspec.json.decode(description, type=_Description).weights_sha256
    with (directory / WEIGHTS).open("rb") as weights:
        if hashlib.file_digest(weights, "sha256").hexdigest() != expected:
            raise ValueError(f"{directory / WEIGHTS} is not the file that was released")
