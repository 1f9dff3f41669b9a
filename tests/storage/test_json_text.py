"""A value of any kind comes back from its column as it went in."""

from hypothesis import given

from storage.json_text import from_text, from_text_or_none, to_text, to_text_or_none
from tests.errata.strategies import json_values


@given(json_values)
def test_a_value_comes_back(value: object) -> None:
    assert from_text(to_text(value)) == value


@given(json_values)
def test_only_nothing_is_null(value: object) -> None:
    assert (to_text_or_none(value) is None) == (value is None)
    assert from_text_or_none(to_text_or_none(value)) == value


def test_korean_text_stays_readable() -> None:
    assert to_text("카드") == '"카드"'
