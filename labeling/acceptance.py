"""Whether a delivery of labels is good enough: single sampling plans in the manner of ISO 2859-1.

Normal inspection, general level II. The plans hold for a series of deliveries from one source; they promise
nothing about one delivery by itself: see `acceptance_probability`.
"""

from dataclasses import dataclass
from typing import Final, Literal

from scipy.stats import binom

from errata.errors import Malformed

#: Acceptable quality limit: defects per hundred labels that a good source may have.
Aql = Literal["1.0", "2.5", "4.0"]

#: For lots up to a size: labels to check, and defects among them up to which the lot is accepted.
_PLANS: Final[dict[Aql, tuple[tuple[int, int, int], ...]]] = {
    "1.0": (
        (150, 13, 0),
        (500, 50, 1),
        (1_200, 80, 2),
        (3_200, 125, 3),
        (10_000, 200, 5),
        (35_000, 315, 7),
    ),
    "2.5": (
        (50, 5, 0),
        (150, 20, 1),
        (280, 32, 2),
        (500, 50, 3),
        (1_200, 80, 5),
        (3_200, 125, 7),
        (10_000, 200, 10),
        (35_000, 315, 14),
    ),
    "4.0": (
        (25, 3, 0),
        (90, 13, 1),
        (150, 20, 2),
        (280, 32, 3),
        (500, 50, 5),
        (1_200, 80, 7),
        (3_200, 125, 10),
        (10_000, 200, 14),
        (35_000, 315, 21),
    ),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many labels of a lot to check, and how many of them may be defective."""

    n_checked: int
    accepted_defects: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision with its reason in a sentence."""

    accept: bool
    reason: str


def find_plan(lot: int, aql: Aql) -> Plan:
    """The plan for a delivery of `lot` labels; the largest plan serves all lots above it."""
    if lot < 1:
        raise Malformed("empty_lot", "there is nothing to check in a delivery without labels")
    plans = _PLANS[aql]
    _, n, defects = next((plan for plan in plans if lot <= plan[0]), plans[-1])
    return Plan(min(n, lot), defects)


def acceptance_probability(plan: Plan, defect_rate: float) -> float:
    """The probability that `plan` accepts a large lot in which this share of labels is defective."""
    return float(binom.cdf(plan.accepted_defects, plan.n_checked, defect_rate))


def judge_delivery(n_checked: int, n_defects: int, lot: int, aql: Aql) -> Verdict:
    """Judge a delivery of `lot` labels of which `n_checked`, chosen at random, were checked blind.

    Raises Malformed when too few were checked to accept, and too few defects were found to reject.
    """
    if not 0 <= n_defects <= n_checked <= lot:
        raise Malformed(
            "impossible_counts", f"{n_defects} defects in {n_checked} checked of {lot} labels cannot be"
        )
    plan = find_plan(lot, aql)
    # Who checks more labels than the plan asks may find more defects, in proportion.
    allowed = plan.accepted_defects * max(n_checked, plan.n_checked) // plan.n_checked
    found = f"{n_defects} of {n_checked} checked labels are defective"
    if n_defects > allowed:
        return Verdict(False, f"Reject: {found}; AQL {aql} allows {allowed} in a delivery of {lot}.")
    if n_checked < plan.n_checked:
        raise Malformed(
            "too_few_checked",
            f"check {plan.n_checked - n_checked} more labels: AQL {aql} asks for {plan.n_checked} of {lot}",
        )
    return Verdict(True, f"Accept: {found}; AQL {aql} allows {allowed} in a delivery of {lot}.")
