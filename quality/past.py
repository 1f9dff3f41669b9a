"""Whether corrections are still like those before, where no level is known: detectors fed by steps of time.

The conformal form (quality/conformal.py) beside the ceiling form (quality/drift.py): it needs no reference, so it sees
a change of a version's first hours, and one from a level that lies far below the ceiling. It takes in single
predictions by time and id, and its chance is the hash of the id, so that a replay of the same steps gives the same
bits. An alarm begins a new past: what is usual is learnt anew, and a change that lasts is one alarm.

It takes a season for changes (62 false alarms in a million events at a swing of 30 %), so it warns and decides nothing.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
        self._place = {name: place for place, name in enumerate(states)}
        self._sorts: dict[tuple[str, ...], int] = {}
        self._places: list[IntArray] = []
        each = list(states.values())
        self._log_r = np.array([state.log_r for state in each]).reshape(-1, len(ALTERNATIVES))
        self._past = Past(
            np.array([state.n for state in each], dtype=np.int64),
            np.array([state.k for state in each], dtype=np.int64),
        )
        self._gain = np.array([state.gain for state in each])
        self._gain_n = np.array([state.gain_n for state in each], dtype=np.int64)
        self._gain_k = np.array([state.gain_k for state in each], dtype=np.int64)
        self._since_us = [state.gain_since_us for state in each]

    def states(self) -> dict[str, PastState]:
        return {name: self._state(place) for name, place in self._place.items()}

    def take_in(self, step: Matured, log_level: float, salt: str) -> list[Rise]:
        """Move the rows that have predictions in `step`; return those that have risen."""
        singles = step.singles
        sorts = np.array([self._sort_of(slices) for slices in singles.slices], dtype=np.int64)
        if not len(sorts):
            return []
        times = np.array([len(places) for places in self._places])[sorts]
        slice_of = np.concatenate([self._places[sort] for sort in sorts.tolist()])
        if not len(slice_of):
            return []
        corrected = np.repeat(singles.corrected, times)
        chance = np.repeat(chance_of(singles.ids, salt), times)
        before = self._past
        self._log_r, self._past = add_outcomes(self._log_r, before, slice_of, corrected, chance)
        at = np.flatnonzero(self._past.n > before.n)
        self._date(at, before, step.start_us)
        evidence = log_mean(self._log_r[at])
        risen = evidence >= log_level
        rises = [
            Rise(self._names[place], self._state(place), here, step.end_us)
            for place, here in zip(at[risen].tolist(), evidence[risen].tolist(), strict=True)
        ]
        for place in at[risen].tolist():
            self._begin(place)
        return rises

    def _sort_of(self, slices: tuple[str, ...]) -> int:
        """The number of this combination of slices, whose rows are in `_places`."""
        if slices not in self._sorts:
            found = [self._place[name] for name in (ALL, *slices) if name in self._place]
            self._sorts[slices] = len(self._places)
            self._places.append(np.array(found, dtype=np.int64))
        return self._sorts[slices]

    def _date(self, at: IntArray, before: Past, start_us: int) -> None:
        """Move the beginnings of changes: the rate that they leave is that of the predictions before them."""
        n, k = self._past.n[at] - before.n[at], self._past.k[at] - before.k[at]
        usual = (before.k[at] - self._gain_k[at] + 0.5) / (before.n[at] - self._gain_n[at] + 1.0)
        ratios, _ = log_ratios(n, k, usual, _DATED_BY)
        gain = np.maximum(self._gain[at] + ratios[:, 0], 0.0)
        began = self._gain[at] <= 0
        self._gain[at] = gain
        self._gain_n[at] = np.where(gain > 0, self._gain_n[at] + n, 0)
        self._gain_k[at] = np.where(gain > 0, self._gain_k[at] + k, 0)
        for place, grows, is_new in zip(at.tolist(), (gain > 0).tolist(), began.tolist(), strict=True):
            if not grows:
                self._since_us[place] = None
            elif is_new:
                self._since_us[place] = start_us

    def _begin(self, place: int) -> None:
        """Begin a new past."""
        self._log_r[place] = -np.inf
        self._past.n[place] = self._past.k[place] = 0
        self._gain[place] = 0.0
        self._gain_n[place] = self._gain_k[place] = 0
        self._since_us[place] = None

    def _state(self, place: int) -> PastState:
        return PastState(
            log_r=tuple(self._log_r[place].tolist()),
            n=int(self._past.n[place]),
            k=int(self._past.k[place]),
            gain=float(self._gain[place]),
            gain_n=int(self._gain_n[place]),
            gain_k=int(self._gain_k[place]),
            gain_since_us=self._since_us[place],
        )
