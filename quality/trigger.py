"""When evidence of drift may open a run by itself: rules, each of which says in a sentence why it does not.

Rules look at what a run would cost before they look at the evidence: one run at a time, a cooldown that doubles after
each candidate that failed its gate, so many runs a week. The evidence must reach a floor that no detector guarantees:
a quick alarm may rest on a handful of corrections of one user in one minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from errata.settings import Trigger
from errata.wire import format_time
from quality.intervals import rate_interval
from quality.windows import DAY_US, HOUR_US, WEEK_US

#: A rule that speaks against a run.
Rule = Literal[
    "horizon",
    "run_open",
    "cooldown",
    "budget",
    "whole",
    "corrections",
    "predictions",
    "subjects",
    "duration",
    "bound",
    "audits",
]

#: The cooldown is doubled at most this often: to 16 days from one.
MOST_DOUBLINGS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run as the rules see it: `decided_us` None while it is on its way, `automatic` unless a person asked for it."""

    id: str
    status: str
    opened_us: int
    decided_us: int | None
    automatic: bool
    failed_gate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a drift: `k` of `n` predictions of `n_subjects` corrected from `since_us` to `until_us`."""

    n: int
    k: int
    n_subjects: int
    since_us: int
    until_us: int
    #: The rate that was allowed meanwhile.
    allowed: float


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why no run is opened: the rule, and a sentence."""

    rule: Rule
    reason: str


def why_not_now(runs: Sequence[PastRun], trigger: Trigger, now_us: int) -> Suppression | None:
    """Why no run may be opened now whatever the evidence, given all runs of the model; None if one may."""
    for run in runs:
        if run.decided_us is None:
            return Suppression("run_open", f"Run {run.id} is {run.status} already.")
    decided_us = max((run.decided_us for run in runs if run.decided_us is not None), default=None)
    pause_us = cooldown_us(runs, trigger)
    if decided_us is not None and now_us < decided_us + pause_us:
        failed = count_failed_in_a_row(runs)
        doubled = f", doubled for each of {failed} candidates that failed the gate" if failed else ""
        return Suppression(
            "cooldown",
            f"The last run was decided at {format_time(decided_us)}, "
            f"less than {pause_us / HOUR_US:g} hours ago{doubled}.",
        )
    lately = sum(run.automatic and run.opened_us > now_us - WEEK_US for run in runs)
    if lately >= trigger.runs_per_week:
        return Suppression(
            "budget",
            f"{lately} runs opened by themselves in the last 7 days, and {trigger.runs_per_week} may.",
        )
    return None


def why_not_enough(evidence: Evidence, trigger: Trigger) -> Suppression | None:
    """Why the evidence does not bear a run yet; None if it does."""
    floors: tuple[tuple[Rule, int, int, str], ...] = (
        ("corrections", evidence.k, trigger.minimum_corrections, "corrections"),
        ("predictions", evidence.n, trigger.minimum_predictions, "matured predictions"),
        ("subjects", evidence.n_subjects, trigger.minimum_subjects, "subjects"),
    )
    for rule, found, needed, what in floors:
        if found < needed:
            return Suppression(rule, f"A run needs {needed} {what} since the change, and there are {found}.")
    lasted_seconds = (evidence.until_us - evidence.since_us) / 1e6
    if lasted_seconds < trigger.minimum_seconds:
        return Suppression(
            "duration",
            f"A run needs a change of {trigger.minimum_seconds / 3600:g} hours, "
            f"and it has lasted {lasted_seconds / 3600:.2g}.",
        )
    low, _ = rate_interval(evidence.n, evidence.k)
    if low <= evidence.allowed:
        return Suppression(
            "bound",
            f"The rate since the change may be as low as {low:.1%}, and up to {evidence.allowed:.1%} is allowed.",
        )
    return None


def why_due(runs: Sequence[PastRun], released_us: int, trigger: Trigger, now_us: int) -> str | None:
    """Why a scheduled run is due, in a sentence: nothing was opened or released for so long; None if it is not."""
    last_us = max([released_us, *(run.decided_us or run.opened_us for run in runs)])
    if trigger.scheduled_days <= 0 or now_us < last_us + round(trigger.scheduled_days * DAY_US):
        return None
    return f"There was no run and no release for {trigger.scheduled_days:g} days."


def cooldown_us(runs: Sequence[PastRun], trigger: Trigger) -> int:
    """How long no run is opened after the last one was decided."""
    return round(trigger.cooldown_seconds * 1e6) << min(count_failed_in_a_row(runs), MOST_DOUBLINGS)


def count_failed_in_a_row(runs: Sequence[PastRun]) -> int:
    """How many of the latest decided runs in a row ended with a candidate that failed the gate."""
    decided = sorted((run.decided_us, run.failed_gate) for run in runs if run.decided_us is not None)
    failed = 0
    for _, failed_gate in reversed(decided):
        if not failed_gate:
            break
        failed += 1
    return failed
