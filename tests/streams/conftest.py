"""Fixtures of the tests of watching."""

import itertools

import pytest

from errata.identity import NewId
from tests.records import number_id


@pytest.fixture
def new_id() -> NewId:
    """Ids that no event of a test has."""
    numbers = itertools.count(10**9)
    return lambda _: number_id(next(numbers))
