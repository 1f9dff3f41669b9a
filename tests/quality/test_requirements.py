"""Requirements pass or fail by whole intervals, and say so in a sentence."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.settings import Requirements
from quality.histogram import bucket_of
from quality.rates import Number
from quality.requirements import (
    MATURE,
    MEASURES,
    Requirement,
    check,
    check_online,
    count_minutes,
    judge,
    list_requirements,
)
from quality.windows import Contribution

RATE = Requirement("edit_rate", 0.05)
LATENCY = Requirement("served_p95_ms", 100_000)
QPS = Requirement("qps", 10)

shares = st.floats(0.001, 0.999)


@st.composite
def numbers(draw: st.DrawFn) -> Number:
    low, value, high = sorted(draw(st.tuples(shares, shares, shares)))
    return Number(value, draw(st.integers(1, 10**6)), low, high)


def test_only_what_is_set_is_required_with_latencies_in_microseconds() -> None:
    assert list_requirements(Requirements()) == []
    assert list_requirements(Requirements(qps=3, served_p95_ms=120, serving_mode="edge")) == [
        Requirement("served_p95_ms", 120_000),
        Requirement("qps", 3),
    ]


def test_every_numeric_setting_has_a_measure() -> None:
    assert set(MEASURES) == set(Requirements.__struct_fields__) - {"serving_mode", "device"}


@given(numbers(), shares)
def test_a_judgement_needs_the_whole_interval(number: Number, bound: float) -> None:
    assert number.low is not None
    assert number.high is not None
    expected = "pass" if number.high <= bound else "fail" if number.low > bound else "not enough evidence"
    assert judge(Requirement("edit_rate", bound), number) == expected
    mirrored = "pass" if number.low >= bound else "fail" if number.high < bound else "not enough evidence"
    assert judge(Requirement("qps", bound), number) == mirrored


@given(numbers(), shares, shares)
def test_a_laxer_requirement_is_never_judged_worse(number: Number, one: float, other: float) -> None:
    order = ["fail", "not enough evidence", "pass"]
    strict, lax = sorted((one, other))
    judged = [order.index(judge(Requirement("edit_rate", bound), number)) for bound in (strict, lax)]
    assert judged == sorted(judged)


@given(numbers(), shares, shares)
def test_a_narrower_interval_never_turns_a_judgement_round(
    number: Number, bound: float, share: float
) -> None:
    assert number.value is not None
    assert number.low is not None
    assert number.high is not None
    narrow = Number(
        number.value,
        number.n,
        number.value - share * (number.value - number.low),
        number.value + share * (number.high - number.value),
    )
    requirement = Requirement("edit_rate", bound)
    wide = judge(requirement, number)
    assert wide == "not enough evidence" or judge(requirement, narrow) == wide


@given(numbers(), shares, st.floats(0, MATURE, exclude_max=True))
def test_what_can_still_rise_never_passes_and_what_failed_has_failed(
    number: Number, bound: float, maturity: float
) -> None:
    young = Number(number.value, number.n, number.low, number.high, maturity)
    before, after = (judge(Requirement("edit_rate", bound), each) for each in (number, young))
    assert after == ("not enough evidence" if before == "pass" else before)
    assert judge(Requirement("edit_distance", bound), young) == "not enough evidence"
    latency = Requirement("served_p95_ms", bound)
    assert judge(latency, young) == judge(latency, number)


@pytest.mark.parametrize("requirement", [RATE, LATENCY, QPS])
def test_nothing_observed_is_not_enough_evidence(requirement: Requirement) -> None:
    checked = check(requirement, Number(None, 0))
    assert checked.judgement == "not enough evidence"
    assert "nothing was observed" in checked.sentence


@pytest.mark.parametrize(
    ("requirement", "number", "sentence"),
    [
        (
            RATE,
            Number(0.031, 4000, 0.024, 0.039),
            "Edited: 3.1 % (2.4 % to 3.9 %, n 4,000); at most 5.0 % is required, which is met.",
        ),
        (
            LATENCY,
            Number(180_000, 900, 171_000, 190_000),
            (
                "Latency served, p95: 180.0 ms (171.0 ms to 190.0 ms, n 900); at most 100.0 ms is required, "
                "which is not met."
            ),
        ),
        (
            RATE,
            Number(0.05, 100, 0.01, 0.15),
            (
                "Edited: 5.0 % (1.0 % to 15.0 %, n 100); at most 5.0 % is required, for which there is not "
                "enough evidence."
            ),
        ),
        (
            RATE,
            Number(0.01, 4000, 0.005, 0.02, 0.4),
            (
                "Edited: 1.0 % (0.5 % to 2.0 %, n 4,000); at most 5.0 % is required, for which there is not enough "
                "evidence: 40 % of the expected feedback has come."
            ),
        ),
        (
            QPS,
            Number(2.5, 150, 2.5, math.inf),
            (
                "Predictions per second: 2.5 per second (the busiest minute, n 150); at least 10 per second is "
                "required, for which there is not enough evidence: no more was asked of it."
            ),
        ),
        (
            LATENCY,
            Number(90_000, 20),
            (
                "Latency served, p95: 90.0 ms (too few for an interval, n 20); at most 100.0 ms is required, for "
                "which there is not enough evidence."
            ),
        ),
    ],
)
def test_a_judgement_is_said_with_its_number_and_its_interval(
    requirement: Requirement, number: Number, sentence: str
) -> None:
    assert check(requirement, number).sentence == sentence


def a_minute(n: int = 600, n_edit: int = 10, served_us: int = 50_000) -> Contribution:
    return Contribution(
        n=n, n_edit=n_edit, n_distance=n, distance_ppm=n_edit * 100_000, served={bucket_of(served_us): n}
    )


def test_a_span_is_checked_as_a_whole_and_minute_by_minute() -> None:
    minutes = [a_minute()] * 50 + [a_minute(n_edit=60, served_us=300_000)] * 10
    wanted = Requirements(served_p95_ms=100, edit_rate=0.06, edit_distance=0.01, qps=8, shown_p95_ms=500)
    found = {
        each.requirement.name: each
        for each in check_online(list_requirements(wanted), minutes, 3600, maturity=1.0, age_us=7)
    }
    assert {name: each.judgement for name, each in found.items()} == {
        # More than a twentieth of all predictions took 300 ms.
        "served_p95_ms": "fail",
        "shown_p95_ms": "not enough evidence",
        "edit_rate": "pass",
        "edit_distance": "pass",
        "qps": "pass",
    }
    assert (found["edit_rate"].n_minutes_met, found["edit_rate"].n_minutes) == (50, 60)
    assert (found["shown_p95_ms"].n_minutes_met, found["shown_p95_ms"].n_minutes) == (0, 0)
    assert found["edit_rate"].number.maturity == 1.0
    assert found["served_p95_ms"].number.maturity is None
    assert all(each.number.age_us == 7 for each in found.values())


def test_quiet_minutes_are_no_failure_of_the_service() -> None:
    quiet = [a_minute(n=6, n_edit=0)] * 60
    [checked] = check_online([QPS], quiet, 3600)
    assert (checked.judgement, checked.n_minutes) == ("not enough evidence", 0)
    [checked] = check_online([QPS], [*quiet, a_minute(n=600)], 3660)
    assert (checked.judgement, checked.number.value) == ("pass", 10)


def test_a_minute_without_predictions_is_not_counted() -> None:
    assert count_minutes(RATE, [Contribution(), a_minute(n_edit=0)]) == (1, 1)
