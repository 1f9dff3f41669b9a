"""The integer arithmetic of windows."""

from collections import Counter
from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quality.distances import PPM
from quality.histogram import bucket_of
from quality.outcomes import FeedbackFact, effective
from quality.windows import (
    MINUTE_US,
    Contribution,
    add,
    add_all,
    are_zero,
    as_columns,
    as_objects,
    is_zero,
    join,
    minute_of,
    negate,
    of_outcome,
    of_outcomes,
    of_prediction,
    of_predictions,
    subtract,
    sum_groups,
    take,
)

integers = st.integers(-(10**12), 10**12)
bucket_counts = st.dictionaries(st.integers(-1, 2000), integers.filter(bool), max_size=4)
contributions = st.builds(
    Contribution,
    **{
        part.name: bucket_counts if part.name in ("served", "shown") else integers
        for part in fields(Contribution)
    },
)
latencies = st.none() | st.integers(0, 10**7)
feedback = st.builds(
    FeedbackFact,
    id=st.uuids().map(str),
    action=st.sampled_from(["edit", "accept", "reject"]),
    time_us=st.integers(0, 20),
    distance_ppm=st.none() | st.integers(0, PPM),
    display_us=latencies,
)
#: Each prediction with its latency and its feedback.
histories = st.lists(st.tuples(latencies, st.lists(feedback, max_size=4)), max_size=6)


@given(st.integers(-(10**18), 10**18))
def test_a_minute_starts_at_a_whole_minute_and_holds_its_time(time_us: int) -> None:
    minute = minute_of(time_us)
    assert minute % MINUTE_US == 0
    assert minute <= time_us < minute + MINUTE_US


@given(contributions, contributions, contributions)
def test_contributions_are_a_commutative_group(a: Contribution, b: Contribution, c: Contribution) -> None:
    assert add(a, b) == add(b, a)
    assert add(add(a, b), c) == add(a, add(b, c)) == add_all([c, a, b])
    assert add(a, Contribution()) == a
    assert is_zero(add(a, negate(a)))
    assert subtract(add(a, b), b) == a


@given(contributions)
def test_only_nothing_is_zero(a: Contribution) -> None:
    assert is_zero(a) == (a == Contribution())
    assert is_zero(add_all([]))


def test_a_prediction_counts_with_its_latency_if_known() -> None:
    assert of_prediction(None) == Contribution(n=1)
    assert of_prediction(2500) == Contribution(n=1, served={bucket_of(2500): 1})


def test_an_edit_counts_with_its_distance_and_display() -> None:
    assert of_outcome(FeedbackFact("a", "edit", 1, 200_000, 7)) == Contribution(
        n_edit=1,
        n_distance=1,
        distance_ppm=200_000,
        distance_ppm_squares=40_000,
        shown={bucket_of(7): 1},
    )


def test_an_edit_that_cannot_be_measured_is_still_an_edit() -> None:
    assert of_outcome(FeedbackFact("a", "edit", 1)) == Contribution(n_edit=1)


def test_an_accept_is_at_no_distance() -> None:
    accepted = Contribution(n_accept=1, n_distance=1)
    assert of_outcome(FeedbackFact("a", "accept", 1)) == accepted
    assert of_outcome(FeedbackFact("a", "accept", 1, 999)) == accepted


def test_an_edit_at_no_distance_is_still_an_edit() -> None:
    assert of_outcome(FeedbackFact("a", "edit", 1, 0)) == Contribution(n_edit=1, n_distance=1)


def test_a_reject_has_no_distance_and_silence_adds_nothing() -> None:
    assert of_outcome(FeedbackFact("a", "reject", 1, 999)) == Contribution(n_reject=1)
    assert is_zero(of_outcome(None))


@given(histories, st.data())
def test_restating_in_any_order_of_arrival_ends_at_the_count_from_scratch(
    history: list[tuple[int | None, list[FeedbackFact]]], data: st.DataObject
) -> None:
    arrivals = [(place, fact) for place, (_, facts) in enumerate(history) for fact in [None, *facts]]
    known: dict[int, list[FeedbackFact]] = {place: [] for place in range(len(history))}
    arrived: set[int] = set()
    window = Contribution()
    # None stands for the prediction itself, which may come after its feedback.
    for place, fact in data.draw(st.permutations(arrivals)):
        before = of_outcome(effective(known[place])) if place in arrived else Contribution()
        if fact is None:
            arrived.add(place)
            window = add(window, of_prediction(history[place][0]))
        else:
            known[place].append(fact)
        after = of_outcome(effective(known[place])) if place in arrived else Contribution()
        window = add(window, subtract(after, before))
    assert window == add_all(
        part
        for latency_us, facts in history
        for part in (of_prediction(latency_us), of_outcome(effective(facts)))
    )
    assert window.n == len(history)
    assert window.n_edit + window.n_accept + window.n_reject == sum(bool(facts) for _, facts in history)
    assert window.served == Counter(bucket_of(latency) for latency, _ in history if latency is not None)


groups = st.integers(0, 3)


@given(st.lists(st.tuples(latencies, groups)))
def test_many_predictions_are_summed_as_they_are_one_by_one(made: list[tuple[int | None, int]]) -> None:
    many = of_predictions([latency for latency, _ in made])
    sums = as_objects(sum_groups(many, [group for _, group in made], 4))
    for group, total in enumerate(sums):
        assert total == add_all(of_prediction(latency) for latency, own in made if own == group)


@given(st.lists(st.tuples(feedback, st.sampled_from([1, -1]), groups)))
def test_many_outcomes_are_summed_and_taken_back_as_they_are_one_by_one(
    given_: list[tuple[FeedbackFact, int, int]],
) -> None:
    many = of_outcomes([each[0] for each in given_], [each[1] for each in given_])
    sums = as_objects(sum_groups(many, [each[2] for each in given_], 4))
    for group, total in enumerate(sums):
        own = [(fact, sign) for fact, sign, place in given_ if place == group]
        assert total == add_all(
            of_outcome(fact) if sign > 0 else negate(of_outcome(fact)) for fact, sign in own
        )


@given(st.lists(st.tuples(contributions, groups)), st.lists(groups))
def test_columns_of_contributions_are_summed_and_chosen_as_the_contributions_are(
    parts: list[tuple[Contribution, int]], chosen: list[int]
) -> None:
    expected = [add_all(part for part, own in parts if own == group) for group in range(4)]
    summed = sum_groups(as_columns([part for part, _ in parts]), [group for _, group in parts], 4)
    assert as_objects(summed) == expected
    assert are_zero(summed).tolist() == [is_zero(each) for each in expected]
    taken = take(summed, np.array(chosen, dtype=np.int64))
    assert as_objects(taken) == [expected[place] for place in chosen]
    assert (
        as_objects(join([summed, taken, summed]))
        == expected + [expected[place] for place in chosen] + expected
    )
