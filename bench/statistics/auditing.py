"""The detector of audits: false alarms and delays on simulated frames, and what it says of rises of corrections."""

from typing import Any

import numpy as np

from errata.settings import Detector
from quality.audited_drift import AuditFrame, AuditState, follow_audits, judge

LEVEL = 1e6
#: A batch of audits is drawn from so many predictions; so many of them are labelled.
N_FRAME, N_LABELS = 5000, 100
#: Of outputs that are wrong, and the share of them that users correct.
RATE, CORRECTED = 0.05, 0.35
KNOWN = Detector(audited_ceiling_rate=RATE)
LEARNT = Detector(reference_audits=1000)


def run_audit_drift(seed: int, n_events: int, n_streams: int) -> dict[str, Any]:
    """False alarms a million predictions, delays after a rise, and how often audits speak as they should."""
    found: dict[str, Any] = {"false_alarms_per_million": {}, "null_events": n_events, "delays": {}}
    for form, detector, share in (
        ("level known", KNOWN, CORRECTED),
        ("level known, nobody corrects", KNOWN, 0.0),
        ("level learnt", LEARNT, CORRECTED),
    ):
        rng = np.random.default_rng([seed, 1100])
        found["false_alarms_per_million"][form] = _count_false_alarms(rng, detector, share, n_events)
    for rate in (0.08, 0.12):
        for what, edited in (("users correct more", CORRECTED), ("users correct no more", None)):
            for form, detector in (("level known", KNOWN), ("level learnt", LEARNT)):
                rng = np.random.default_rng([seed, 1200])
                share = RATE * CORRECTED / rate if edited is None else edited
                delays = [_measure_delay(rng, detector, rate, share) for _ in range(n_streams)]
                median = float(np.median(delays))
                found["delays"][f"5 to {100 * rate:.0f} %, {what}, {form}"] = {
                    "median": median if np.isfinite(median) else None,
                    "missed": float(np.mean(np.isinf(delays))),
                }
    found["judgements"] = _judge_rises(seed, n_streams)
    found["streams"] = n_streams
    return found


def draw_frame(rng: np.random.Generator, number: int, rate: float, corrected_share: float) -> AuditFrame:
    """The frame of one batch: of wrong outputs a share is corrected, and of the rest some are audited, all alike."""
    n_wrong = rng.binomial(N_FRAME, rate)
    n_corrected = int(rng.binomial(n_wrong, corrected_share))
    asked = N_FRAME - n_corrected
    found = int(rng.hypergeometric(n_wrong - n_corrected, N_FRAME - n_wrong, N_LABELS))
    probability = N_LABELS / asked
    return AuditFrame(
        batch_id=str(number),
        since_us=number,
        until_us=number + 1,
        n=N_FRAME,
        n_new=N_FRAME,
        n_corrected=n_corrected,
        n_labels=N_LABELS,
        n_unlabelled=0,
        wrong=((probability, found),) if found else (),
        unlabelled=(),
        inclusion=probability,
        least_inclusion=probability,
    )


def _count_false_alarms(
    rng: np.random.Generator, detector: Detector, corrected_share: float, n_events: int
) -> float:
    """Of streams of 100 frames each, each with a reference of its own where the level is learnt."""
    alarms, done, per_stream = 0, 0, 100
    while done < n_events:
        state = AuditState()
        for number in range(per_stream):
            frame = draw_frame(rng, number, RATE, corrected_share)
            state, _ = follow_audits(state, [(frame, number)], detector, level=LEVEL)
            alarms += _has_reached(state)
            done += N_FRAME
    return round(1e6 * alarms / done, 3)


def _measure_delay(
    rng: np.random.Generator, detector: Detector, rate: float, corrected_share: float
) -> float:
    """Predictions from a rise to the alarm; infinite where none came in a million."""
    state, before = AuditState(), 20
    for number in range(before):
        frame = draw_frame(rng, number, RATE, CORRECTED)
        state, _ = follow_audits(state, [(frame, number)], detector, level=LEVEL)
    for number in range(before, before + 200):
        frame = draw_frame(rng, number, rate, corrected_share)
        state, _ = follow_audits(state, [(frame, number)], detector, level=LEVEL)
        if _has_reached(state):
            return float((number + 1 - before) * N_FRAME)
    return float(np.inf)


def _has_reached(state: AuditState) -> bool:
    """Whether the latest frame brought the evidence to the level, be it for the first time or while it is alarmed."""
    return state.n > 0 and state.log_r[0] == -np.inf


def _judge_rises(seed: int, n_streams: int) -> dict[str, dict[str, float]]:
    """After up to ten batches since an alarm of corrections: the share in which audits agreed, or did not."""
    found = {}
    for name, rate, corrected in (
        ("corrections and errors double", 0.10, CORRECTED),
        ("corrections double, errors do not", RATE, 2 * CORRECTED),
        ("corrections double, errors halve", RATE / 2, 1.0),
    ):
        rng = np.random.default_rng([seed, 1300])
        verdicts = []
        for _ in range(n_streams):
            state = AuditState()
            for number in range(10):
                frame = draw_frame(rng, number, RATE, CORRECTED)
                state, _ = follow_audits(state, [(frame, number)], LEARNT, level=LEVEL)
            frames: list[AuditFrame] = []
            verdict = "unknown"
            while verdict == "unknown" and len(frames) < 10:
                frames.append(draw_frame(rng, len(frames), rate, corrected))
                verdict = judge(state, frames, LEARNT).verdict
            verdicts.append((verdict, N_LABELS * len(frames)))
        said = [labels for verdict, labels in verdicts if verdict != "unknown"]
        found[name] = {
            "agree": float(np.mean([verdict == "agree" for verdict, _ in verdicts])),
            "disagree": float(np.mean([verdict == "disagree" for verdict, _ in verdicts])),
            "median_labels": float(np.median(said)) if said else 0.0,
        }
    return found
