"""The errors of Errata, named by what the caller should do.

ErrataError
├── Malformed      set it aside: this input will never become usable; the message names the field and the fix
├── Unavailable    wait and retry: a part we depend on does not answer now
└── Stop           stop: going on would lose or falsify data; a person has to act
    ├── SettingsError   a setting is wrong; the message names the key and the nearest right one
    ├── Fenced          another owner has taken over; this one must give up its work
    └── Behind          what is stored ends before what came begins; who can must read again from what is stored
"""


class ErrataError(Exception):
    """Any error that Errata raises on purpose."""


class Malformed(ErrataError):
    """Set it aside: this input will never become usable. `reason` is a stable code, the message a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Unavailable(ErrataError):
    """Wait and retry: a part we depend on does not answer now."""


class Stop(ErrataError):
    """Stop: going on would lose or falsify data; a person has to act."""


class SettingsError(Stop):
    """A setting is wrong; the message names the key and the nearest right one."""


class Fenced(Stop):
    """Another owner has taken over; this one must give up its work."""


class Behind(Stop):
    """What is stored ends before what came begins, as after a restore: who can must read again from what is stored."""
