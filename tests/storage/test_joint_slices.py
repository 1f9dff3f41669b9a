"""Joint slices are counted from predictions, bounded, and say what they leave out."""

from storage.joint_slices import read_joint_counts
from tests.builders import SECOND_US, START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.records import MODEL


def serve(apply_to, n: int = 40) -> None:
    """Old cameras in Korea are corrected, and nothing else; every tenth prediction has no camera."""
    events = []
    for number in range(n):
        tags = {"country": ("KR", "JP")[number % 2], "camera": ("old", "new")[number // 2 % 2]}
        if number % 10 == 9:
            del tags["camera"]
        events.append(a_prediction_event(number, tags=tags, time_us=START_US + number * SECOND_US))
        if tags == {"country": "KR", "camera": "old"}:
            events.append(a_feedback_event(1000 + number, prediction=number, action="edit"))
        elif number % 3 == 0:
            events.append(a_feedback_event(1000 + number, prediction=number, action="accept"))
    apply_to(an_arrival(events))


def read(db, **given):
    wanted = {"tags": ["country", "camera"], "since_us": START_US, "until_us": START_US + 3600 * SECOND_US}
    with db.read() as c:
        return read_joint_counts(c, model=MODEL, version="1", **(wanted | given))


def test_each_pair_of_values_has_its_predictions_and_corrections(db, apply_to):
    serve(apply_to)
    found = read(db)
    assert found.counts["all"] == (40, 10)
    assert found.counts["country=KR & camera=old"] == (10, 10)
    assert found.counts["country=JP & camera=new"][1] == 0
    assert sum(n for name, (n, _) in found.counts.items() if name != "all") == 36
    assert (found.n_outside, found.since_us) == (4, None)


def test_only_the_latest_predictions_are_read_and_it_is_said_since_when(db, apply_to):
    serve(apply_to)
    found = read(db, at_most=12)
    assert found.counts["all"][0] == 12
    assert found.since_us == START_US + 28 * SECOND_US


def test_a_tag_that_nobody_sends_has_no_joint_slices(db, apply_to):
    serve(apply_to)
    found = read(db, tags=["country", "nothing"])
    assert set(found.counts) == {"all"}
    assert found.n_outside == 40
    assert read(db, until_us=START_US).counts == {}
