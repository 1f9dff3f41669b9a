"""Rates before all feedback is in: how late feedback comes, and what the corrections seen so far say.

Corrections arrive minutes to days after their prediction, so "corrections so far / predictions" is too low, and
"corrections / feedback so far" far too high. With F(a), the share of the corrections that have come by the age a,
k seen corrections stand for k / sum F(age): the exposure that the predictions have had (the Poisson solution of
Chapelle, KDD 2014, without covariates). F is learnt from cohorts that are matured as a whole.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from quality.windows import DAY_US, HOUR_US, MINUTE_US

FloatArray = npt.NDArray[np.float64]
_Test = Callable[[float], bool]

#: The fixed ages at which outcomes are read, besides the attribution window.
HORIZONS_US = (HOUR_US, 6 * HOUR_US, DAY_US)
#: An attribution window holds this share of the corrections, and is neither shorter nor longer than these.
WINDOW_SHARE = 0.98
SHORTEST_WINDOW_US, LONGEST_WINDOW_US = DAY_US, 30 * DAY_US

#: Ages at which the distribution is kept: 0, then a second to 30 days, each a tenth longer than the one before.
AGES_US = np.concatenate([[0], np.round(1_000_000 * 1.1 ** np.arange(155)), [LONGEST_WINDOW_US]]).astype(
    np.int64
)


@dataclass(frozen=True, slots=True)
class Delays:
    """The share of the corrections of a window that have come by each of AGES_US, learnt from `n` of them."""

    n: int
    shares: FloatArray
    window_us: int
    #: The attribution window that a person set; learnt where nobody did.
    given_us: int | None = None

    @property
    def settled_us(self) -> int:
        """The age from which on hardly any correction of a prediction is still to come."""
        return min(choose_window(self), self.window_us) if self.given_us is None else self.given_us

    def share_by(self, ages_us: npt.ArrayLike) -> FloatArray:
        """Return F at each age, linear between the ages that are kept; 0 for ages below 0."""
        shares: FloatArray = np.interp(np.asarray(ages_us, dtype=np.float64), AGES_US, self.shares, left=0.0)
        return shares


@dataclass(frozen=True, slots=True)
class AttributionWindow:
    """The age at which a prediction's outcome is final, whence it is known, and the share of corrections within it."""

    window_us: int | None
    is_given: bool
    #: Corrections that delays were learnt from, of predictions older than `learnt_in_us`.
    n: int
    learnt_in_us: int | None
    share: float | None
    said: str


@dataclass(frozen=True, slots=True)
class Fresh:
    """A provisional rate: what it would be once all corrections of the window are in, if delays stay as they are."""

    rate: float | None
    low: float
    high: float
    #: Predictions, each counted by the share of its corrections that can have come.
    exposure: float


def learn_delays(delays_us: npt.ArrayLike, window_us: int) -> Delays | None:
    """Return the distribution of the delays of corrections; None without any within the window.

    All must belong to predictions that are at least `window_us` old: younger ones would show their quick corrections
    only. A delay below 0, of a clock that runs behind, counts as none at all.
    """
    delays = np.sort(np.maximum(np.asarray(delays_us, dtype=np.int64), 0))
    delays = delays[delays <= window_us]
    if not len(delays):
        return None
    shares = np.searchsorted(delays, AGES_US, side="right") / len(delays)
    return Delays(len(delays), shares, window_us)


def choose_window(delays: Delays) -> int:
    """Return the smallest age by which WINDOW_SHARE of the corrections have come, within its bounds."""
    reached = int(AGES_US[int(np.argmax(delays.shares >= WINDOW_SHARE))])
    return min(max(reached, SHORTEST_WINDOW_US), LONGEST_WINDOW_US)


def describe_window(delays: Delays | None, given_us: int | None) -> AttributionWindow:
    """Return the attribution window of a model, and say in a sentence where it comes from."""
    share = None
    if delays is None:
        said = "No prediction with a correction is old enough to learn from."
        if given_us is not None:
            said = f"Set to {_say_age(given_us)}. {said}"
        return AttributionWindow(given_us, given_us is not None, 0, None, None, said)
    window_us = delays.settled_us
    learnt = f"learnt from {delays.n:,} corrections of predictions older than {_say_age(delays.window_us)}"
    if window_us > delays.window_us:
        said = (
            f"Set to {_say_age(window_us)}; how many corrections come within it is not known yet ({learnt})."
        )
    else:
        share = float(delays.share_by(window_us))
        of_all = f"{100 * share:.4g} % of the corrections that come within {_say_age(delays.window_us)}"
        if given_us is not None:
            said = f"Set to {_say_age(window_us)}, by when {of_all} have come ({learnt})."
        elif choose_window(delays) > delays.window_us:
            said = f"{_say_age(window_us)} for now: later corrections are not known yet ({learnt})."
        else:
            said = f"{_say_age(window_us)}, by when {of_all} have come ({learnt})."
    return AttributionWindow(window_us, given_us is not None, delays.n, delays.window_us, share, said)


def _say_age(age_us: int) -> str:
    for unit_us, unit in ((DAY_US, "days"), (HOUR_US, "hours"), (MINUTE_US, "minutes")):
        if age_us >= unit_us:
            return f"{age_us / unit_us:.3g} {unit if age_us != unit_us else unit[:-1]}"
    return f"{age_us / 1_000_000:.3g} seconds"


def fresh_rate(k: int, ages_us: npt.ArrayLike, delays: Delays, alpha: float = 0.05) -> Fresh:
    """Return the rate that `k` corrections seen so far stand for, of predictions of these ages."""
    return exposed_rate(k, float(delays.share_by(ages_us).sum()), alpha)


def exposed_rate(k: int, exposure: float, alpha: float = 0.05) -> Fresh:
    """Return the rate that `k` corrections stand for, of predictions that add up to an exposure.

    The interval allows for chance in k, not for users who have become slower or quicker: a fresh rate is for looking,
    not for deciding.
    """
    if exposure <= 0:
        return Fresh(None, 0.0, 1.0, 0.0)
    low, high = exposure_interval(exposure, k, alpha)
    return Fresh(min(k / exposure, 1.0), low, min(high, 1.0), exposure)


def exposure_interval(exposure: float, k: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return bounds of a rate after `k` events in an exposure, valid at all times together.

    A gamma mixture over Poisson rates (Robbins 1970; Howard et al., Annals of Statistics 2021). A prediction that is
    corrected with probability rate x share is never more variable than Poisson, so the bounds hold for it too.
    """
    if exposure <= 0 or k < 0:
        raise ValueError("an interval needs exposure > 0 and k >= 0")
    shape, scale = 0.5, 1.0
    mixture = (
        gammaln(shape + k)
        - gammaln(shape)
        + shape * math.log(scale)
        - (shape + k) * math.log(scale + exposure)
    )

    def is_refuted(rate: float) -> bool:
        return bool(mixture - k * math.log(rate) + rate * exposure >= -math.log(alpha))

    # The evidence against a rate is convex with its minimum at k / exposure, which is never refuted.
    centre = max(k, 1e-9) / exposure
    low = 0.0 if k == 0 else _bisect(is_refuted, 1e-12 * centre, centre)
    return low, _bisect(is_refuted, centre + 10 * (k + 20 + 2 * abs(math.log(alpha))) / exposure, centre)


def _bisect(is_refuted: _Test, refuted: float, accepted: float) -> float:
    """Return the border between a refuted and an accepted rate, on the refuted side."""
    for _ in range(80):
        middle = (refuted + accepted) / 2
        if is_refuted(middle):
            refuted = middle
        else:
            accepted = middle
    return refuted
