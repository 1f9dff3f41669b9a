"""Requirements: what is asked of a model, and whether its numbers show that it is met.

A number meets a requirement when its whole interval is on the right side of the bound, and fails when it is on the
wrong side. In between there is not enough evidence, and that is said rather than guessed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from errata.settings import Requirements
from quality import histogram
from quality.distances import PPM
from quality.rates import Number, summarise
from quality.windows import Contribution, add_all

Unit = Literal["share", "latency", "per second"]
Judgement = Literal["pass", "fail", "not enough evidence"]

#: With less of its expected feedback a number that can still rise is not taken for good enough.
MATURE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Requirement:
    """A bound in the unit of its number: a share, microseconds, or predictions per second."""

    #: As in the settings.
    name: str
    bound: float

    @property
    def measure(self) -> "Measure":
        """What is bounded."""
        return MEASURES[self.name]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that may be required: how it is said, on which side of its bound it is good, and where it is read."""

    title: str
    unit: Unit
    is_at_most: bool
    #: Whether feedback that is still to come moves it to the wrong side: edits become more.
    waits_for_feedback: bool
    #: Its value in one minute; None without observations.
    read: Callable[[Contribution], float | None]


@dataclass(frozen=True, slots=True)
class Checked:
    """A requirement held against a number, the judgement, and both in a sentence."""

    requirement: Requirement
    number: Number
    judgement: Judgement
    sentence: str
    #: Of `n_minutes` with a value, those whose own value was on the right side; both 0 where it was not counted.
    n_minutes_met: int = 0
    n_minutes: int = 0


def list_requirements(settings: Requirements) -> list[Requirement]:
    """Return the requirements that are set, in the order of MEASURES."""
    found = []
    for name, measure in MEASURES.items():
        bound = getattr(settings, name)
        if bound is not None:
            found.append(Requirement(name, bound * 1000 if measure.unit == "latency" else bound))
    return found


def judge(requirement: Requirement, number: Number) -> Judgement:
    """Return what `number` says about `requirement`.

    A number without an interval was counted, and is its own. While feedback is still to come, edits can only become
    more: what fails has failed, what passes has not passed yet. A mean edit distance may move to both sides.
    """
    low, high = _interval(number)
    measure, bound = requirement.measure, requirement.bound
    if measure.is_at_most:
        is_met, is_failed = high <= bound, low > bound
    else:
        is_met, is_failed = low >= bound, high < bound
    if measure.waits_for_feedback and number.maturity is not None and number.maturity < MATURE:
        is_met = False
        is_failed = is_failed and requirement.name != "edit_distance"
    if is_met:
        return "pass"
    return "fail" if is_failed else "not enough evidence"


def check(requirement: Requirement, number: Number, title: str | None = None) -> Checked:
    """Return the judgement of `number` with its sentence; `title` names a number that stands for the required one."""
    judgement = judge(requirement, number)
    said = _say(title or requirement.measure.title, requirement, number, judgement)
    return Checked(requirement, number, judgement, said)


def check_online(
    requirements: Sequence[Requirement],
    minutes: Sequence[Contribution],
    span_seconds: float,
    *,
    maturity: float | None = None,
    age_us: int | None = None,
) -> list[Checked]:
    """Check what a version did in the minutes of a span, added up, and count the minutes that met each by themselves.

    Predictions per second say what was asked for, not what could be borne: the busiest minute can show that the
    requirement is met, and nothing online can show that it is not.
    """
    numbers = summarise(add_all(minutes), span_seconds, maturity=maturity, age_us=age_us)
    found = {
        "served_p95_ms": numbers.served_us.p95,
        "shown_p95_ms": numbers.shown_us.p95,
        "edit_rate": numbers.edit_rate,
        "edit_distance": numbers.distance,
        "qps": replace(_busiest(minutes), age_us=age_us),
    }
    checked = []
    for requirement in requirements:
        met, counted = count_minutes(requirement, minutes)
        judged = check(requirement, found[requirement.name])
        checked.append(replace(judged, n_minutes_met=met, n_minutes=counted))
    return checked


def count_minutes(requirement: Requirement, minutes: Sequence[Contribution]) -> tuple[int, int]:
    """Return how many minutes were on the right side by their own value, and how many have one.

    Minutes are not counted where more is better: a quiet minute is no failure.
    """
    if not requirement.measure.is_at_most:
        return 0, 0
    values = [value for minute in minutes if (value := requirement.measure.read(minute)) is not None]
    return sum(value <= requirement.bound for value in values), len(values)


def say_value(measure: Measure, value: float) -> str:
    """Return a value with its unit: `4.9 %`, `84.2 ms`, `12.5 per second`."""
    if measure.unit == "share":
        return f"{100 * value:.1f} %"
    if measure.unit == "latency":
        return f"{value / 1000:,.1f} ms"
    return f"{value:,.3g} per second" if value < 1000 else f"{value:,.0f} per second"


def say_bound(requirement: Requirement) -> str:
    """Return the bound as a requirement is said: `at most 5.0 %`."""
    side = "at most" if requirement.measure.is_at_most else "at least"
    return f"{side} {say_value(requirement.measure, requirement.bound)}"


def _interval(number: Number) -> tuple[float, float]:
    """The interval; of a value that was counted, the value; of nothing, everything."""
    if number.low is not None and number.high is not None:
        return number.low, number.high
    return -math.inf, math.inf


def _busiest(minutes: Sequence[Contribution]) -> Number:
    """Predictions per second in the busiest minute. What could be borne has no upper bound."""
    if not minutes:
        return Number(None, 0)
    n = max(minute.n for minute in minutes)
    return Number(n / 60, n, n / 60, math.inf)


def _say(title: str, requirement: Requirement, number: Number, judgement: Judgement) -> str:
    measure = requirement.measure
    required = f"{say_bound(requirement)} is required"
    if number.value is None:
        return f"{title}: nothing was observed; {required}."
    said = f"{title}: {say_value(measure, number.value)} ({_say_interval(measure, number)})"
    if judgement == "pass":
        return f"{said}; {required}, which is met."
    if judgement == "fail":
        return f"{said}; {required}, which is not met."
    return f"{said}; {required}, for which there is not enough evidence{_say_why(requirement, number)}."


def _say_interval(measure: Measure, number: Number) -> str:
    if number.low is None or number.high is None:
        return f"too few for an interval, n {number.n:,}"
    if math.isinf(number.high):
        return f"the busiest minute, n {number.n:,}"
    low, high = (say_value(measure, bound) for bound in (number.low, number.high))
    return f"{low} to {high}, n {number.n:,}"


def _say_why(requirement: Requirement, number: Number) -> str:
    if not requirement.measure.is_at_most:
        return ": no more was asked of it"
    if (
        requirement.measure.waits_for_feedback
        and number.maturity is not None
        and number.maturity < MATURE
        and judge(requirement, replace(number, maturity=None)) != "not enough evidence"
    ):
        return f": {100 * number.maturity:.0f} % of the expected feedback has come"
    return ""


def _share(k: int, n: int) -> float | None:
    return k / n if n else None


def _p95_us(counts: dict[int, int]) -> float | None:
    return histogram.quantile_us(histogram.encode(counts), 0.95)


#: What may be required, by the names of the settings, in the order in which it is shown.
MEASURES: Final[dict[str, Measure]] = {
    "served_p95_ms": Measure(
        "Latency served, p95", "latency", True, False, lambda minute: _p95_us(dict(minute.served))
    ),
    "shown_p95_ms": Measure(
        "Latency shown, p95", "latency", True, False, lambda minute: _p95_us(dict(minute.shown))
    ),
    "edit_rate": Measure("Edited", "share", True, True, lambda minute: _share(minute.n_edit, minute.n)),
    "edit_distance": Measure(
        "Mean edit distance",
        "share",
        True,
        True,
        lambda minute: _share(minute.distance_ppm, minute.n_distance * PPM),
    ),
    "qps": Measure("Predictions per second", "per second", False, False, lambda minute: minute.n / 60),
}
