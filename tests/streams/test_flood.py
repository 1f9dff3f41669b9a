"""A partition is flooded when dead letters are both many and a large share of its last minutes."""

from streams.flood import Flood, Floods

PARTITION = ("errata.voc", 1)
SECOND_US = 1_000_000


def make(**given) -> Floods:
    return Floods(**{"share": 0.5, "dead_letters": 10, "seconds": 60.0} | given)


def test_many_dead_letters_are_a_flood_once_they_are_also_a_large_share():
    floods = make()
    assert floods.note(PARTITION, 100, 10, 0) is None
    assert floods.note(PARTITION, 50, 50, 1) is None
    assert floods.note(PARTITION, 40, 40, 2) == Flood(PARTITION, 190, 100)


def test_a_few_are_none_even_if_they_are_all():
    assert make().note(PARTITION, 9, 9, 0) is None


def test_what_is_long_ago_is_forgotten():
    floods = make()
    floods.note(PARTITION, 9, 9, 0)
    assert floods.note(PARTITION, 5, 5, 60 * SECOND_US) is None
    assert floods.note(PARTITION, 5, 5, 61 * SECOND_US) == Flood(PARTITION, 10, 10)


def test_partitions_are_counted_by_themselves():
    floods = make()
    assert floods.note(PARTITION, 9, 9, 0) is None
    assert floods.note(("errata.voc", 2), 9, 9, 0) is None


def test_a_run_that_is_stored_again_after_a_failed_pause_still_tells_the_flood():
    floods = make()
    assert floods.note(PARTITION, 20, 20, 0) is not None
    assert floods.note(PARTITION, 0, 0, 1) == Flood(PARTITION, 20, 20)


def test_no_limit_is_no_flood():
    assert make(dead_letters=0).note(PARTITION, 9999, 9999, 0) is None
