"""Whether corrections are still like those before, where no level is known: detectors fed by steps of time.

The conformal form (quality/conformal.py) beside the ceiling form (quality/drift.py): it needs no reference, so it sees
a change of a version's first hours, and one from a level that lies far below the ceiling. It takes in single
predictions by time and id, and its chance is the hash of the id, so that a replay of the same steps gives the same
bits. An alarm begins a new past: what is usual is learnt anew, and a change that lasts is one alarm.

It takes a season for changes (62 false alarms in a million events at a swing of 30 %), so it warns and decides nothing.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from typing import Final

import numpy as np

from errata.errors import Malformed
from quality.conformal import Past, add_outcomes, chance_of
from quality.drift import Matured, decode_log_r, encode_state
from quality.evidence import ALTERNATIVES, IntArray, log_mean, log_ratios
from quality.windows import ALL

#: The alternative that the beginning of a change is dated by.
_DATED_BY: Final = (1.6,)


@dataclass(frozen=True, slots=True)
class PastState:
    """All that such a detector remembers of a slice since its latest alarm."""

    #: Logarithm of R for each of ALTERNATIVES; minus infinity before the first prediction.
    log_r: tuple[float, ...] = (-math.inf,) * len(ALTERNATIVES)
    n: int = 0
    k: int = 0
    #: Log-likelihood gain of a higher rate over that of the past since it was last 0, and the predictions, corrections
    #: and start of the steps since then.
    gain: float = 0.0
    gain_n: int = 0
    gain_k: int = 0
    gain_since_us: int | None = None

    def to_json(self) -> str:
        """Write the state so that `from_json` returns it bit by bit."""
        return encode_state(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "PastState":
        """Read what `to_json` wrote. Raises Malformed("bad_detector_state")."""
        try:
            values = json.loads(text)
            log_r = decode_log_r(values.pop("log_r"))
            state = cls(log_r=log_r, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Malformed("bad_detector_state", f"not the state of a detector: {error}") from error
        if len(log_r) != len(ALTERNATIVES):
            raise Malformed("bad_detector_state", "not the state of this detector: it has other alternatives")
        return state


@dataclass(frozen=True, slots=True)
class Rise:
    """A slice is corrected more often than before: its state when the evidence reached the level."""

    slice: str
    state: PastState
    log_evidence: float
    #: The last prediction of the step.
    time_us: int

    @property
    def rate_before(self) -> float:
        """The rate of the predictions before the change."""
        state = self.state
        return (state.k - state.gain_k) / max(state.n - state.gain_n, 1)


def follow_past(
    states: Mapping[str, PastState], steps: Sequence[Matured], *, level: float, salt: str
) -> tuple[dict[str, PastState], list[Rise]]:
    """Take in the predictions of `steps` for the slices in `states`, and no others; return what became of them.

    Whatever the rate, of predictions that are corrected by chance alone one in `level` gives a Rise on average; a
    season is no such chance. `salt` sets the chance of this detector apart from that of others.
    """
    rows = _Rows(states)
    rises = [rise for step in steps for rise in rows.take_in(step, math.log(level), salt)]
    return rows.states(), rises


class _Rows:
    """The states of some slices side by side, one row each, changed in place."""

    def __init__(self, states: Mapping[str, PastState]) -> None:
        self._names = list(states)
        self._before = list(states.values())
        self._place = {name: place for place, name in enumerate(states)}
        each = self._before
        self._log_r = np.array([state.log_r for state in each]).reshape(-1, len(ALTERNATIVES))
        self._past = Past(
            np.array([state.n for state in each], dtype=np.int64),
            np.array([state.k for state in each], dtype=np.int64),
        )
        self._gain = np.array([state.gain for state in each])
        self._gain_n = np.array([state.gain_n for state in each], dtype=np.int64)
        self._gain_k = np.array([state.gain_k for state in each], dtype=np.int64)
        #: Where there is none, it is not looked at.
        self._since_us = np.array([state.gain_since_us or 0 for state in each], dtype=np.int64)
        self._has_moved = np.zeros(len(each), dtype=np.bool_)

    def states(self) -> dict[str, PastState]:
        after = dict(zip(self._names, self._before, strict=True))
        moved = np.flatnonzero(self._has_moved)
        return after | {self._names[place]: state for place, state in self._read(moved)}

    def take_in(self, step: Matured, log_level: float, salt: str) -> list[Rise]:
        """Move the rows that have predictions in `step`; return those that have risen."""
        singles = step.singles
        slice_of, event_of = self._rows_of(singles.slices)
        if not len(slice_of):
            return []
        corrected = np.fromiter(singles.corrected, np.int64, len(singles.ids))[event_of]
        chance = chance_of(singles.ids, salt)[event_of]
        before = self._past
        self._log_r, self._past = add_outcomes(self._log_r, before, slice_of, corrected, chance)
        at = np.flatnonzero(self._past.n > before.n)
        self._has_moved[at] = True
        self._date(at, before, step.start_us)
        evidence = log_mean(self._log_r[at])
        risen = evidence >= log_level
        rises = [
            Rise(self._names[place], state, here, step.end_us)
            for (place, state), here in zip(self._read(at[risen]), evidence[risen].tolist(), strict=True)
        ]
        self._begin(at[risen])
        return rises

    def _rows_of(self, slices: Sequence[tuple[str, ...]]) -> tuple[IntArray, IntArray]:
        """The rows that predictions go to, and which prediction goes there; those of a row in their order."""
        sizes = np.fromiter(map(len, slices), np.int64, len(slices))
        found = map(self._place.get, chain.from_iterable(slices), repeat(-1))
        row_of = np.fromiter(found, np.int64, int(sizes.sum()))
        event_of = np.repeat(np.arange(len(slices)), sizes)[row_of >= 0]
        row_of = row_of[row_of >= 0]
        if ALL not in self._place:
            return row_of, event_of
        whole = np.full(len(slices), self._place[ALL])
        return np.concatenate([whole, row_of]), np.concatenate([np.arange(len(slices)), event_of])

    def _date(self, at: IntArray, before: Past, start_us: int) -> None:
        """Move the beginnings of changes: the rate that they leave is that of the predictions before them."""
        n, k = self._past.n[at] - before.n[at], self._past.k[at] - before.k[at]
        usual = (before.k[at] - self._gain_k[at] + 0.5) / (before.n[at] - self._gain_n[at] + 1.0)
        ratios, _ = log_ratios(n, k, usual, _DATED_BY)
        gain = np.maximum(self._gain[at] + ratios[:, 0], 0.0)
        self._since_us[at] = np.where(self._gain[at] > 0, self._since_us[at], start_us)
        self._gain[at] = gain
        self._gain_n[at] = np.where(gain > 0, self._gain_n[at] + n, 0)
        self._gain_k[at] = np.where(gain > 0, self._gain_k[at] + k, 0)

    def _begin(self, at: IntArray) -> None:
        """Begin a new past."""
        self._log_r[at] = -np.inf
        self._past.n[at] = self._past.k[at] = 0
        self._gain[at] = 0.0
        self._gain_n[at] = self._gain_k[at] = 0

    def _read(self, at: IntArray) -> Iterator[tuple[int, PastState]]:
        """Rows and their states."""
        columns = (
            self._past.n, self._past.k, self._gain, self._gain_n, self._gain_k, self._since_us
        )  # fmt: skip
        rows = zip(self._log_r[at].tolist(), *(column[at].tolist() for column in columns), strict=True)
        for place, (log_r, n, k, gain, gain_n, gain_k, since_us) in zip(at.tolist(), rows, strict=True):
            yield place, PastState(tuple(log_r), n, k, gain, gain_n, gain_k, since_us if gain > 0 else None)
