"""Customers act as often as the constants say, and what they type is a card number."""

import random

from hypothesis import given
from hypothesis import strategies as st

from examples.card_reader import users
from examples.card_reader.users import mistake, react

TRUTH = {"number": "4012888888881881", "expiry": "08/27"}
WRONG = TRUTH | {"number": "4012888888881882"}
N = 20_000


def shares(shown):
    """How often customers did each thing, of N."""
    rng = random.Random(1)
    reactions = [react(shown, TRUTH, rng) for _ in range(N)]
    return {
        "edit": sum(each.action == "edit" for each in reactions) / N,
        "accept": sum(each.action == "accept" for each in reactions) / N,
        "mistaken": sum(each.corrected not in (None, TRUTH) for each in reactions) / N,
        "comment": sum(each.comment is not None for each in reactions) / N,
    }


def is_near(share, expected):
    """Within five standard deviations of a share of N."""
    return abs(share - expected) < 5 * (expected * (1 - expected) / N) ** 0.5


def test_a_wrong_reading_is_edited_by_most_and_accepted_by_none():
    found = shares(WRONG)
    assert is_near(found["edit"], users.EDITS_A_WRONG_READING)
    assert found["accept"] == 0
    assert is_near(found["mistaken"], users.EDITS_A_WRONG_READING * users.MISTAKEN_EDIT)
    assert is_near(found["comment"], users.COMPLAINS)


def test_a_right_reading_is_mostly_left_alone():
    found = shares(TRUTH)
    assert is_near(found["edit"], users.EDITS_A_RIGHT_READING)
    assert found["mistaken"] == found["edit"]
    assert is_near(found["accept"], (1 - users.EDITS_A_RIGHT_READING) * users.ACCEPTS_A_RIGHT_READING)
    assert is_near(found["comment"], users.PRAISES)


def test_who_complains_was_shown_a_wrong_reading():
    rng = random.Random(2)
    said = {react(WRONG, TRUTH, rng).comment for _ in range(N)} - {None}
    assert said == set(users.COMPLAINTS)
    praised = {react(TRUTH, TRUTH, rng).comment for _ in range(N)} - {None}
    assert praised == set(users.PRAISE)


@given(st.integers(), st.text("0123456789", min_size=16, max_size=16))
def test_a_mistake_changes_one_digit_and_nothing_else(seed, number):
    truth = {"number": number, "expiry": "08/27"}
    mistyped = mistake(truth, random.Random(seed))
    assert mistyped["expiry"] == truth["expiry"]
    assert mistyped["number"].isdigit()
    assert sum(a != b for a, b in zip(mistyped["number"], number, strict=True)) == 1


@given(st.integers())
def test_customers_answer_within_two_minutes(seed):
    assert 0 < react(WRONG, TRUTH, random.Random(seed)).delay_seconds <= 120
