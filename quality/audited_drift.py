"""When the share of wrong outputs has risen, by what audits found: users need not have corrected a single one more.

Of each prediction that the audits of a batch were drawn from (its frame),

    z = 1                  where somebody corrected it,
    z = 1 / probability    where an audit found it wrong,
    z = 0                  else

has the mean y: 1 if it is wrong, else 0. A frame is worth the product of 1 + bet x (z - ceiling) over its predictions.
Audits are drawn without replacement, a fixed number of each stratum, and so are negatively associated (Joag-Dev and
Proschan, Annals of Statistics 1983): the mean of the product is at most the product of 1 + bet x (y - ceiling), and
that is 1 at most where the share of wrong outputs is the ceiling at most (no guess is subtracted, because this needs
factors that all rise with a draw). So evidence adds up as in quality/evidence.py, with its bound; the events of a frame
are its predictions, each counted once however many frames it is in.

Only sums of frames count, and states are exact, so that a replay of the same frames gives the same bits.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

import numpy as np

from errata.errors import Malformed
from errata.settings import Detector
from errata.wire import format_time
from quality.drift import CEILING_CONFIDENCE, decode_log_r, encode_state
from quality.evidence import ALTERNATIVES, HIGHEST_RATE, FloatArray, log_mean
from quality.intervals import upper_bound

#: The name of this detector beside those of the horizons.
AUDITS: Final = "audits"
#: The rates that audits are said to have found instead of the ceiling, as multiples of it, where they speak against it.
FALLS: Final = (0.8, 0.6, 0.4)
#: Evidence that settles a question which is asked once: it is wrong in one case of so many at most.
SETTLED: Final = 20.0
#: The alternative that the beginning of a change is dated by.
_DATED_BY: Final = (1.6,)
#: No factor falls below a tenth.
_LARGEST_BET: Final = 0.9
_NO_EVIDENCE: Final = (-math.inf,) * len(ALTERNATIVES)
_EVEN: Final = (0.0,) * len(FALLS)

Stage = Literal["calm", "alarmed"]
Verdict = Literal["agree", "disagree", "unknown"]


@dataclass(frozen=True, slots=True)
class AuditFrame:
    """The predictions that the audits of a batch were drawn from, or those since a time, as audits found them."""

    batch_id: str
    since_us: int
    until_us: int
    n: int
    #: Of the predictions those that were in no frame before: the events of this one.
    n_new: int
    n_corrected: int
    #: Audits of what nobody has corrected: with a label, and those that could not be labelled.
    n_labels: int
    n_unlabelled: int
    #: The probabilities of the audits that were found wrong, and how often each; of those without a label.
    wrong: tuple[tuple[float, int], ...]
    unlabelled: tuple[tuple[float, int], ...]
    #: The share of what nobody had corrected that was drawn, and the least probability of any prediction.
    inclusion: float
    least_inclusion: float

    @property
    def n_wrong(self) -> int:
        """How many audits found an output wrong."""
        return sum(times for _, times in self.wrong)

    @property
    def n_wrong_estimated(self) -> float:
        """How many of the predictions are wrong, without bias where every audit has a label."""
        return self.n_corrected + math.fsum(times / probability for probability, times in self.wrong)


@dataclass(frozen=True, slots=True)
class AuditState:
    """All that the detector of a version remembers of its frames."""

    #: Logarithm of R for each of ALTERNATIVES; minus infinity before the first frame and after an alarm.
    log_r: tuple[float, ...] = _NO_EVIDENCE
    #: Predictions, corrected ones, labels and wrong outputs since the reference was complete.
    n: int = 0
    n_corrected: int = 0
    n_labels: int = 0
    n_wrong: int = 0
    #: The same of the reference, with the sums of the weights of wrong outputs and of their squares.
    reference_n: int = 0
    reference_corrected: int = 0
    reference_labels: int = 0
    reference_weights: float = 0.0
    reference_squares: float = 0.0
    #: The share of wrong outputs that counts as no drift; None while the reference is incomplete.
    ceiling: float | None = None
    #: Log-likelihood gain of a higher share since it was last 0, and the predictions, corrected ones, labels, wrong
    #: ones and start of the frames since then.
    gain: float = 0.0
    gain_n: int = 0
    gain_corrected: int = 0
    gain_labels: int = 0
    gain_wrong: int = 0
    gain_since_us: int | None = None
    stage: Stage = "calm"
    #: When the latest frame of it had been labelled that began the stage.
    stage_us: int | None = None
    alarm_log_evidence: float | None = None
    #: Evidence since the latest alarm that the share is below the ceiling, for each of FALLS.
    log_fallen: tuple[float, ...] = _EVEN
    #: The evidence that alarms, as a logarithm, as it was for the latest frame.
    log_level: float | None = None
    #: Predictions up to here were events; batches that were read, and when the latest of them was accepted.
    covered_us: int = 0
    read: tuple[str, ...] = ()
    accepted_us: int = 0
    #: What was told last about the latest alarm: the rule that decided. Whether it has opened a run.
    told: str = ""
    opened: bool = False

    @property
    def log_evidence(self) -> float:
        """Log M, to be compared with the logarithm of the level."""
        return float(log_mean(np.array([self.log_r]))[0])

    @property
    def corrected_share(self) -> float:
        """The share of predictions that were corrected so far."""
        n = self.reference_n + self.n
        return (self.reference_corrected + self.n_corrected) / n if n else 0.0

    def to_json(self) -> str:
        """Write the state so that `from_json` returns it bit by bit."""
        return encode_state(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "AuditState":
        """Read what `to_json` wrote. Raises Malformed("bad_detector_state")."""
        try:
            values = json.loads(text)
            values["log_r"] = decode_log_r(values["log_r"])
            values["log_fallen"], values["read"] = tuple(values["log_fallen"]), tuple(values["read"])
            state = cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise Malformed("bad_detector_state", f"not the state of a detector: {error}") from error
        if (len(state.log_r), len(state.log_fallen)) != (len(ALTERNATIVES), len(FALLS)):
            raise Malformed("bad_detector_state", "not the state of this detector: it has other alternatives")
        return state


@dataclass(frozen=True, slots=True)
class AuditNotice:
    """Audits have alarmed, or are calm again: the state when they became so."""

    stage: Stage
    state: AuditState
    log_evidence: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What audits say of a rise of corrections: agree, disagree, or nothing is known; and that in a sentence."""

    verdict: Verdict
    #: Labels since the change.
    n_labels: int
    #: The share of wrong outputs since the change; None without a label.
    rate: float | None
    sentence: str


def follow_audits(
    state: AuditState, frames: Sequence[tuple[AuditFrame, int]], detector: Detector, *, level: float
) -> tuple[AuditState, list[AuditNotice]]:
    """Take in frames, each with the time at which its labels were accepted; return the state, and what changed.

    An alarm takes evidence of `level`. Until `detector.reference_audits` are labelled, frames go to the reference
    alone, unless the share that is allowed is set.
    """
    notices: list[AuditNotice] = []
    for frame, accepted_us in frames:
        state, found = _take_in(state, frame, accepted_us, detector, level)
        notices += found
    return state, notices


def reset_audits_for_version(state: AuditState) -> AuditState:
    """Return the state for the next version: no evidence, held to the same reference as the one before."""
    if state.ceiling is None:
        return AuditState()
    return AuditState(
        reference_n=state.reference_n,
        reference_corrected=state.reference_corrected,
        reference_labels=state.reference_labels,
        reference_weights=state.reference_weights,
        reference_squares=state.reference_squares,
        ceiling=state.ceiling,
    )


def judge(state: AuditState, frames: Sequence[AuditFrame], detector: Detector) -> Judgement:
    """Say whether audits of the predictions since a change, in `frames`, agree that outputs are wrong more often.

    Each of the two answers is wrong in one case of twenty at most, however often it is asked as labels come in.
    """
    n, n_labels = sum(frame.n for frame in frames), sum(frame.n_labels for frame in frames)
    if state.ceiling is None:
        needed = max(detector.reference_audits, 1)
        return Judgement(
            "unknown",
            n_labels,
            None,
            "Audited labels are not enough to say so too: what is usual is not known yet "
            f"({state.reference_labels:,} of {needed:,} audits).",
        )
    if not n_labels:
        return Judgement("unknown", 0, None, "No prediction since then was audited.")
    rate = min(math.fsum(frame.n_wrong_estimated for frame in frames) / n, 1.0)
    n_wrong = sum(frame.n_wrong for frame in frames)
    found = (
        f"{n_wrong:,} of {n_labels:,} audits of what nobody corrected since then found an error, which puts the share "
        f"of wrong outputs at {rate:.1%}, where up to {state.ceiling:.1%} would be no drift"
    )
    if _settles(_sum_rises(state, frames)):
        return Judgement("agree", n_labels, rate, f"Audited labels agree: {found}.")
    if _settles(_sum_falls(state, frames)):
        return Judgement("disagree", n_labels, rate, f"Audited labels do not agree: {found}.")
    return Judgement("unknown", n_labels, rate, f"Audited labels are not enough to say so too: {found}.")


def describe_audits(state: AuditState | None, detector: Detector) -> str:
    """Where the detector of audits stands, in a sentence."""
    if state is None or not (state.reference_n or state.n):
        return "No batch of this version with audits of all predictions was accepted yet."
    if state.ceiling is None:
        needed = max(detector.reference_audits, 1)
        return f"Audits learn what is usual: {state.reference_labels:,} of {needed:,} labels."
    allowed = f"up to {state.ceiling:.1%} of outputs may be wrong"
    if state.ceiling >= HIGHEST_RATE:
        return f"By audits {allowed}: a rise could not be told."
    since = f" since {format_time(state.stage_us)}" if state.stage_us is not None else ""
    found = f"{state.n_wrong:,} of {state.n_labels:,} labels found an error"
    if state.stage == "alarmed":
        return f"Audits alarmed{since}; calm again when the share is surely below; {allowed}."
    return f"Audits calm: {share_of_alarm(state):.1%} of the evidence that alarms; {found}; {allowed}."


def share_of_alarm(state: AuditState) -> float:
    """The evidence as a share of that which alarms; 0 where nothing is known."""
    return math.exp(state.log_evidence - state.log_level) if state.log_level is not None else 0.0


def _take_in(
    state: AuditState, frame: AuditFrame, accepted_us: int, detector: Detector, level: float
) -> tuple[AuditState, list[AuditNotice]]:
    before = state
    state = replace(
        state,
        covered_us=max(state.covered_us, frame.until_us),
        read=(*state.read, frame.batch_id),
        accepted_us=max(state.accepted_us, accepted_us),
        log_level=math.log(level),
    )
    if detector.audited_ceiling_rate is not None:
        state = replace(state, ceiling=detector.audited_ceiling_rate)
    elif state.reference_labels < max(detector.reference_audits, 1):
        return _learn(state, frame, detector), []
    ceiling = state.ceiling
    if ceiling is None or not 0 < ceiling < HIGHEST_RATE:
        return state, []
    # Bets are fixed by what was seen before this frame.
    with np.errstate(divide="ignore"):
        log_r = np.logaddexp(state.log_r, np.log(float(frame.n_new))) + _rises(before, ceiling, frame)
    fallen = np.array(state.log_fallen) + _falls(before, ceiling, frame)
    gain = max(state.gain + float(_rises(before, ceiling, frame, _DATED_BY)[0]), 0.0)
    began = state.gain <= 0
    state = replace(
        state,
        log_r=tuple(log_r.tolist()),
        n=state.n + frame.n,
        n_corrected=state.n_corrected + frame.n_corrected,
        n_labels=state.n_labels + frame.n_labels,
        n_wrong=state.n_wrong + frame.n_wrong,
        gain=gain,
        gain_n=state.gain_n + frame.n if gain > 0 else 0,
        gain_corrected=state.gain_corrected + frame.n_corrected if gain > 0 else 0,
        gain_labels=state.gain_labels + frame.n_labels if gain > 0 else 0,
        gain_wrong=state.gain_wrong + frame.n_wrong if gain > 0 else 0,
        gain_since_us=None if gain <= 0 else frame.since_us if began else state.gain_since_us,
        log_fallen=tuple(fallen.tolist()) if state.stage == "alarmed" else _EVEN,
    )
    return _move_stage(state, accepted_us, math.log(level))


def _move_stage(state: AuditState, time_us: int, log_level: float) -> tuple[AuditState, list[AuditNotice]]:
    evidence = state.log_evidence
    if evidence >= log_level:
        is_new = state.stage == "calm"
        state = replace(
            state,
            log_r=_NO_EVIDENCE,
            log_fallen=_EVEN,
            alarm_log_evidence=evidence,
            stage="alarmed",
            stage_us=time_us if is_new else state.stage_us,
            told="" if is_new else state.told,
            opened=state.opened and not is_new,
        )
        return state, [AuditNotice("alarmed", state, evidence)] if is_new else []
    if state.stage == "alarmed" and _settles(np.array(state.log_fallen)):
        alarmed = state
        state = replace(
            state,
            stage="calm",
            stage_us=time_us,
            alarm_log_evidence=None,
            log_fallen=_EVEN,
            gain=0.0,
            gain_n=0,
            gain_corrected=0,
            gain_labels=0,
            gain_wrong=0,
            gain_since_us=None,
        )
        return state, [AuditNotice("calm", alarmed, max(evidence, 0.0))]
    return state, []


def _learn(state: AuditState, frame: AuditFrame, detector: Detector) -> AuditState:
    """Count a frame in the reference; with enough labels the ceiling is their upper bound."""
    weights = [(frame.inclusion / probability, times) for probability, times in frame.wrong]
    state = replace(
        state,
        reference_n=state.reference_n + frame.n,
        reference_corrected=state.reference_corrected + frame.n_corrected,
        reference_labels=state.reference_labels + frame.n_labels,
        reference_weights=state.reference_weights + math.fsum(weight * times for weight, times in weights),
        reference_squares=state.reference_squares + math.fsum(weight**2 * times for weight, times in weights),
    )
    n = state.reference_labels
    if n < max(detector.reference_audits, 1):
        return state
    mean = min(state.reference_weights / n, 1.0)
    variance = state.reference_squares / n - mean**2
    # As many labels of equal weight as tell as much.
    worth = min(max(n * mean * (1 - mean) / variance, 1.0), float(n)) if 0 < mean < 1 and variance > 0 else n
    corrected = state.reference_corrected / state.reference_n
    ceiling = corrected + (1 - corrected) * upper_bound(worth, mean * worth, CEILING_CONFIDENCE)
    return replace(state, ceiling=ceiling * (1 + detector.tolerance))


def _rises(
    state: AuditState, ceiling: float, frame: AuditFrame, multiples: Sequence[float] = ALTERNATIVES
) -> FloatArray:
    """What bets on a higher share made of a frame, as logarithms. An audit without a label counts as right."""
    rise = (np.array(multiples) - 1) * ceiling
    bets = np.minimum(rise / (_variance(state, ceiling, frame) + rise**2), _LARGEST_BET / ceiling)
    return _log_factors(frame, ceiling, bets, frame.wrong)


def _falls(state: AuditState, ceiling: float, frame: AuditFrame) -> FloatArray:
    """What bets on a lower share made of a frame, as logarithms. An audit without a label counts as wrong."""
    fall = (1 - np.array(FALLS)) * ceiling
    largest = _LARGEST_BET / (1 / frame.least_inclusion - ceiling)
    bets = np.minimum(fall / (_variance(state, ceiling, frame) + fall**2), largest)
    return _log_factors(frame, ceiling, -bets, (*frame.wrong, *frame.unlabelled))


def _variance(state: AuditState, ceiling: float, frame: AuditFrame) -> float:
    """Of z at the ceiling, if corrections stay as frequent as they were."""
    corrected = min(state.corrected_share, ceiling)
    return corrected + (ceiling - corrected) / frame.inclusion


def _log_factors(
    frame: AuditFrame, ceiling: float, bets: FloatArray, wrong: Sequence[tuple[float, int]]
) -> FloatArray:
    n_right = frame.n - frame.n_corrected - sum(times for _, times in wrong)
    gain = n_right * np.log1p(-bets * ceiling) + frame.n_corrected * np.log1p(bets * (1 - ceiling))
    for probability, times in wrong:
        gain = gain + times * np.log1p(bets * (1 / probability - ceiling))
    factors: FloatArray = gain
    return factors


def _sum_rises(state: AuditState, frames: Sequence[AuditFrame]) -> FloatArray:
    assert state.ceiling is not None
    total: FloatArray = np.sum([_rises(state, state.ceiling, frame) for frame in frames], axis=0)
    return total


def _sum_falls(state: AuditState, frames: Sequence[AuditFrame]) -> FloatArray:
    assert state.ceiling is not None
    total: FloatArray = np.sum([_falls(state, state.ceiling, frame) for frame in frames], axis=0)
    return total


def _settles(log_values: FloatArray) -> bool:
    return bool(log_mean(log_values[None, :])[0] >= math.log(SETTLED))
