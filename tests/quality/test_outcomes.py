"""Which feedback counts for a prediction."""

from hypothesis import given
from hypothesis import strategies as st

from quality.outcomes import FeedbackFact, effective

facts = st.builds(
    FeedbackFact,
    id=st.sampled_from(["a", "b", "c"]),
    action=st.sampled_from(["edit", "accept", "reject"]),
    time_us=st.integers(0, 3),
    distance_ppm=st.none() | st.integers(0, 2),
    display_us=st.none() | st.integers(0, 2),
)


def test_the_last_feedback_by_time_counts() -> None:
    early = FeedbackFact("b", "edit", 1, 500_000, None)
    late = FeedbackFact("a", "accept", 2, None, None)
    assert effective([late, early]) is late


def test_at_the_same_time_the_later_id_counts() -> None:
    first, second = FeedbackFact("a", "reject", 1), FeedbackFact("b", "accept", 1)
    assert effective([second, first]) is second


def test_silence_is_no_feedback() -> None:
    assert effective([]) is None


@given(st.lists(facts, max_size=6), st.data())
def test_order_and_repetition_do_not_matter(arrived: list[FeedbackFact], data: st.DataObject) -> None:
    again = data.draw(st.permutations(arrived + arrived[: data.draw(st.integers(0, len(arrived)))]))
    assert effective(again) == effective(arrived)


@given(st.lists(facts, max_size=6), st.lists(facts, max_size=6))
def test_what_counts_can_be_found_batch_by_batch(
    first: list[FeedbackFact], second: list[FeedbackFact]
) -> None:
    kept = effective(first)
    assert effective(second if kept is None else [kept, *second]) == effective(first + second)
