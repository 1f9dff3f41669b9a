"""When the correction rate of a version has drifted, as a whole or in a slice: detectors fed by steps of time.

Each slice has a ceiling: the upper confidence bound of its rate in its first matured predictions (the reference), or
what the settings allow. Evidence against "the rate is at most the ceiling" is gathered by quality/evidence.py. A slice
is calm until its evidence reaches the level of a warning, then that of an alarm, and it is calm again once the upper
bound of its rate since then lies below the ceiling: a drift that lasts is one alarm, however often the evidence rises.

Only sums of steps count, and states are exact, so that a replay of the same steps gives the same bits.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import chain, repeat
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from errata.errors import Malformed
from errata.settings import Detector
from quality.evidence import (
    ALTERNATIVES,
    HIGHEST_RATE,
    IntArray,
    add_ratios,
    add_scores,
    bets_on_sessions,
    log_mean,
    log_ratios,
)
from quality.intervals import rate_intervals, upper_bound
from quality.season import HOURS, LEAST_US, hour_of_week, learn_season
from quality.windows import ALL

#: Confidence that the true reference rate lies below the ceiling. At .95 one reference in twenty would be
#: exceeded from the start.
CEILING_CONFIDENCE: Final = 0.99
#: The same for a slice: of a hundred slices none is to be exceeded.
SLICE_CEILING_CONFIDENCE: Final = 0.9999

#: No bet on the mean of a session loses more than this share when nothing in it is corrected.
LARGEST_BET: Final = 0.9
#: The means of sessions never differ less than this.
LEAST_VARIANCE: Final = 1e-9

Stage = Literal["calm", "warned", "alarmed"]
STAGES: Final[tuple[Stage, ...]] = ("calm", "warned", "alarmed")

_BETS: Final = len(ALTERNATIVES)
_NO_EVIDENCE: Final = (-math.inf,) * _BETS
_NOTHING: Final = (0,) * _BETS


@dataclass(frozen=True, slots=True)
class Change:
    """Where the rate most likely changed: predictions since then, corrections among them, and the time."""

    n: int
    k: int
    since_us: int | None
    #: The rate that was allowed meanwhile.
    allowed: float


class Singles(NamedTuple):
    """The predictions of a step by time and id: their slices but the whole, and whether they were corrected."""

    ids: Sequence[str] = ()
    slices: Sequence[tuple[str, ...]] = ()
    corrected: Sequence[bool] = ()


_NO_SINGLES: Final = Singles()


@dataclass(frozen=True, slots=True)
class Matured:
    """One step of time whose predictions are old enough: for each slice how many there are, and how many corrected.

    The first of them was made at `start_us`, the last at `end_us`.
    """

    start_us: int
    end_us: int
    counts: Mapping[str, tuple[int, int]]
    #: Each of them; none where nobody asked for them. Where sessions are counted, the first of each.
    singles: Singles = _NO_SINGLES
    #: Predictions and corrections of each session, by slice; empty where nobody asked for them.
    sessions: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DetectorState:
    """All that the detector of a slice remembers of the steps it has seen, per alternative where a tuple of floats."""

    #: Logarithm of R_r; minus infinity before the first step and after an alarm.
    log_r: tuple[float, ...] = _NO_EVIDENCE
    #: Predictions and corrections since the reference was complete.
    n: int = 0
    k: int = 0
    reference_n: int = 0
    reference_k: int = 0
    #: Sessions in the reference, and the sums of the means of each and of their squares, where sessions are counted.
    reference_sessions: int = 0
    reference_means: float = 0.0
    reference_squares: float = 0.0
    #: The rate that counts as no drift; None while the reference is incomplete.
    ceiling: float | None = None
    #: Log-likelihood gain of each alternative over the ceiling since it was last 0 (Page's CUSUM), and the
    #: predictions, corrections, allowed corrections and start of the steps since then.
    gain: tuple[float, ...] = (0.0,) * _BETS
    gain_n: tuple[int, ...] = _NOTHING
    gain_k: tuple[int, ...] = _NOTHING
    gain_allowed: tuple[float, ...] = (0.0,) * _BETS
    gain_since_us: tuple[int | None, ...] = (None,) * _BETS
    stage: Stage = "calm"
    #: When the stage began, and predictions, corrections and allowed corrections since its latest evidence.
    stage_us: int | None = None
    stage_n: int = 0
    stage_k: int = 0
    stage_allowed: float = 0.0
    #: The evidence of the latest alarm, as a logarithm.
    alarm_log_evidence: float | None = None
    #: The evidence that alarms, as a logarithm, as it was in the latest step.
    log_level: float | None = None
    #: The predictions that the latest alarm is about: since its change, and until it ended; None while it lasts.
    alarm_since_us: int | None = None
    alarm_until_us: int | None = None
    #: What was told last about the latest alarm: the rule that decided. Empty until something was.
    told: str = ""
    #: Whether the latest alarm has opened a run.
    opened: bool = False
    #: Of the whole alone: predictions and corrections by hour of the week, since when; and once four weeks are
    #: there, how many times the flat ceiling each hour is allowed.
    hours_since_us: int | None = None
    hours_n: tuple[int, ...] = ()
    hours_k: tuple[int, ...] = ()
    season: tuple[float, ...] = ()

    @property
    def change(self) -> Change | None:
        """The most likely change so far; None while no alternative explains the data better than the ceiling."""
        best = max(range(_BETS), key=lambda place: self.gain[place])
        if self.gain[best] <= 0:
            return None
        n = self.gain_n[best]
        return Change(n, self.gain_k[best], self.gain_since_us[best], self.gain_allowed[best] / n)

    @property
    def log_evidence(self) -> float:
        """Log M, to be compared with the logarithm of the alarm level."""
        return float(log_mean(np.array([self.log_r]))[0])

    def to_json(self) -> str:
        """Write the state so that `from_json` returns it bit by bit."""
        return encode_state(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "DetectorState":
        """Read what `to_json` wrote, now or before there were stages. Raises Malformed("bad_detector_state")."""
        try:
            values = json.loads(text)
            values["log_r"] = decode_log_r(values["log_r"])
            if "gain_allowed" not in values:
                values["gain_allowed"] = [n * (values["ceiling"] or 0.0) for n in values["gain_n"]]
            values = {
                name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
            }
            state = cls(**values)
            per_alternative = (
                state.log_r, state.gain, state.gain_n, state.gain_k, state.gain_allowed, state.gain_since_us
            )  # fmt: skip
            fits = {len(part) for part in per_alternative} == {_BETS} and state.stage in STAGES
        except (ValueError, TypeError, KeyError) as error:
            raise Malformed("bad_detector_state", f"not the state of a detector: {error}") from error
        if not fits:
            raise Malformed("bad_detector_state", "not the state of this detector: it has other alternatives")
        return state


@dataclass(frozen=True, slots=True)
class Notice:
    """A slice has become `warned`, `alarmed` or `calm`: its state and evidence in the step that made it so."""

    slice: str
    stage: Stage
    state: DetectorState
    log_evidence: float
    #: The stage that it has left.
    before: Stage
    #: The last prediction of that step.
    time_us: int


def follow(
    states: Mapping[str, DetectorState],
    steps: Sequence[Matured],
    detector: Detector,
    *,
    level: float,
    warning_share: float = 1.0,
) -> tuple[dict[str, DetectorState], list[Notice]]:
    """Take in `steps` for the slices in `states`, and no others; return their states after it, and what changed.

    An alarm takes evidence of `level`, a warning that share of it. The predictions of a step must be chosen without
    regard to their outcomes, for example by the time at which they matured. Until `detector.reference_predictions` are
    reached, those of a slice go to its reference alone. Raises ValueError unless 0 <= k <= n in each step.
    """
    # Only what has come is read and written again: of a thousand slices, a step has some.
    came = {ALL}.union(*(step.counts for step in steps))
    rows = _Rows({name: state for name, state in states.items() if name in came})
    notices = [
        notice for step in steps for notice in rows.take_in(step, detector, level, level * warning_share)
    ]
    return {**states, **rows.states()}, notices


def reset_for_version(state: DetectorState) -> DetectorState:
    """Return the state for the next version: no evidence, held to the same reference as the one before.

    An incomplete reference is dropped, since it must not mix two versions. Begin with `DetectorState()` instead
    to let the version set its own reference.
    """
    if state.ceiling is None:
        return DetectorState()
    return DetectorState(
        reference_n=state.reference_n,
        reference_k=state.reference_k,
        reference_sessions=state.reference_sessions,
        reference_means=state.reference_means,
        reference_squares=state.reference_squares,
        ceiling=state.ceiling,
        season=state.season,
    )


def encode_state(values: Mapping[str, Any]) -> str:
    """Write the fields of a detector's state, `log_r` among them, as JSON that keeps every bit."""
    # JSON knows no infinity.
    log_r = [None if each == -math.inf else each for each in values["log_r"]]
    return json.dumps({**values, "log_r": log_r}, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decode_log_r(written: Sequence[float | None]) -> tuple[float, ...]:
    """Read the `log_r` that `encode_state` wrote."""
    return tuple(-math.inf if each is None else each for each in written)


#: The fields of a state that become one array over slices, with the number that stands for None.
_ARRAYS: Final[dict[str, tuple[Any, float | None]]] = {
    "log_r": (np.float64, None),
    "n": (np.int64, None),
    "k": (np.int64, None),
    "reference_n": (np.int64, None),
    "reference_k": (np.int64, None),
    "reference_sessions": (np.int64, None),
    "reference_means": (np.float64, None),
    "reference_squares": (np.float64, None),
    "ceiling": (np.float64, np.nan),
    "gain": (np.float64, None),
    "gain_n": (np.int64, None),
    "gain_k": (np.int64, None),
    "gain_allowed": (np.float64, None),
    "gain_since_us": (np.int64, -1),
    "stage_us": (np.int64, -1),
    "stage_n": (np.int64, None),
    "stage_k": (np.int64, None),
    "stage_allowed": (np.float64, None),
    "alarm_log_evidence": (np.float64, np.nan),
    "alarm_since_us": (np.int64, -1),
    "alarm_until_us": (np.int64, -1),
    "log_level": (np.float64, np.nan),
}


class _Rows:
    """The states of some slices side by side, one row each, changed in place."""

    def __init__(self, states: Mapping[str, DetectorState]) -> None:
        self._place = {name: place for place, name in enumerate(states)}
        self._names = list(states)
        self._states = list(states.values())
        self._arrays = {
            name: np.array(_fill([getattr(each, name) for each in self._states], none), dtype=kind)
            for name, (kind, none) in _ARRAYS.items()
        }
        self._stage: list[Stage] = [each.stage for each in self._states]
        self._is_staged = np.array([stage != "calm" for stage in self._stage], dtype=np.bool_)
        self._told = [each.told for each in self._states]
        self._opened = [each.opened for each in self._states]
        whole = states.get(ALL, DetectorState())
        self._season = whole.season
        self._hours_since_us = whole.hours_since_us
        self._hours_n, self._hours_k = (
            list(hours) or [0] * HOURS for hours in (whole.hours_n, whole.hours_k)
        )

    def states(self) -> dict[str, DetectorState]:
        return dict(zip(self._names, self._read(np.arange(len(self._names))), strict=True))

    def take_in(self, step: Matured, detector: Detector, level: float, warning: float) -> list[Notice]:
        """Move the rows that have predictions in `step`; return those whose stage changed."""
        at, n, k = self._counts_of(step)
        if not len(at):
            return []
        if ((k < 0) | (k > n)).any():
            raise ValueError("a step needs 0 <= k <= n")
        rows = self._arrays
        if detector.ceiling_rate is not None:
            rows["ceiling"][at] = detector.ceiling_rate
        else:
            # A ceiling without a reference was set by hand, and is no longer.
            rows["ceiling"][at] = np.where(rows["reference_n"][at] > 0, rows["ceiling"][at], np.nan)
        known = ~np.isnan(rows["ceiling"][at])
        self._collect_references(at[~known], n[~known], k[~known], step, detector)
        self._follow_season(step, detector)
        at, n, k = at[known], n[known], k[known]
        if not len(at):
            return []
        rows["n"][at] += n
        rows["k"][at] += k
        rows["log_level"][at] = math.log(level)
        allowed = rows["ceiling"][at] * self._factors(at, step.start_us, detector)
        ratios, moves = log_ratios(n, k, allowed)
        self._move_change(at, n, k, ratios, allowed, step.start_us)
        if detector.by_session:
            self._add_sessions(at, step, allowed)
        else:
            rows["log_r"][at] = add_ratios(rows["log_r"][at], n, ratios, moves)
        return self._move_stages(at, n, k, allowed, step.end_us, math.log(level), math.log(warning))

    def _counts_of(self, step: Matured) -> tuple[IntArray, IntArray, IntArray]:
        """The rows that have predictions in a step, in their order, with their counts."""
        at = np.fromiter(map(self._place.get, step.counts, repeat(-1)), np.int64, len(step.counts))
        counts = np.fromiter(chain.from_iterable(step.counts.values()), np.int64, 2 * len(at)).reshape(-1, 2)
        wanted = np.flatnonzero((at >= 0) & counts.any(axis=1))
        wanted = wanted[np.argsort(at[wanted])]
        return at[wanted], counts[wanted, 0], counts[wanted, 1]

    def _collect_references(
        self, at: IntArray, n: IntArray, k: IntArray, step: Matured, detector: Detector
    ) -> None:
        rows = self._arrays
        rows["reference_n"][at] += n
        rows["reference_k"][at] += k
        if detector.by_session:
            for place in at.tolist():
                means = [each_k / each_n for each_n, each_k in step.sessions.get(self._names[place], ())]
                rows["reference_sessions"][place] += len(means)
                # Exact sums, whatever the order of sessions in a step.
                rows["reference_means"][place] += math.fsum(means)
                rows["reference_squares"][place] += math.fsum(mean**2 for mean in means)
        for place in at[rows["reference_n"][at] >= max(detector.reference_predictions, 1)].tolist():
            confidence = CEILING_CONFIDENCE if self._names[place] == ALL else SLICE_CEILING_CONFIDENCE
            rows["ceiling"][place] = self._upper_bound(place, confidence, detector)

    def _upper_bound(self, place: int, confidence: float, detector: Detector) -> float:
        """The bound of the reference rate: of predictions, or of sessions as so many predictions as tell as much."""
        rows = self._arrays
        n, k = int(rows["reference_n"][place]), int(rows["reference_k"][place])
        n_sessions = int(rows["reference_sessions"][place])
        if not detector.by_session or n_sessions < 2:
            return upper_bound(n, k, confidence) * (1 + detector.tolerance)
        mean = float(rows["reference_means"][place]) / n_sessions
        variance = float(self._session_variance(np.array([place]), np.array([mean]))[0])
        if not 0 < mean < 1 or variance <= 0:
            return upper_bound(n_sessions, round(mean * n_sessions), confidence) * (1 + detector.tolerance)
        worth = min(max(n_sessions * mean * (1 - mean) / variance, 1.0), float(n))
        return upper_bound(worth, mean * worth, confidence) * (1 + detector.tolerance)

    def _session_variance(self, at: IntArray, rate: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The variance of the means of sessions: as the reference had it, or as large as a `rate` allows."""
        rows = self._arrays
        n_sessions = np.maximum(rows["reference_sessions"][at], 1)
        means = rows["reference_means"][at] / n_sessions
        variance = rows["reference_squares"][at] / n_sessions - means**2
        return np.where(rows["reference_sessions"][at] >= 2, np.maximum(variance, 0.0), rate * (1 - rate))

    def _add_sessions(self, at: IntArray, step: Matured, allowed: npt.NDArray[np.float64]) -> None:
        """Bet on the mean of each session, which stands for all of its predictions."""
        moves = (allowed > 0) & (allowed < HIGHEST_RATE)
        at, allowed = at[moves], allowed[moves]
        found = [
            (row, each_n, each_k)
            for row, place in enumerate(at.tolist())
            # In one order, since sums of floats depend on it.
            for each_n, each_k in sorted(step.sessions.get(self._names[place], ()))
        ]
        if not found:
            return
        slice_of, n, k = np.array(found, dtype=np.int64).T
        bets = bets_on_sessions(allowed, np.maximum(self._session_variance(at, allowed), LEAST_VARIANCE))
        bets = np.minimum(bets, LARGEST_BET / allowed[:, None])
        rows = self._arrays
        rows["log_r"][at] = add_scores(rows["log_r"][at], slice_of, k / n, allowed, bets, n)

    def _follow_season(self, step: Matured, detector: Detector) -> None:
        """Count hours of the week while the whole is no alarm; from four weeks on, they are the reference."""
        n, k = step.counts.get(ALL, (0, 0))
        place = self._place.get(ALL)
        if place is None or self._season or not n or self._stage[place] == "alarmed":
            return
        if self._hours_since_us is None:
            self._hours_since_us = step.start_us
        if step.start_us >= self._hours_since_us + LEAST_US and detector.ceiling_rate is None:
            self._season = learn_season(self._hours_n, self._hours_k)
            reference = sum(self._hours_n), sum(self._hours_k)
            rows = self._arrays
            rows["reference_n"][place], rows["reference_k"][place] = reference
            rows["ceiling"][place] = self._upper_bound(place, CEILING_CONFIDENCE, detector)
            return
        hour = hour_of_week(step.start_us)
        self._hours_n[hour] += n
        self._hours_k[hour] += k

    def _factors(self, at: IntArray, time_us: int, detector: Detector) -> npt.NDArray[np.float64]:
        """How many times their flat ceiling slices are allowed now.

        Slices follow the season of the whole where it allows more. Where it allows less they do not, because the
        reference of a slice may come from a few hours of the week.
        """
        if not self._season or detector.ceiling_rate is not None:
            return np.ones(len(at))
        factor = self._season[hour_of_week(time_us)]
        return np.where(at == self._place.get(ALL, -1), factor, max(factor, 1.0))

    def _move_change(
        self,
        at: IntArray,
        n: IntArray,
        k: IntArray,
        ratios: npt.NDArray[np.float64],
        allowed: npt.NDArray[np.float64],
        start_us: int,
    ) -> None:
        rows = self._arrays
        before = rows["gain"][at]
        gain = np.maximum(before + ratios, 0.0)
        # A gain that falls to 0 starts over: its change lies ahead.
        goes_on = gain > 0
        rows["gain"][at] = gain
        for name, added in (("gain_n", n), ("gain_k", k), ("gain_allowed", n * allowed)):
            rows[name][at] = np.where(goes_on, rows[name][at] + added[:, None], 0)
        since = np.where(before > 0, rows["gain_since_us"][at], start_us)
        rows["gain_since_us"][at] = np.where(goes_on, since, -1)

    def _move_stages(
        self,
        at: IntArray,
        n: IntArray,
        k: IntArray,
        allowed: npt.NDArray[np.float64],
        time_us: int,
        log_level: float,
        log_warning: float,
    ) -> list[Notice]:
        rows = self._arrays
        evidence = log_mean(rows["log_r"][at])
        staged = self._is_staged[at]
        below = np.zeros(len(at), dtype=bool)
        if staged.any():
            on = at[staged]
            for name, added in (("stage_n", n), ("stage_k", k), ("stage_allowed", n * allowed)):
                rows[name][on] += added[staged]
            _, high = rate_intervals(rows["stage_n"][on], rows["stage_k"][on])
            below[staged] = high * rows["stage_n"][on] < rows["stage_allowed"][on]
        notices = []
        may_move = staged | (evidence >= log_warning)
        moving = zip(
            at[may_move].tolist(), evidence[may_move].tolist(), below[may_move].tolist(), strict=True
        )
        for place, here, is_below in moving:
            before = self._stage[place]
            if here >= log_level:
                rows["log_r"][place] = -np.inf
                rows["alarm_log_evidence"][place] = here
                stage: Stage = "alarmed"
            elif before == "calm" and here >= log_warning:
                stage = "warned"
            elif before != "calm" and is_below:
                stage = "calm"
            else:
                continue
            notices += self._enter(place, stage, time_us, here)
        return notices

    def _enter(self, place: int, stage: Stage, time_us: int, log_evidence: float) -> list[Notice]:
        """Begin a stage, or begin it anew; only the first tells."""
        rows, before, state = self._arrays, self._stage[place], self._state(place)
        for name in ("stage_n", "stage_k", "stage_allowed"):
            rows[name][place] = 0
        if stage == before:
            return []
        self._stage[place] = stage
        self._is_staged[place] = stage != "calm"
        rows["stage_us"][place] = -1 if stage == "calm" else time_us
        notice = Notice(self._names[place], stage, state, log_evidence, before, time_us)
        if stage == "alarmed":
            change = state.change
            since_us = change.since_us if change is not None else None
            rows["alarm_since_us"][place] = -1 if since_us is None else since_us
            rows["alarm_until_us"][place] = -1
            self._told[place] = ""
            self._opened[place] = False
        elif before == "alarmed":
            rows["alarm_until_us"][place] = time_us
        if stage == "calm":
            rows["alarm_log_evidence"][place] = np.nan
            rows["gain"][place] = 0.0
            for name, nothing in (("gain_n", 0), ("gain_k", 0), ("gain_allowed", 0.0), ("gain_since_us", -1)):
                rows[name][place] = nothing
        return [notice]

    def _state(self, place: int) -> DetectorState:
        (state,) = self._read(np.array([place]))
        return state

    def _read(self, at: IntArray) -> Iterator[DetectorState]:
        """The states of rows."""
        places = at.tolist()
        columns = {name: _empty(self._arrays[name][at].tolist(), none) for name, (_, none) in _ARRAYS.items()}
        columns["stage"] = [self._stage[place] for place in places]
        columns["told"] = [self._told[place] for place in places]
        columns["opened"] = [self._opened[place] for place in places]
        # The fields that follow are of the whole alone.
        in_order = [columns[each.name] for each in fields(DetectorState) if each.name in columns]
        for place, *values in zip(places, *in_order, strict=True):
            state = DetectorState(*values)
            yield self._with_hours(state) if self._names[place] == ALL else state

    def _with_hours(self, state: DetectorState) -> DetectorState:
        if self._season:
            return replace(state, season=self._season)
        return replace(
            state,
            hours_since_us=self._hours_since_us,
            hours_n=tuple(self._hours_n) if self._hours_since_us is not None else (),
            hours_k=tuple(self._hours_k) if self._hours_since_us is not None else (),
        )


def _fill(column: Sequence[Any], none: float | None) -> Sequence[Any]:
    """The values of a field, with a number where one is None."""
    if none is None:
        return column
    return [
        [none if part is None else part for part in each] if isinstance(each, tuple)
        else none if each is None else each
        for each in column
    ]  # fmt: skip


def _empty(column: list[Any], none: float | None) -> list[Any]:
    """The values of a field again."""
    if column and isinstance(column[0], list):
        return [tuple(_empty(each, none)) for each in column]
    if none is None:
        return column
    return [None if each == none or each != each else each for each in column]
