"""Audits tell the truth behind the volunteers, for the predictions that a batch was drawn from."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from errata.identity import new_id
from errata.settings import Mining, Model, Settings, Task
from labeling.orders import deliver, draft_batch, order_batch
from quality.audited_drift import AuditFrame, AuditState
from storage.audits import AuditedError, read_audit_frames, read_audited_error, read_draw
from storage.batches import create_batch, get_batch, put_labels, read_items, set_status
from storage.database import Database
from storage.json_text import to_text
from storage.releases import put_release
from storage.tables import batches
from tests.builders import MINUTE_US, SECOND_US, START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.records import MODEL, make_batch, make_item, make_label, make_release, number_id
from tests.storage.conftest import Apply

TEXT = Task(kind="text")
N = 500
NOW_US = START_US + 20 * MINUTE_US
SETTINGS = Settings(
    models={MODEL: Model(task=TEXT, mining=Mining(quantity=200, audit_share=0.5, evaluation_share=0.2))}
)


def is_wrong(number: int) -> bool:
    """A fifth of the outputs is wrong; those have a low confidence."""
    return number % 5 == 0


def serve(apply_to: Apply) -> None:
    """Of the wrong outputs a quarter is corrected, of the right ones few are accepted, as is one that is wrong."""
    made, given = [], []
    for number in range(N):
        time_us = START_US + number * SECOND_US
        made.append(
            a_prediction_event(
                number,
                time_us=time_us,
                output="4111 1111",
                input={"image": str(number)},
                confidence=0.5 if is_wrong(number) else 0.95,
            )
        )
        action = {0: "edit", 5: "accept", 1: "accept"}.get(number % 20)
        if action:
            given.append(
                a_feedback_event(
                    10_000 + number, prediction=number, action=action, time_us=time_us + SECOND_US
                )
            )
    apply_to(an_arrival([*made, *given]))


def audit(db: Database, now_us: int = NOW_US) -> str:
    """Order a batch of the champion and have all of it labelled, but for one that cannot be read."""
    batch = draft_batch(db, SETTINGS, MODEL, now_us, new_id)
    order_batch(db, batch.id, "For the numbers.", now_us, new_id)
    with db.read() as c:
        items = read_items(c, batch.id)
    unreadable = next(item.prediction_id for item in items if item.part == "audit")
    labels = []
    for item in items:
        number = int(item.prediction_id[-4:], 16)
        label = make_label(number, label="4111 1117" if is_wrong(number) else "4111 1111")
        if item.prediction_id == unreadable:
            label = replace(label, label=None, flags=["bad_data"])
        labels.append(label)
    assert deliver(db, batch.id, labels, now_us).status == "delivered"
    return batch.id


def read(db: Database, version: str = "1", since_us: int = START_US) -> AuditedError:
    with db.read() as c:
        return read_audited_error(c, model=MODEL, version=version, task=TEXT, since_us=since_us)


@pytest.fixture
def served(db: Database, apply_to: Apply) -> Database:
    serve(apply_to)
    with db.write() as c:
        put_release(c, make_release("1"))
    return db


def test_the_audited_error_is_the_truth_where_users_tell_a_part_of_it(served: Database) -> None:
    batch_id = audit(served)
    found = read(served)
    assert found.batch_id == batch_id
    assert found.edited is not None
    assert found.silence_is_consent is not None
    assert found.of_answers is not None
    assert (found.edited.value, found.silence_is_consent.n) == (0.05, N)
    # Users corrected one in three of those that they answered.
    assert found.of_answers.value == pytest.approx(1 / 3)
    assert found.audited is not None
    assert found.audited.rate == pytest.approx(0.2, abs=0.05)
    assert found.audited.low < 0.2 < found.audited.high
    assert found.audited.high - found.audited.low < 0.3
    assert (found.audited.n, found.audited.n_answered, found.n_flagged) == (N, N // 20, 1)
    assert "Taking silence for consent gives 5.0 %" in found.sentence
    assert "too low" in found.sentence
    assert "33.3 %" in found.sentence


def test_confidences_alone_give_an_estimate_without_an_interval(served: Database, apply_to: Apply) -> None:
    audit(served)
    harder = [
        a_prediction_event(20_000 + place, time_us=NOW_US + place, confidence=0.5 if place % 2 else 0.95)
        for place in range(100)
    ]
    apply_to(an_arrival(harder, partition=1))
    found = read(served, since_us=NOW_US).label_free
    assert found is not None
    assert (found.n, found.low, found.high) == (100, None, None)
    assert found.value == pytest.approx(0.5, abs=0.06)


def test_what_came_after_the_batch_and_what_was_ordered_before_it_is_not_spoken_for(
    served: Database, apply_to: Apply
) -> None:
    audit(served)
    second = audit(served, NOW_US + MINUTE_US)
    found = read(served)
    assert found.batch_id == second
    assert found.audited is not None
    assert found.audited.n == N - 200


def test_without_a_batch_of_the_version_nothing_was_audited(served: Database) -> None:
    assert "nothing was audited" in read(served).sentence
    audit(served)
    assert "nothing was audited" in read(served, version="2").sentence
    assert read(served, version="2").audited is None


@pytest.mark.parametrize(
    ("policy", "inclusion", "said"),
    [
        (
            {"version": "1", "since_us": 1, "until_us": 2, "n_predictions": 9},
            None,
            "is not known, so they stand",
        ),
        (
            {"version": "1", "since_us": 1, "until_us": 2, "n_predictions": 9, "audit_draw": {"share": 0.1}},
            0.1,
            "its policy has no audit_draw",
        ),
        ({"version": "1"}, 0.1, "its policy has no since_us, until_us, n_predictions, audit_draw"),
    ],
)
def test_where_probabilities_are_not_known_that_is_said_instead_of_a_number(
    served: Database, policy: dict[str, object], inclusion: float | None, said: str
) -> None:
    with served.write() as c:
        items = [make_item(number, part="audit", inclusion=inclusion) for number in range(5)]
        create_batch(c, make_batch(policy=policy), items)
        set_status(c, number_id(1), "ordered", "Go.", NOW_US)
        put_labels(c, number_id(1), [make_label(number, label="4111 1111") for number in range(5)])
        set_status(c, number_id(1), "delivered", "Done.", NOW_US)
    found = read(served)
    assert said in found.sentence
    assert (found.audited, found.silence_is_consent) == (None, None)
    assert frames_of(served, number_id(1)) == []


@pytest.mark.parametrize("audit_draw", ["uniform", "active"])
def test_audits_tell_the_truth_by_their_own_probabilities(served: Database, audit_draw: str) -> None:
    mining = Mining(quantity=250, audit_share=0.8, evaluation_share=0.1, audit_draw=audit_draw)
    batch = draft_batch(
        served, Settings(models={MODEL: Model(task=TEXT, mining=mining)}), MODEL, NOW_US, new_id
    )
    order_batch(served, batch.id, "For the numbers.", NOW_US, new_id)
    with served.read() as c:
        items = read_items(c, batch.id)
    audits = [item for item in items if item.part == "audit"]
    numbers = [int(item.prediction_id[-4:], 16) for item in audits]
    assert len(audits) == 200
    # What was corrected (every twentieth) is wrong as it is.
    assert all(number % 20 for number in numbers)
    if audit_draw == "active":
        # Of those left 15.8 % are in doubt, and are drawn more often than that.
        assert sum(map(is_wrong, numbers)) / len(audits) > 0.2
    labels = [
        make_label(number, label="4111 1117" if is_wrong(number) else "4111 1111")
        for number in (int(item.prediction_id[-4:], 16) for item in items)
    ]
    deliver(served, batch.id, labels, NOW_US)
    found = read(served)
    assert found.audited is not None
    assert found.audited.rate == pytest.approx(0.2, abs=0.03)
    assert found.audited.low < 0.2 < found.audited.high


def test_answers_that_came_after_the_draw_do_not_change_its_probabilities(
    served: Database, apply_to: Apply
) -> None:
    batch_id = audit(served)
    with served.read() as c:
        drawn = [item.inclusion for item in read_items(c, batch_id) if item.part == "audit"]
        before = read_draw(get_batch(c, batch_id))
    assert set(drawn) == {before.n_drawn / sum(before.sizes)}
    # A tenth of all answers only now, right or wrong.
    late = [
        a_feedback_event(
            20_000 + number,
            prediction=number,
            action="edit" if is_wrong(number) else "accept",
            time_us=NOW_US + SECOND_US,
        )
        for number in range(2, N, 10)
    ]
    apply_to(an_arrival(late, partition=1), now_us=NOW_US + MINUTE_US)
    found = read(served)
    assert found.audited is not None
    assert found.audited.rate == pytest.approx(0.2, abs=0.06)
    (frame, accepted_us), *others = frames_of(served, batch_id)
    assert (frame.n, frame.n_new, others, accepted_us) == (N, N, [], NOW_US + 1)
    assert (frame.n_labels + frame.n_unlabelled, frame.n_unlabelled) == (100, 1)
    assert {probability for probability, _ in frame.wrong} == {drawn[0]}
    assert frame.n_wrong_estimated == pytest.approx(100, abs=30)


def test_a_frame_speaks_once_and_only_of_an_accepted_batch_of_all_predictions(served: Database) -> None:
    batch_id = audit(served)
    with served.read() as c:
        assert read_frames(c) == [], "its labels may still be rejected"
    (frame, _) = frames_of(served, batch_id)[0]
    with served.write() as c:
        assert read_frames(c, AuditState(read=(batch_id,), accepted_us=NOW_US)) == []
        covered = read_frames(c, AuditState(covered_us=START_US + 400 * SECOND_US))
        assert covered[0][0].n_new == 100
        assert read_frames(c, since_us=NOW_US + 2) == []
        policy = get_batch(c, batch_id).policy | {"slice": "device=ios"}
        c.execute(batches.update().values(policy=to_text(policy)))
        assert read_frames(c) == []
    assert frame.since_us == START_US


def read_frames(
    c: Connection, after: AuditState | None = None, since_us: int = 0
) -> list[tuple[AuditFrame, int]]:
    return read_audit_frames(
        c, model=MODEL, version="1", task=TEXT, after=after or AuditState(), since_us=since_us
    )


def frames_of(db: Database, batch_id: str) -> list[tuple[AuditFrame, int]]:
    with db.write() as c:
        set_status(c, batch_id, "accepted", "Good.", NOW_US + 1)
        return read_frames(c)


def test_audits_of_a_slice_speak_of_the_slice_alone(served: Database, apply_to: Apply) -> None:
    others = [
        a_prediction_event(30_000 + place, time_us=START_US + place, tags={"device": "android"}, input="x")
        for place in range(100)
    ]
    apply_to(an_arrival(others, partition=1))
    batch_id = audit(served)
    with served.write() as c:
        policy = get_batch(c, batch_id).policy | {"slice": "device=ios"}
        c.execute(batches.update().values(policy=to_text(policy)))
    found = read(served)
    assert found.audited is not None
    assert found.audited.n == N
