import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from errata.events import Event, Who
from errata.identity import new_id
from errata.settings import Mining, Model, Settings
from labeling.mining import role_of
from labeling.orders import (
    accept_batch,
    collect,
    cost_of,
    deliver,
    draft_batch,
    order_audits,
    order_batch,
    reject_batch,
)
from storage.batches import get_batch, list_batches, read_items
from storage.data_shifts import put_data_shift
from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.examples import count_examples, read_examples
from storage.intake import apply
from storage.outbox import read_unsent
from storage.predictions import get_prediction
from storage.records import BatchItem, DataShift, Label
from storage.releases import put_release, put_version
from storage.runs import get_run, open_run, read_steps
from storage.signals import put_signal
from tests.builders import (
    SECOND_US,
    START_US,
    a_feedback_event,
    a_prediction_event,
    a_voc_event,
    an_arrival,
)
from tests.records import MODEL, make_label, make_release, make_run, make_signal, make_version, number_id

RUN = number_id(9001)
COUNT = 120
#: The last prediction, and long enough after the run was opened.
NOW_US = START_US + 1000 * SECOND_US
MINING = Mining(quantity=40, settle_seconds=60.0, unit_price="0.15", guide="Read the card.")
SETTINGS = Settings(models={MODEL: Model(mining=MINING)})


def said_by(user: str, event: Event) -> Event:
    data = msgspec.structs.replace(event.data, who=Who(id=user))
    return msgspec.structs.replace(event, data=data)


def store_events(db: Database, count: int = COUNT, **given: Any) -> None:
    """`count` predictions a second apart, a quarter of them corrected and one complained about."""
    events = [
        a_prediction_event(
            n,
            time_us=START_US + n * SECOND_US,
            **({"input": f"picture {n}", "tags": {"device": "android" if n % 3 == 0 else "ios"}} | given),
        )
        for n in range(1, count + 1)
    ]
    feedback = [
        said_by(f"user-{n}", a_feedback_event(5000 + n, prediction=n, time_us=START_US + (n + 5) * SECOND_US))
        for n in range(1, count + 1, 4)
    ]
    complaints = [
        a_voc_event(8001, prediction_id=number_id(2), rating=1),
        a_voc_event(8002, prediction_id=number_id(3), rating=10),
    ]
    apply(
        db,
        an_arrival([*events, *feedback, *complaints]),
        models=SETTINGS.models,
        slice_values_per_hour=100,
        worker="test",
        now_us=NOW_US,
    )


def store_run(db: Database, **given: Any) -> None:
    with db.write() as c:
        open_run(c, make_run(9001, **({"opened_us": NOW_US - 120 * SECOND_US} | given)))


def collect_now(db: Database, settings: Settings = SETTINGS, now_us: int = NOW_US) -> list[str]:
    return collect(db, settings, now_us, new_id)


def ordered_batch(db: Database) -> str:
    """The id of a batch that a run waits for."""
    store_events(db)
    store_run(db)
    (batch_id,) = collect_now(db)
    return batch_id


def label_all(db: Database, batch_id: str, flagged: int = 0) -> list[BatchItem]:
    with db.read() as c:
        items = read_items(c, batch_id)
    labels = [
        Label(
            prediction_id=item.prediction_id,
            label=None if place < flagged else f"label {place}",
            flags=["bad_data"] if place < flagged else [],
            labeler="jane",
            labeled_us=NOW_US,
        )
        for place, item in enumerate(items)
    ]
    deliver(db, batch_id, labels, NOW_US + 1)
    return items


def messages(db: Database, topic: str) -> list[dict[str, Any]]:
    with db.read() as c:
        return [
            json.loads(row.data) | {"type": row.type} for row in read_unsent(c, 100) if row.topic == topic
        ]


def test_a_waiting_run_gets_its_batch_ordered_and_everyone_is_told(db: Database) -> None:
    batch_id = ordered_batch(db)
    with db.read() as c:
        batch, items, run, steps = (
            get_batch(c, batch_id),
            read_items(c, batch_id),
            get_run(c, RUN),
            read_steps(c, RUN),
        )
    assert (batch.status, batch.run_id, batch.quantity) == ("ordered", RUN, len(items))
    assert (batch.guide, batch.unit_price, batch.ordered_us) == ("Read the card.", "0.15", NOW_US)
    assert batch.policy["mining"]["quantity"] == 40
    assert (batch.policy["version"], batch.policy["n_predictions"], batch.policy["seed"]) == ("1", COUNT, 7)
    assert (run.status, run.batch_id) == ("waiting", batch_id)
    assert [step.step for step in steps] == ["ordered"]
    assert steps[0].evidence["parts"] == dict(Counter(item.part for item in items))
    (message,) = messages(db, "errata.signals")
    assert (message["type"], message["batch_id"]) == ("errata.batch.ordered.v1", batch_id)


def test_the_complained_and_corrected_are_among_the_reasons(db: Database) -> None:
    batch_id = ordered_batch(db)
    with db.read() as c:
        reasons = {item.prediction_id: item.reasons for item in read_items(c, batch_id)}
    assert any("A user edited it although the model was 90% sure." in each for each in reasons.values())
    complained = {key for key, each in reasons.items() if "A customer complained about it." in each}
    assert complained <= {number_id(2)}, "praise is no complaint"


def test_a_run_is_given_one_batch_only(db: Database) -> None:
    ordered_batch(db)
    assert collect_now(db) == []
    with db.read() as c:
        assert len(list_batches(c)) == 1


def test_a_run_is_not_collected_before_corrections_had_time_to_come(db: Database) -> None:
    store_events(db)
    store_run(db, opened_us=NOW_US - 59 * SECOND_US)
    assert collect_now(db) == []
    assert len(collect_now(db, now_us=NOW_US + SECOND_US)) == 1


def test_nothing_from_before_the_change_is_mined(db: Database) -> None:
    store_events(db)
    change_us = START_US + 100 * SECOND_US
    signal = make_signal(9100, time_us=NOW_US, change_us=change_us, decision="opened", run_id=RUN)
    with db.write() as c:
        put_signal(c, signal)
    store_run(db, signal_id=signal.id)
    (batch_id,) = collect_now(db)
    with db.read() as c:
        mined = {item.prediction_id for item in read_items(c, batch_id)}
        assert get_batch(c, batch_id).policy["n_predictions"] == 21
    assert mined <= {number_id(n) for n in range(100, COUNT + 1)}


def test_a_run_about_a_slice_gets_a_batch_of_that_slice(db: Database) -> None:
    store_events(db)
    signal = make_signal(9100, time_us=NOW_US, slice="device=android", decision="opened", run_id=RUN)
    with db.write() as c:
        put_signal(c, signal)
    store_run(db, signal_id=signal.id)
    (batch_id,) = collect_now(db)
    with db.read() as c:
        batch = get_batch(c, batch_id)
        tags = {get_prediction(c, item.prediction_id).tags["device"] for item in read_items(c, batch_id)}
    assert tags == {"android"}
    assert batch.policy["slice"] == "device=android"
    assert (
        batch.reason
        == f"Run {RUN} waits for it. It is chosen from device=android, where the rate has drifted."
    )


def test_a_run_waits_while_there_are_no_predictions(db: Database) -> None:
    store_run(db)
    assert collect_now(db) == []
    with db.read() as c:
        assert get_run(c, RUN).status == "waiting"


def test_predictions_without_inputs_fail_the_run_with_the_fix(db: Database) -> None:
    store_events(db, input=None)
    store_run(db)
    assert collect_now(db) == []
    with db.read() as c:
        run = get_run(c, RUN)
    assert (run.status, run.decided_us) == ("failed", NOW_US)
    assert "without `input` and `input_uri`" in str(run.verdict_reason)


def test_a_run_of_a_model_without_settings_is_left_alone(db: Database) -> None:
    store_events(db)
    store_run(db)
    assert collect_now(db, Settings()) == []


def test_a_batch_is_delivered_once_every_item_is_answered(db: Database) -> None:
    batch_id = ordered_batch(db)
    with db.read() as c:
        first, *others = read_items(c, batch_id)

    def answer(item: BatchItem) -> Label:
        return replace(make_label(1), prediction_id=item.prediction_id)

    assert deliver(db, batch_id, [answer(item) for item in others], NOW_US).status == "ordered"
    delivered = deliver(db, batch_id, [answer(first)], NOW_US)
    assert (delivered.status, delivered.n_labelled) == ("delivered", delivered.quantity)


def test_accepting_makes_examples_on_the_right_side_and_requests_the_run(db: Database) -> None:
    batch_id = ordered_batch(db)
    items = label_all(db, batch_id, flagged=3)
    accept_batch(db, batch_id, "1 of 50 is defective.", NOW_US + 2, new_id)
    with db.read() as c:
        examples = {example.id: example for example in read_examples(c, model=MODEL)}
        run, steps, batch = get_run(c, RUN), read_steps(c, RUN), get_batch(c, batch_id)
    # Audits leave out what was corrected, and would make errors look rarer to those who judge.
    judging = {item.prediction_id for item in items if role_of(item.group, 30, MODEL) == "evaluation"}
    made = [
        (place, item)
        for place, item in enumerate(items[3:], start=3)
        if item.part != "audit" or item.prediction_id not in judging
    ]
    assert set(examples) == {item.prediction_id for _, item in made} < {item.prediction_id for item in items}
    for place, item in made:
        example = examples[item.prediction_id]
        number = int(item.prediction_id.replace("-", ""), 16)
        assert (example.label, example.input) == (f"label {place}", f"picture {number}")
        assert (example.group, example.part, example.batch_id) == (f"subject-{number}", item.part, batch_id)
        assert example.role == role_of(item.group, 30, MODEL)
        assert (item.part == "evaluation") == (example.role == "evaluation")
    assert (batch.status, batch.reason, run.status) == ("accepted", "1 of 50 is defective.", "requested")
    assert [step.step for step in steps] == ["ordered", "labelled", "requested"]
    assert steps[1].evidence["flags"] == {"bad_data": 3}
    assert steps[1].evidence["training"] + steps[1].evidence["evaluation"] == len(made)
    (request,) = messages(db, "errata.retrain")
    assert request == {"run_id": RUN, "model": MODEL, "type": "errata.run.requested.v1"}


def test_accepting_again_or_too_early_changes_nothing(db: Database) -> None:
    batch_id = ordered_batch(db)
    with pytest.raises(Conflict, match="only a delivered batch"):
        accept_batch(db, batch_id, "Too early.", NOW_US, new_id)
    label_all(db, batch_id)
    accept_batch(db, batch_id, "Good.", NOW_US, new_id)
    with pytest.raises(Conflict, match="is accepted"):
        accept_batch(db, batch_id, "Again.", NOW_US, new_id)
    assert len(messages(db, "errata.retrain")) == 1


def test_a_delivery_of_flags_alone_cannot_be_accepted(db: Database) -> None:
    batch_id = ordered_batch(db)
    label_all(db, batch_id, flagged=10_000)
    with pytest.raises(Conflict, match="no item that became an example"):
        accept_batch(db, batch_id, "Hm.", NOW_US, new_id)
    with db.read() as c:
        assert get_batch(c, batch_id).status == "delivered"


def test_rejecting_fails_the_run_and_frees_the_predictions(db: Database) -> None:
    batch_id = ordered_batch(db)
    label_all(db, batch_id)
    reject_batch(db, batch_id, "9 of 50 are defective.", NOW_US)
    with db.read() as c:
        run = get_run(c, RUN)
        assert count_examples(c, model=MODEL) == {}
        first = {item.prediction_id for item in read_items(c, batch_id)}
    assert run.status == "failed"
    assert run.verdict_reason == f"The labels of batch {batch_id} were rejected: 9 of 50 are defective."
    with db.write() as c:
        open_run(c, make_run(9002, opened_us=NOW_US - 120 * SECOND_US))
    (again,) = collect_now(db)
    with db.read() as c:
        assert first & {item.prediction_id for item in read_items(c, again)}


def test_no_prediction_is_bought_twice(db: Database) -> None:
    batch_id = ordered_batch(db)
    with db.write() as c:
        open_run(c, make_run(9002, opened_us=NOW_US - 120 * SECOND_US))
    (second,) = collect_now(db)
    with db.read() as c:
        first_items = {item.prediction_id for item in read_items(c, batch_id)}
        second_items = {item.prediction_id for item in read_items(c, second)}
        assert get_batch(c, second).policy["n_ordered_before"] == len(first_items)
    assert not first_items & second_items


def test_a_person_drafts_and_orders_a_batch_that_no_run_waits_for(db: Database) -> None:
    store_events(db)
    with db.write() as c:
        put_version(c, make_version("1"))
        put_release(c, make_release("1"))
    batch = draft_batch(db, SETTINGS, MODEL, NOW_US, new_id)
    assert (batch.status, batch.run_id) == ("draft", None)
    assert messages(db, "errata.signals") == []
    assert order_batch(db, batch.id, "For the new season.", NOW_US, new_id).status == "ordered"
    assert len(messages(db, "errata.signals")) == 1
    label_all(db, batch.id)
    accept_batch(db, batch.id, "Good.", NOW_US, new_id)
    assert messages(db, "errata.retrain") == []
    with db.read() as c:
        assert read_examples(c, model=MODEL)


def test_a_draft_needs_a_known_model_with_a_champion_and_predictions(db: Database) -> None:
    with pytest.raises(NotFound, match="nobody"):
        draft_batch(db, SETTINGS, "nobody", NOW_US, new_id)
    with pytest.raises(Conflict, match="no champion"):
        draft_batch(db, SETTINGS, MODEL, NOW_US, new_id)
    with db.write() as c:
        put_version(c, make_version("1"))
        put_release(c, make_release("1"))
    with pytest.raises(Conflict, match="None of the 0 predictions"):
        draft_batch(db, SETTINGS, MODEL, NOW_US, new_id)


def test_the_cost_is_exact(db: Database) -> None:
    batch_id = ordered_batch(db)
    with db.read() as c:
        batch = get_batch(c, batch_id)
    assert cost_of(batch) == batch.quantity * Decimal("0.15")
    assert cost_of(replace(batch, quantity=3, unit_price="0.1")) == Decimal("0.3")


def audits_every(days: float, **given: Any) -> Settings:
    mining = msgspec.structs.replace(MINING, audit_days=days, audit_quantity=20, lookback_seconds=9e6)
    return Settings(models={MODEL: Model(mining=msgspec.structs.replace(mining, **given))})


def note_shift(db: Database, stage: str, number: int = 7) -> None:
    shift = DataShift(
        id=number_id(number),
        model=MODEL,
        version="1",
        watched="confidence",
        time_us=NOW_US + number,
        stage=stage,
        change_us=None,
        n_values=100,
        log_evidence=14.0,
        level=13.8,
        reason="It moved.",
    )
    with db.write() as c:
        put_data_shift(c, shift)


DAY_US = 86_400 * SECOND_US


def test_audits_are_ordered_when_they_are_due_and_one_batch_at_a_time(db: Database) -> None:
    store_events(db)
    with db.write() as c:
        put_release(c, make_release("1", time_us=START_US))
    assert order_audits(db, SETTINGS, START_US + 100 * DAY_US, new_id) == [], "nobody agreed to pay for them"
    settings = audits_every(7)
    assert order_audits(db, settings, START_US + 6 * DAY_US, new_id) == []
    (batch_id,) = order_audits(db, settings, START_US + 7 * DAY_US, new_id)
    with db.read() as c:
        batch, items = get_batch(c, batch_id), read_items(c, batch_id)
    assert (batch.status, batch.quantity, len(items)) == ("ordered", 20, 20)
    assert {item.part for item in items} == {"audit"}
    # A quarter of the 120 were corrected.
    assert {item.inclusion for item in items} == {20 / 90}
    assert batch.reason == f"Audits of {MODEL} 1 are due every 7 days."
    assert order_audits(db, settings, START_US + 90 * DAY_US, new_id) == [], "its labels have not come"
    label_all(db, batch_id)
    accept_batch(db, batch_id, "Good.", START_US + 8 * DAY_US, new_id)
    assert order_audits(db, settings, START_US + 15 * DAY_US, new_id) == [], "nothing was predicted since"


def test_data_drift_brings_audits_sooner(db: Database) -> None:
    store_events(db)
    with db.write() as c:
        put_release(c, make_release("1", time_us=START_US))
    note_shift(db, "moved")
    settings = audits_every(7)
    assert order_audits(db, settings, START_US + 2 * DAY_US, new_id) == []
    assert len(order_audits(db, settings, START_US + 3 * DAY_US, new_id)) == 1


@pytest.mark.parametrize("stage", ["moved", "calm"])
def test_data_drift_raises_the_share_of_audits_and_each_keeps_its_probability(
    db: Database, stage: str
) -> None:
    store_events(db)
    note_shift(db, "moved")
    note_shift(db, stage, number=8)
    store_run(db)
    (batch_id,) = collect_now(db)
    with db.read() as c:
        batch, items = get_batch(c, batch_id), read_items(c, batch_id)
    audits = [item for item in items if item.part == "audit"]
    n = 10 if stage == "moved" else 4
    assert len(audits) == n
    assert {item.inclusion for item in audits} == {n / 90}
    assert batch.policy["audit_draw"]["drawn"] == [n]
    assert ("25% instead of 10%, because what the version is given" in batch.reason) == (stage == "moved")


def test_more_audits_leave_half_of_the_hard_examples(db: Database) -> None:
    store_events(db)
    note_shift(db, "moved")
    store_run(db)
    settings = audits_every(0, audit_share=0.3, evaluation_share=0.3, drift_audit_factor=10.0)
    (batch_id,) = collect_now(db, settings)
    with db.read() as c:
        batch = get_batch(c, batch_id)
    # 35 % were hard examples.
    assert batch.policy["mining"]["audit_share"] == pytest.approx(0.3 + 0.35 / 2)


def test_an_audit_of_a_group_that_judges_becomes_no_example(db: Database) -> None:
    store_events(db, subject=None)
    with db.write() as c:
        put_release(c, make_release("1", time_us=START_US))
    (batch_id,) = order_audits(db, audits_every(7), START_US + 7 * DAY_US, new_id)
    items = label_all(db, batch_id)
    accept_batch(db, batch_id, "Good.", NOW_US + 2, new_id)
    held_out = {item.group for item in items if role_of(item.group, 30, MODEL) == "evaluation"}
    with db.read() as c:
        made = {example.group for example in read_examples(c, model=MODEL)}
    assert held_out
    assert not held_out & made
    assert len(made) == len({item.group for item in items} - held_out)
