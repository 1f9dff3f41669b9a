"""False alarms and delays of the detectors of quality/, on simulated streams."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.statistics.streams import STEP, Rate, Step, jump, level, season, session_means, steps
from quality.conformal import Past, add_outcomes
from quality.evidence import add_counts, add_scores, bets_on_sessions, no_evidence, restart

LEVEL = 1e6
BASES = (0.01, 0.05, 0.2, 0.4)
RISES = (0.06, 0.08, 0.12)
CHANGE_AT = 20_000
N_CHANGED = 400

#: Takes a step of all streams; returns which alarmed.
Detect = Callable[[Step], npt.NDArray[np.bool_]]


def known(n_streams: int, ceiling: Rate) -> Detect:
    """The ceiling form, held to the true rate before any change."""
    log_r = no_evidence(n_streams)

    def detect(step: Step) -> npt.NDArray[np.bool_]:
        nonlocal log_r
        null = np.full(n_streams, ceiling(np.array([step.first]))[0])
        log_r = add_counts(log_r, np.full(n_streams, STEP), step.k, null)
        log_r, alarmed = restart(log_r, LEVEL)
        return alarmed

    return detect


def unknown(rng: np.random.Generator, n_streams: int) -> Detect:
    """The conformal form, which knows no level."""
    log_r, past = no_evidence(n_streams), Past.empty(n_streams)
    slice_of = np.repeat(np.arange(n_streams), STEP)
    place = np.tile(np.arange(STEP), n_streams)

    def detect(step: Step) -> npt.NDArray[np.bool_]:
        nonlocal log_r, past
        # Which events of a step were corrected is a matter of chance.
        ranks = rng.random((n_streams, STEP)).argsort(axis=1).ravel()
        corrected = ranks < np.repeat(step.k, STEP)
        assert len(place) == len(corrected)
        log_r, past = add_outcomes(log_r, past, slice_of, corrected, rng.random(len(slice_of)))
        log_r, alarmed = restart(log_r, LEVEL)
        return alarmed

    return detect


def count_false_alarms(drawn: Iterable[Step], detect: Detect) -> int:
    """How often a detector alarms in streams that do not change."""
    return sum(int(detect(step).sum()) for step in drawn)


def measure_delays(drawn: Iterable[Step], detect: Detect, change_at: int, n_streams: int) -> dict[str, float]:
    """Median and ninetieth percentile of the events from the change to the first alarm, and the share without one."""
    seen = np.full(n_streams, np.inf)
    for step in drawn:
        alarmed = detect(step)
        if step.first >= change_at:
            seen = np.where(alarmed & np.isinf(seen), step.first + STEP - change_at, seen)
            if not np.isinf(seen).any():
                break
    return {
        "median": float(np.median(seen)),
        "p90": float(np.quantile(seen, 0.9, method="higher")),
        "missed": float(np.isinf(seen).mean()),
    }


def run_levels(seed: int, n_events: int, form: str) -> dict[str, Any]:
    """False alarms at every base rate, and delays after a jump from 5 %, of one form: one setting for all."""
    n_streams = 40
    alarms, delays = {}, {}
    for number, base in enumerate(BASES):
        rng = np.random.default_rng([seed, number])
        detect = known(n_streams, level(base)) if form == "level known" else unknown(rng, n_streams)
        drawn = steps(rng, level(base), n_streams, n_events // n_streams)
        alarms[f"{base:.0%}"] = round(1e6 * count_false_alarms(drawn, detect) / n_events, 3)
    for number, after in enumerate(RISES):
        rng = np.random.default_rng([seed, 100 + number])
        detect = known(N_CHANGED, level(0.05)) if form == "level known" else unknown(rng, N_CHANGED)
        drawn = steps(rng, jump(0.05, after, CHANGE_AT), N_CHANGED, CHANGE_AT + 60_000)
        delays[f"5 to {100 * after:.0f} %"] = measure_delays(drawn, detect, CHANGE_AT, N_CHANGED)
    return {"false_alarms_per_million": alarms, "delay_events": delays}


def run_seasons(seed: int, n_events: int) -> dict[str, Any]:
    """A day that swings by 30 %: a flat ceiling, the conformal form, and a ceiling for each hour of the week."""
    n_streams, per_hour = 40, 2000
    swinging = season(0.05, 0.3, 24 * per_hour)
    found = {}
    for form in ("flat ceiling", "ceiling by hour of week", "level unknown"):
        rng = np.random.default_rng([seed, 200])
        flat = level(0.05)
        detect = (
            unknown(rng, n_streams) if form == "level unknown"
            else known(n_streams, flat if form == "flat ceiling" else swinging)
        )  # fmt: skip
        drawn = steps(rng, swinging, n_streams, n_events // n_streams)
        found[form] = round(1e6 * count_false_alarms(drawn, detect) / n_events, 3)
    return found


def run_sessions(seed: int, n_events: int) -> dict[str, Any]:
    """Ten predictions a session with an intraclass correlation of 0.2: bets on events and on session means."""
    rng = np.random.default_rng([seed, 300])
    rate, size = 0.05, 10
    n_sessions = n_events // size
    k = session_means(rng, rate, 0.2, size, n_sessions)
    bets = bets_on_sessions(rate, float(np.var(session_means(rng, rate, 0.2, size, 10_000) / size)))
    by_session, by_event = no_evidence(1), no_evidence(1)
    alarms = {"session means": 0, "single events": 0}
    for start in range(0, n_sessions, 10):
        part = k[start : start + 10]
        by_session = add_scores(
            by_session, np.zeros(len(part), int), part / size, [rate], bets, [size] * len(part)
        )
        by_session, alarmed = restart(by_session, LEVEL)
        alarms["session means"] += int(alarmed[0])
        by_event = add_counts(by_event, [size * len(part)], [part.sum()], [rate])
        by_event, alarmed = restart(by_event, LEVEL)
        alarms["single events"] += int(alarmed[0])
    return {name: round(1e6 * number / n_events, 3) for name, number in alarms.items()}
