"""The numbers people read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.intervals import rate_interval
from quality.outcomes import FeedbackFact
from quality.rates import Number, summarise
from quality.windows import Contribution, add_all, of_outcome, of_prediction


def test_nothing_is_unknown_but_counted() -> None:
    numbers = summarise(Contribution(), 60)
    nothing = Number(None, 0)
    assert numbers.edit_rate == numbers.accept_rate == numbers.reject_rate == numbers.distance == nothing
    assert numbers.served_us.p50 == numbers.shown_us.p99 == nothing
    assert numbers.qps == Number(0.0, 0)


def test_rates_are_shares_of_all_predictions_silent_ones_included() -> None:
    numbers = summarise(Contribution(n=200, n_edit=20, n_accept=50, n_reject=2), 60)
    assert numbers.edit_rate == Number(0.1, 200, *rate_interval(200, 20))
    assert numbers.accept_rate == Number(0.25, 200, *rate_interval(200, 50))
    assert numbers.reject_rate == Number(0.01, 200, *rate_interval(200, 2))


def test_the_distance_is_a_mean_over_measured_predictions() -> None:
    facts = [FeedbackFact(str(place), "edit", 1, 400_000) for place in range(5)]
    facts += [FeedbackFact(str(place), "accept", 1) for place in range(15)]
    distance = summarise(add_all(map(of_outcome, facts)), 60).distance
    assert distance.value == pytest.approx(0.1)
    assert distance.n == 20
    assert distance.low is not None
    assert distance.high is not None
    assert 0 < distance.low < 0.1 < distance.high < 1


def test_latencies_come_with_intervals_once_there_are_enough() -> None:
    few = summarise(add_all(of_prediction(1000 * place) for place in range(1, 101)), 60).served_us
    assert few.p50.value == pytest.approx(50_000, rel=0.01)
    assert few.p99.value == pytest.approx(99_000, rel=0.01)
    assert few.p50.low is not None
    assert few.p99.low is None
    assert few.p99.n == 100


def test_latency_as_shown_is_told_apart_from_latency_as_served() -> None:
    numbers = summarise(
        add_all([of_prediction(1000), of_outcome(FeedbackFact("a", "accept", 1, None, 9000))]), 1
    )
    assert numbers.served_us.p95.value == pytest.approx(1000, rel=0.01)
    assert numbers.shown_us.p95.value == pytest.approx(9000, rel=0.01)


def test_qps_is_predictions_per_second() -> None:
    assert summarise(Contribution(n=600), 60).qps == Number(10.0, 600)
    assert summarise(Contribution(n=600), 0).qps == Number(None, 600)


@given(
    st.lists(
        st.tuples(st.sampled_from(["edit", "accept", "reject", None]), st.integers(0, 1_000_000)), max_size=30
    )
)
def test_every_number_lies_within_its_interval(outcomes: list[tuple[str | None, int]]) -> None:
    parts = [of_prediction(distance) for _, distance in outcomes]
    parts += [of_outcome(FeedbackFact("a", action, 1, distance)) for action, distance in outcomes if action]  # type: ignore[arg-type]
    numbers = summarise(add_all(parts), 60)
    for number in (
        numbers.edit_rate,
        numbers.accept_rate,
        numbers.reject_rate,
        numbers.distance,
        numbers.served_us.p50,
    ):
        if number.low is not None:
            assert number.value is not None
            assert number.high is not None
            assert number.low <= number.value <= number.high
