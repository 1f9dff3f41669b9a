"""What storage adds to errata/errors.py: a name that is not there, a step that what is stored does not allow."""

from errata.errors import Malformed, Stop


class NotFound(Malformed):
    """Set it aside: nothing is stored under this name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__("not_found", f"there is no {kind} {name}")


class Conflict(Malformed):
    """Set it aside: what is stored does not allow this step; the message says what would."""

    def __init__(self, detail: str) -> None:
        super().__init__("conflict", detail)


class SharedSession(Stop):
    """Stop: the session with the database is not ours alone, so that no lock of ours can be held by it."""
