import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.errors import Malformed
from labeling.acceptance import Aql, Plan, acceptance_probability, find_plan, judge_delivery

AQLS: list[Aql] = ["1.0", "2.5", "4.0"]


@pytest.mark.parametrize(
    ("lot", "aql", "plan"),
    [
        (500, "1.0", Plan(50, 1)),
        (500, "2.5", Plan(50, 3)),
        (500, "4.0", Plan(50, 5)),
        (280, "2.5", Plan(32, 2)),
        (281, "2.5", Plan(50, 3)),
        (3200, "4.0", Plan(125, 10)),
        (3201, "1.0", Plan(200, 5)),
        (1_000_000, "2.5", Plan(315, 14)),
    ],
)
def test_plans_are_those_of_the_chart(lot: int, aql: Aql, plan: Plan) -> None:
    assert find_plan(lot, aql) == plan


@given(lot=st.integers(1, 100_000), aql=st.sampled_from(AQLS))
def test_no_plan_checks_more_than_there_is(lot: int, aql: Aql) -> None:
    plan = find_plan(lot, aql)
    assert 0 <= plan.accepted_defects < plan.n_checked <= lot or plan.n_checked == lot


@given(lot=st.integers(1, 35_000))
def test_a_stricter_limit_never_allows_a_larger_share_of_defects_in_the_long_run(lot: int) -> None:
    strict, loose = find_plan(lot, "1.0"), find_plan(lot, "4.0")
    assert acceptance_probability(strict, 0.05) <= acceptance_probability(loose, 0.05) + 1e-12


def test_a_plan_accepts_many_bad_deliveries_and_says_how_many() -> None:
    assert acceptance_probability(find_plan(500, "4.0"), 0.10) == pytest.approx(0.62, abs=0.01)
    assert acceptance_probability(find_plan(500, "2.5"), 0.05) == pytest.approx(0.76, abs=0.01)
    assert acceptance_probability(find_plan(1000, "1.0"), 0.05) == pytest.approx(0.23, abs=0.01)


def test_a_delivery_with_as_many_defects_as_allowed_is_accepted_and_with_one_more_rejected() -> None:
    accepted = judge_delivery(50, 3, 500, "2.5")
    rejected = judge_delivery(50, 4, 500, "2.5")
    assert accepted.accept
    assert not rejected.accept
    assert (
        rejected.reason
        == "Reject: 4 of 50 checked labels are defective; AQL 2.5 allows 3 in a delivery of 500."
    )


def test_too_few_checked_labels_do_not_accept() -> None:
    with pytest.raises(Malformed, match="check 10 more labels"):
        judge_delivery(40, 0, 500, "2.5")


def test_enough_defects_reject_before_all_is_checked() -> None:
    assert not judge_delivery(10, 4, 500, "2.5").accept


def test_who_checks_more_may_find_more() -> None:
    assert judge_delivery(100, 6, 500, "2.5").accept
    assert not judge_delivery(100, 7, 500, "2.5").accept


@pytest.mark.parametrize(("n_checked", "n_defects", "lot"), [(5, 6, 10), (11, 0, 10), (5, -1, 10)])
def test_impossible_counts_are_refused(n_checked: int, n_defects: int, lot: int) -> None:
    with pytest.raises(Malformed, match="cannot be"):
        judge_delivery(n_checked, n_defects, lot, "2.5")


def test_an_empty_delivery_is_refused() -> None:
    with pytest.raises(Malformed, match="without labels"):
        find_plan(0, "2.5")
