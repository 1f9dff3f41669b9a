"""Windows are read as sums over shards, by minute, version and slice."""

import pytest

from errata.errors import Stop
from quality import histogram
from quality.windows import Contribution, as_columns
from storage.database import Database
from storage.tables import windows
from storage.windows import (
    Additions,
    Place,
    add_to_windows,
    contribution_of,
    count_in_windows,
    list_models,
    list_slices,
    list_versions,
    read_spans,
    read_windows,
    sum_windows,
)
from tests.builders import MINUTE_US, START_US
from tests.records import MODEL

ONE = Contribution(n=1, served={10: 1})
LATER = START_US + MINUTE_US


def one_each(*places: Place) -> Additions:
    return Additions(places, as_columns([ONE] * len(places)))


@pytest.fixture
def filled(db: Database) -> Database:
    """Version 1 in two minutes and two shards, version 2 in the later minute."""
    with db.write() as c:
        add_to_windows(c, 0, one_each(*[Place(MODEL, "1", START_US, '["device=ios"]')] * 2))
        add_to_windows(c, 1, one_each(Place(MODEL, "1", START_US, "[]"), Place(MODEL, "2", LATER, "[]")))
        add_to_windows(c, 0, one_each(Place(MODEL, "1", LATER, '["device=web"]')))
    return db


def test_windows_are_summed_over_shards(filled: Database) -> None:
    with filled.read() as c:
        found = read_windows(c, model=MODEL)
    assert [(window.minute_us, window.version, window.n) for window in found] == [
        (START_US, "1", 3),
        (LATER, "1", 1),
        (LATER, "2", 1),
    ]
    assert histogram.decode(found[0].served) == {10: 3}
    assert contribution_of(found[0]) == Contribution(n=3, served={10: 3})


def test_windows_are_chosen_by_version_slice_and_time(filled: Database) -> None:
    with filled.read() as c:
        assert [window.n for window in read_windows(c, model=MODEL, version="2")] == [1]
        assert [window.n for window in read_windows(c, model=MODEL, slice="device=ios")] == [2]
        assert [window.n for window in read_windows(c, model=MODEL, until_us=LATER)] == [3]
        assert [window.n for window in read_windows(c, model=MODEL, since_us=LATER)] == [1, 1]
        assert read_windows(c, model="other") == []


def test_windows_are_summed_over_wider_points_of_time(filled: Database) -> None:
    with filled.read() as c:
        found = read_windows(c, model=MODEL, width_us=1440 * MINUTE_US)
    assert [(window.version, window.n) for window in found] == [("1", 4), ("2", 1)]
    assert found[0].minute_us == START_US


def test_each_version_has_a_first_and_a_last_minute(filled: Database) -> None:
    with filled.read() as c:
        assert read_spans(c, model=MODEL) == {"1": (START_US, LATER), "2": (LATER, LATER)}
        assert read_spans(c, model=MODEL, until_us=LATER) == {"1": (START_US, START_US)}


def test_predictions_of_a_span_are_counted_over_versions(filled: Database) -> None:
    with filled.read() as c:
        n, first_us = count_in_windows(c, model=MODEL, since_us=0, until_us=LATER + MINUTE_US)
        versions = sum_windows(c, model=MODEL, by=("version",))
        assert (n, first_us) == (sum(window.n for window in versions), START_US)
        assert count_in_windows(c, model=MODEL, since_us=0, until_us=START_US) == (0, None)


def test_sums_by_version_and_slice(filled: Database) -> None:
    with filled.read() as c:
        both = {(window.version, window.slice): window.n for window in sum_windows(c, model=MODEL)}
        versions = {window.version: window.n for window in sum_windows(c, model=MODEL, by=("version",))}
        slices = {window.slice: window.n for window in sum_windows(c, model=MODEL, by=("slice",))}
        (everything,) = sum_windows(c, model=MODEL, by=())
    assert both == {("1", "all"): 4, ("1", "device=ios"): 2, ("1", "device=web"): 1, ("2", "all"): 1}
    assert versions == {"1": 4, "2": 1}
    assert slices == {"all": 5, "device=ios": 2, "device=web": 1}
    assert (everything.version, everything.slice, everything.n, everything.minute_us) == (
        "all",
        "all",
        5,
        START_US,
    )


def test_what_there_is(filled: Database) -> None:
    with filled.read() as c:
        assert list_models(c) == [MODEL]
        assert list_versions(c, MODEL) == ["1", "2"]
        assert list_slices(c, MODEL) == ["all", "device=ios", "device=web"]
        assert list_slices(c, MODEL, since_us=LATER) == ["all", "device=web"]


def test_many_windows_are_moved_at_once(db: Database) -> None:
    places = [
        Place(MODEL, str(number % 3), START_US + number * MINUTE_US, '["a=b"]') for number in range(1500)
    ]
    with db.write() as c:
        add_to_windows(c, 0, one_each(*places))
        add_to_windows(c, 0, one_each(*places))
    with db.read() as c:
        assert {window.n for window in read_windows(c, model=MODEL, slice="a=b")} == {2}
        assert sum(window.n for window in read_windows(c, model=MODEL)) == 3000


def test_what_adds_up_to_nothing_moves_no_window(db: Database) -> None:
    place = Place(MODEL, "1", START_US, '["a=b"]')
    there_and_back = as_columns([Contribution(n_edit=1), Contribution(n_edit=-1)])
    with db.write() as c:
        add_to_windows(c, 0, Additions([place, place], there_and_back))
        add_to_windows(c, 0, Additions([], as_columns([])))
    with db.read() as c:
        assert list_models(c) == []


def test_a_damaged_window_stops_the_intake_instead_of_losing_the_events(filled: Database) -> None:
    with filled.write() as c:
        c.execute(windows.update().values(served=b"x"))
    with pytest.raises(Stop, match="errata verify"), filled.write() as c:
        add_to_windows(c, 0, one_each(Place(MODEL, "1", START_US, "[]")))
