"""Evidence that streams have left what they are held to, for all slices at once: three numbers a slice.

The e-Shiryaev-Roberts detector (Shin, Ramdas and Rinaldo, E-detectors, New England Journal of Statistics in Data
Science 2023) starts a bet with every event and adds up what they are worth: R <- (R + 1) x factor, where the factor
of an event has mean 1 or less under the null hypothesis. With M the mean of R over several bets,

    A x alarms + M - events

is a supermartingale under any dependence on the past. So alarms at M >= A, each followed by R = 0, are false at most
once in A events on average, however often one looks. The bound is per event: slices that share out the events share
the false alarms too, and nothing has to be corrected for their number.

All functions take and return log R as an array (slices, bets), minus infinity before the first event.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: The drifted rates that evidence is gathered for, as multiples of the ceiling.
ALTERNATIVES = (1.2, 1.6, 2.4)
#: No alternative lies above this rate, and a ceiling from here on leaves no drift to be found.
HIGHEST_RATE = 0.95

#: How the bets on a continuous score are spread over the largest that stays positive.
BETS = (0.1, 0.3, 0.6)


def no_evidence(n_slices: int, n_bets: int = len(ALTERNATIVES)) -> FloatArray:
    """Return the state of slices that have seen nothing."""
    return np.full((n_slices, n_bets), -np.inf)


def add_counts(
    log_r: FloatArray,
    n: npt.ArrayLike,
    k: npt.ArrayLike,
    ceiling: npt.ArrayLike,
    multiples: Sequence[float] = ALTERNATIVES,
) -> FloatArray:
    """Take in `n` events a slice, `k` of them corrected, held to a rate of at most `ceiling`.

    The bets are on `multiples` of the ceiling, which may be another one at each step (a season). Multiples below 1 bet
    on an improvement, and hold the rate to at least the ceiling. Which events a step has must not depend on their
    outcomes; their order within the step does not matter. A slice without events, or with a ceiling that leaves no
    room, stays as it is.
    """
    ratios, moves = log_ratios(n, k, ceiling, multiples)
    return add_ratios(log_r, n, ratios, moves)


def add_ratios(
    log_r: FloatArray, n: npt.ArrayLike, ratios: FloatArray, moves: npt.NDArray[np.bool_]
) -> FloatArray:
    """Take in `n` events a slice by what `log_ratios` says of them."""
    counts = np.maximum(np.asarray(n, dtype=np.float64), 1.0)
    started = np.logaddexp(log_r, np.log(counts)[:, None])
    return np.where(moves[:, None], started + ratios, log_r)


def log_ratios(
    n: npt.ArrayLike, k: npt.ArrayLike, ceiling: npt.ArrayLike, multiples: Sequence[float] = ALTERNATIVES
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return what each alternative explains better than the ceiling, as log-likelihood ratios; and where that is told.

    It is not where a slice has no events, or a ceiling that leaves no room: the ratios there are 0.
    """
    n, k, null = (np.asarray(each, dtype=np.float64) for each in (n, k, ceiling))
    if ((k < 0) | (k > n)).any():
        raise ValueError("a step needs 0 <= k <= n")
    moves = (n > 0) & (null > 0) & (null < HIGHEST_RATE)
    null = np.where(moves, null, 0.5)
    rates = np.minimum(null[:, None] * np.asarray(multiples), HIGHEST_RATE)
    corrected = np.log(rates / null[:, None])
    uncorrected = np.log1p(-rates) - np.log1p(-null[:, None])
    ratios = k[:, None] * corrected + (n - k)[:, None] * uncorrected
    return np.where(moves[:, None], ratios, 0.0), moves


def add_scores(
    log_r: FloatArray,
    slice_of: npt.ArrayLike,
    scores: npt.ArrayLike,
    null_mean: npt.ArrayLike,
    bets: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> FloatArray:
    """Take in scores with a mean of at most `null_mean` under the null hypothesis, each with its slice.

    The factor of a score is 1 + bet x (score - null mean), by `bets` (slices, bets), which must be fixed before the
    scores are seen and keep every factor positive; `bets_for` chooses them. A score stands for `weights` events, one
    unless given: the mean of a session, for example, for all of its events.

    Raises ValueError where a factor is not positive.
    """
    slice_of = np.asarray(slice_of, dtype=np.int64)
    scores, null_mean, bets = (np.asarray(each, dtype=np.float64) for each in (scores, null_mean, bets))
    factors = 1.0 + bets[slice_of] * (scores - null_mean[slice_of])[:, None]
    if (factors <= 0).any():
        raise ValueError("a bet is too large for the lowest score: choose bets by `bets_for`")
    n_slices = len(log_r)
    events = np.bincount(
        slice_of, weights=None if weights is None else np.asarray(weights), minlength=n_slices
    )
    gain = np.zeros(log_r.shape)
    np.add.at(gain, slice_of, np.log(factors))
    with np.errstate(divide="ignore"):
        started = np.logaddexp(log_r, np.log(events.astype(np.float64))[:, None])
    return np.where((events > 0)[:, None], started + gain, log_r)


def bets_for(lowest: npt.ArrayLike, null_mean: npt.ArrayLike, shares: Sequence[float] = BETS) -> FloatArray:
    """Return bets on a rise of scores that are never below `lowest`: shares of the largest possible ones."""
    room = np.asarray(null_mean, dtype=np.float64) - np.asarray(lowest, dtype=np.float64)
    if (room <= 0).any():
        raise ValueError("the mean of a score lies above its lowest value")
    return np.asarray(shares)[None, :] / np.atleast_1d(room)[:, None]


def bets_on_sessions(
    null_rate: npt.ArrayLike, session_variance: npt.ArrayLike, multiples: Sequence[float] = ALTERNATIVES
) -> FloatArray:
    """Return bets on a rise of session means to `multiples` of their rate: Kelly's, for their variance.

    Events of a session stand or fall together, so betting on each of them would see a change in every session of an
    unlucky user (149 instead of 1 false alarm in a million events at an intraclass correlation of 0.2).
    """
    rate, variance = (
        np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (null_rate, session_variance)
    )
    rise = (np.asarray(multiples)[None, :] - 1.0) * rate[:, None]
    return rise / (variance[:, None] + rise**2)


def log_mean(log_r: FloatArray) -> FloatArray:
    """Return log M of each slice."""
    evidence: FloatArray = np.logaddexp.reduce(log_r, axis=1) - math.log(log_r.shape[1])
    return evidence


def restart(log_r: FloatArray, events_per_false_alarm: float) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return the state after alarms, and which slices alarmed."""
    alarmed = log_mean(log_r) >= math.log(events_per_false_alarm)
    return np.where(alarmed[:, None], -np.inf, log_r), alarmed


def events_per_false_alarm(
    events_per_week: float, false_alarms_per_week: float, n_dimensions: int = 1
) -> float:
    """Return the level A at which `false_alarms_per_week` are to be expected, over all slices together.

    `n_dimensions` tags whose slices overlap see every event as often.
    """
    if events_per_week < 0 or false_alarms_per_week <= 0 or n_dimensions < 1:
        raise ValueError("a level needs events >= 0, false alarms > 0 and dimensions >= 1")
    return max(n_dimensions * events_per_week / false_alarms_per_week, 1.0)
