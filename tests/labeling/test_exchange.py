"""Batches leave for Label Studio and come back whole, or are refused whole."""

import json
import xml.etree.ElementTree as ET

import pytest

from errata.errors import Malformed, SettingsError
from errata.settings import Model, Settings, Task
from labeling.exchange import export_batch, export_label_config, import_batch
from labeling.orders import order_batch
from storage import batches
from storage.batches import get_batch, read_items
from storage.errors import Conflict, NotFound
from storage.intake import apply
from storage.tables import predictions
from tests.builders import START_US, a_feedback_event, a_prediction_event, an_arrival
from tests.records import MODEL, make_batch, make_item, number_id

SETTINGS = Settings(models={MODEL: Model(task=Task(kind="text"))})
BATCH = number_id(900)


@pytest.fixture
def ordered(db):
    """Three predictions, one of them corrected by its user, in a batch that is ordered."""
    events = [a_prediction_event(number, input=f"card {number}", output="SHOWN") for number in (1, 2, 3)] + [
        a_feedback_event(prediction=2, corrected="CORRECTED")
    ]
    apply(
        db, an_arrival(events), models=SETTINGS.models, slice_values_per_hour=9, worker="w", now_us=START_US
    )
    with db.write() as c:
        batches.create_batch(c, make_batch(900), [make_item(number) for number in (1, 2, 3)])
    order_batch(db, BATCH, "A test.", START_US + 1, lambda _now_us: number_id(901))
    return BATCH


def answer(task, text, **given):
    """A task as Label Studio exports it after a person answered."""
    result = [{"from_name": "label", "to_name": "input", "type": "textarea", "value": {"text": [text]}}]
    annotation = {
        "completed_by": {"email": "kim@vendor.example"},
        "was_cancelled": False,
        "created_at": "2026-11-23T06:30:00Z",
        "result": result,
    }
    return task | {"annotations": [annotation | given]}


def labels_of(db):
    with db.read() as c:
        return {
            item.prediction_id: item.label for item in read_items(c, BATCH) if item.labeled_us is not None
        }


def test_what_is_exported_and_answered_comes_back_as_labels(db, ordered):
    tasks = export_batch(db, ordered)
    assert {task["data"]["input"] for task in tasks} == {"card 1", "card 2", "card 3"}
    done = [answer(task, f"label of {task['data']['input']}") for task in tasks]
    batch = import_batch(db, SETTINGS, ordered, json.dumps(done), START_US + 2)
    assert (batch.status, batch.n_labelled) == ("delivered", 3)
    assert labels_of(db) == {number_id(number): f"label of card {number}" for number in (1, 2, 3)}


def test_nobody_who_labels_sees_what_the_model_or_the_user_said(db, ordered):
    written = json.dumps(export_batch(db, ordered)) + export_label_config(db, SETTINGS, ordered)
    assert "SHOWN" not in written
    assert "CORRECTED" not in written


def test_the_screen_is_valid_and_shows_the_input(db, ordered):
    view = ET.fromstring(export_label_config(db, SETTINGS, ordered))
    assert view.find("Text").get("value") == "$input"


def test_a_screen_from_the_settings_is_used_as_it_is(db, ordered):
    given = Settings(models={MODEL: Model(label_config="<View>our own</View>")})
    assert export_label_config(db, given, ordered) == "<View>our own</View>"


def test_a_correction_of_the_labels_replaces_them_until_the_decision(db, ordered):
    tasks = export_batch(db, ordered)
    for text in ("first", "second"):
        import_batch(db, SETTINGS, ordered, json.dumps([answer(task, text) for task in tasks]), START_US + 2)
    assert set(labels_of(db).values()) == {"second"}


@pytest.mark.parametrize("spoil", ["missing", "twice", "foreign", "unanswered"])
def test_an_export_that_is_not_of_this_batch_stores_nothing(db, ordered, spoil):
    done = [answer(task, "x") for task in export_batch(db, ordered)]
    if spoil == "missing":
        done.pop()
    elif spoil == "twice":
        done.append(done[0])
    elif spoil == "foreign":
        done[0]["data"]["ext_id"] = number_id(77)
    else:
        done[0]["annotations"][0]["result"][0]["value"]["text"] = 7
    with pytest.raises(Malformed):
        import_batch(db, SETTINGS, ordered, json.dumps(done), START_US + 2)
    assert labels_of(db) == {}
    with db.read() as c:
        assert get_batch(c, ordered).status == "ordered"


def test_a_task_that_was_skipped_is_flagged_and_counts_as_worked_on(db, ordered):
    tasks = export_batch(db, ordered)
    done = [answer(tasks[0], "", was_cancelled=True, result=[]), *(answer(task, "x") for task in tasks[1:])]
    assert import_batch(db, SETTINGS, ordered, json.dumps(done), START_US + 2).status == "delivered"
    assert list(labels_of(db).values()).count(None) == 1


def test_what_was_erased_meanwhile_is_neither_asked_for_nor_waited_for(db, ordered):
    with db.write() as c:
        c.execute(predictions.delete().where(predictions.c.id == number_id(2)))
    tasks = export_batch(db, ordered)
    assert {task["data"]["input"] for task in tasks} == {"card 1", "card 3"}
    done = json.dumps([answer(task, "x") for task in tasks])
    assert import_batch(db, SETTINGS, ordered, done, START_US + 2).status == "delivered"


def test_a_batch_that_is_unknown_or_not_ordered_is_refused(db, ordered):
    with pytest.raises(NotFound):
        export_batch(db, number_id(5))
    with db.write() as c:
        batches.create_batch(c, make_batch(902), [make_item(1)])
    done = json.dumps([answer(task, "x") for task in export_batch(db, number_id(902))])
    with pytest.raises(Conflict):
        import_batch(db, SETTINGS, number_id(902), done, START_US + 2)


def test_a_model_that_has_left_the_settings_is_named(db, ordered):
    with pytest.raises(SettingsError, match=MODEL):
        export_label_config(db, Settings(), ordered)
