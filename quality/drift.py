"""When the correction rate of a version has drifted: an e-Shiryaev-Roberts detector, fed by spans.

The reference rate is learnt from the first matured predictions; its upper confidence bound, raised by the
tolerance, is the ceiling p0. Evidence against "the rate is at most p0" starts anew with every prediction, and
for each alternative r the sum over all starts of their likelihood ratios is

    R_r <- (R_r + n) (p1/p0)^k ((1-p1)/(1-p0))^(n-k),    p1 = r p0,

after a span with k corrections among n predictions. With M the mean of R_r over the alternatives,
A x alarms + M - predictions is a supermartingale under any dependence on the past. So alarms at M >= A, each
followed by R = 0, are false at most once in A predictions on average, at any time and however often one looks
(Shin, Ramdas and Rinaldo, E-detectors, New England Journal of Statistics in Data Science 2023). Only sums
count, so neither the order within a span nor a replay can change the result.
"""

import functools
import json
import math
from dataclasses import asdict, dataclass, fields, replace

from scipy.stats import beta

from errata.errors import Malformed
from errata.settings import Detector

#: The drifted rates that evidence is gathered for, as multiples of the ceiling.
ALTERNATIVES = (1.2, 1.6, 2.4)
#: No alternative lies above this rate, and a ceiling from here on leaves no drift to be found.
HIGHEST_RATE = 0.95
#: Confidence that the true reference rate lies below the ceiling. At .95 one reference in twenty would be
#: exceeded from the start.
CEILING_CONFIDENCE = 0.99

_NO_EVIDENCE = (-math.inf,) * len(ALTERNATIVES)
_NOTHING = (0,) * len(ALTERNATIVES)


@dataclass(frozen=True, slots=True)
class Change:
    """Where the rate most likely changed: predictions since then, corrections among them, and the time."""

    n: int
    k: int
    since_us: int | None


@dataclass(frozen=True, slots=True)
class DetectorState:
    """All that a detector remembers of the spans it has seen, per alternative where a tuple."""

    #: Logarithm of R_r; minus infinity before the first span and after an alarm.
    log_r: tuple[float, ...] = _NO_EVIDENCE
    #: Predictions and corrections since the reference was complete.
    n: int = 0
    k: int = 0
    reference_n: int = 0
    reference_k: int = 0
    #: The rate that counts as no drift; None while the reference is incomplete.
    ceiling: float | None = None
    #: Log-likelihood gain of each alternative over the ceiling since it was last 0 (Page's CUSUM), and the
    #: predictions, corrections and start of the spans since then.
    gain: tuple[float, ...] = (0.0,) * len(ALTERNATIVES)
    gain_n: tuple[int, ...] = _NOTHING
    gain_k: tuple[int, ...] = _NOTHING
    gain_since_us: tuple[int | None, ...] = (None,) * len(ALTERNATIVES)

    @property
    def change(self) -> Change | None:
        """The most likely change so far; None while no alternative explains the data better than the ceiling.

        It outlives alarms: alarms with the same start are about the same drift.
        """
        best = max(range(len(ALTERNATIVES)), key=lambda place: self.gain[place])
        if self.gain[best] <= 0:
            return None
        return Change(self.gain_n[best], self.gain_k[best], self.gain_since_us[best])

    def to_json(self) -> str:
        """Write the state so that `from_json` returns it bit by bit."""
        values = asdict(self)
        # JSON knows no infinity.
        values["log_r"] = [None if log_r == -math.inf else log_r for log_r in self.log_r]
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "DetectorState":
        """Read what `to_json` wrote. Raises Malformed("bad_detector_state") for anything else."""
        try:
            values = json.loads(text)
            values["log_r"] = [-math.inf if log_r is None else log_r for log_r in values["log_r"]]
            values = {
                name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
            }
            state = cls(**values)
            tuples = (state.log_r, state.gain, state.gain_n, state.gain_k, state.gain_since_us)
            lengths = {len(part) for part in tuples}
        except (ValueError, TypeError, KeyError) as error:
            raise Malformed("bad_detector_state", f"not the state of a detector: {error}") from error
        if len(values) != len(fields(cls)) or lengths != {len(ALTERNATIVES)}:
            raise Malformed("bad_detector_state", "not the state of this detector: it has other alternatives")
        return state


@dataclass(frozen=True, slots=True)
class Update:
    """What a span did: the next state, the evidence before any restart, and what it says."""

    state: DetectorState
    #: log M; minus infinity while the reference is incomplete.
    log_evidence: float
    alarm: bool
    change: Change | None


def update(
    state: DetectorState, n: int, k: int, detector: Detector, *, start_us: int | None = None
) -> Update:
    """Take in `n` matured predictions, `k` of them corrected, the first of which was made at `start_us`.

    The predictions of a span must be chosen without regard to their outcomes, for example by the time at
    which they matured. Until `detector.reference_predictions` are reached, spans go to the reference alone.
    Raises ValueError unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"a span needs 0 <= k <= n, not k = {k} and n = {n}")
    ceiling = state.ceiling
    if ceiling is None:
        return Update(_collect_reference(state, n, k, detector), -math.inf, False, None)
    if n == 0 or ceiling >= HIGHEST_RATE:
        state = replace(state, n=state.n + n, k=state.k + k)
        return Update(state, _log_mean(state.log_r), False, state.change)
    ratios = [k * corrected + (n - k) * uncorrected for corrected, uncorrected in _log_odds(ceiling)]
    log_r = tuple(_add_logs(old, math.log(n)) + ratio for old, ratio in zip(state.log_r, ratios, strict=True))
    log_evidence = _log_mean(log_r)
    alarm = log_evidence >= math.log(detector.events_per_false_alarm)
    gain = tuple(max(old + ratio, 0.0) for old, ratio in zip(state.gain, ratios, strict=True))
    state = DetectorState(
        log_r=_NO_EVIDENCE if alarm else log_r,
        n=state.n + n,
        k=state.k + k,
        reference_n=state.reference_n,
        reference_k=state.reference_k,
        ceiling=ceiling,
        gain=gain,
        # A gain that falls to 0 starts over: its change lies ahead.
        gain_n=tuple(old + n if gain[place] else 0 for place, old in enumerate(state.gain_n)),
        gain_k=tuple(old + k if gain[place] else 0 for place, old in enumerate(state.gain_k)),
        gain_since_us=tuple(
            (old if state.gain[place] else start_us) if gain[place] else None
            for place, old in enumerate(state.gain_since_us)
        ),
    )
    return Update(state, log_evidence, alarm, state.change)


def reset_for_version(state: DetectorState) -> DetectorState:
    """Return the state for the next version: no evidence, held to the same reference as the one before.

    An incomplete reference is dropped, since it must not mix two versions. Begin with `DetectorState()` instead
    to let the version set its own reference.
    """
    if state.ceiling is None:
        return DetectorState()
    return DetectorState(reference_n=state.reference_n, reference_k=state.reference_k, ceiling=state.ceiling)


def _collect_reference(state: DetectorState, n: int, k: int, detector: Detector) -> DetectorState:
    reference_n, reference_k = state.reference_n + n, state.reference_k + k
    ceiling = None
    if reference_n >= max(detector.reference_predictions, 1):
        ceiling = _upper_bound(reference_n, reference_k) * (1 + detector.tolerance)
    return replace(state, reference_n=reference_n, reference_k=reference_k, ceiling=ceiling)


def _upper_bound(n: int, k: int) -> float:
    """Return the one-sided bound of Clopper and Pearson (Biometrika 1934), exact for a fixed n."""
    return 1.0 if k == n else float(beta.ppf(CEILING_CONFIDENCE, k + 1, n - k))


def _log_odds(ceiling: float) -> list[tuple[float, float]]:
    """Return each alternative's log-likelihood ratio of one corrected and of one uncorrected prediction."""
    rates = (min(multiple * ceiling, HIGHEST_RATE) for multiple in ALTERNATIVES)
    return [(math.log(rate / ceiling), math.log1p(-rate) - math.log1p(-ceiling)) for rate in rates]


def _log_mean(log_values: tuple[float, ...]) -> float:
    return functools.reduce(_add_logs, log_values) - math.log(len(log_values))


def _add_logs(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b)) without overflow."""
    larger, smaller = max(a, b), min(a, b)
    return larger if smaller == -math.inf else larger + math.log1p(math.exp(smaller - larger))
