"""A short run of the malformed million: every kind is set aside for its reason, and no neighbour is harmed."""

from random import Random

from bench.chaos.corpus import ELEMENTS, RECORDS
from bench.malformed import make_portions, store_and_compare
from tests.builders import START_US


def test_every_malformed_event_becomes_a_dead_letter_with_its_reason(db):
    found = store_and_compare(db, make_portions(Random(5), 2000, START_US), START_US)
    assert found.n_malformed >= 2000
    assert (found.missing, found.needless, found.neighbours_lost) == (0, 0, 0)
    assert not found.wrong_reason


def test_there_are_more_than_forty_kinds_and_a_portion_has_most_of_them():
    assert len(ELEMENTS) + len(RECORDS) > 40
    portions = list(make_portions(Random(5), 5000, START_US))
    reasons = {reason for portion in portions for reason in portion.reasons.values()}
    assert reasons == {each.reason for each in (*ELEMENTS, *RECORDS)}


def test_a_reason_that_is_wrong_would_be_seen(db):
    portion = next(make_portions(Random(5), 10, START_US))
    place = next(iter(portion.reasons))
    portion.reasons[place] = "another"
    portion.reasons[7_000_000, 0] = "missing"
    found = store_and_compare(db, iter([portion]), START_US)
    assert (found.missing, sum(found.wrong_reason.values())) == (1, 1)
