import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from errata.errors import Malformed
from errata.settings import Task
from labeling.label_studio import export_tasks, import_annotations, make_label_config
from storage.records import Label, Prediction
from tests.records import make_batch, make_item, make_prediction, number_id

CARD = Task(kind="fields", fields={"number": Task(kind="text"), "expiry": Task()})
TEXT = Task(kind="text")
LABELED_US = 1_795_415_400_500_000


def annotation(*results: dict[str, Any], **given: Any) -> dict[str, Any]:
    """As Label Studio exports it."""
    values = {
        "id": 7,
        "completed_by": {"id": 2, "email": "jane@example.com"},
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-11-23T06:00:00.000000Z",
        "updated_at": "2026-11-23T06:30:00.500000Z",
        "lead_time": 4.2,
    }
    return values | given


def written(text: str, name: str = "label") -> dict[str, Any]:
    return {"from_name": name, "to_name": "input", "type": "textarea", "value": {"text": [text]}}


def chosen(*choices: str, name: str = "label") -> dict[str, Any]:
    return {"from_name": name, "to_name": "input", "type": "choices", "value": {"choices": list(choices)}}


def exported(number: int, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": 100 + number,
        "data": {"input": "…", "ext_id": number_id(number), "batch_id": number_id(9)},
        "meta": {},
        "annotations": list(annotations),
        "drafts": [],
        "predictions": [],
    }


def read(tasks: list[dict[str, Any]], task: Task = TEXT, expected: set[str] | None = None) -> list[Label]:
    ids = {each["data"]["ext_id"] for each in tasks} if expected is None else expected
    return import_annotations(json.dumps(tasks), ids, task)


def secret(number: int) -> Prediction:
    return make_prediction(
        number,
        output="MODEL-SAID",
        corrected="USER-SAID",
        action="edit",
        confidence=0.123,
        input=f"input {number}",
    )


# --- Tasks ---


@pytest.mark.parametrize("part", ["audit", "evaluation", "corrected", "uncertain", "diverse"])
def test_a_task_suggests_no_answer_and_tells_no_reason(part: str) -> None:
    item = make_item(1, part=part, reasons=["A user edited it."])
    text = json.dumps(export_tasks([item], {number_id(1): secret(1)}, make_batch()))
    for hint in ("MODEL-SAID", "USER-SAID", "0.123", "user edited", part):
        assert hint not in text


def test_a_task_carries_input_ids_and_guide() -> None:
    (task,) = export_tasks([make_item(1)], {number_id(1): secret(1)}, make_batch(9))
    assert task == {
        "data": {"input": "input 1", "ext_id": number_id(1), "batch_id": number_id(9)},
        "meta": {"guide": "Write down what is there.", "guide_version": "1"},
    }


def test_the_order_of_tasks_tells_nothing_and_erased_predictions_are_left_out() -> None:
    items = [make_item(3), make_item(1, part="audit"), make_item(2)]
    tasks = export_tasks(items, {number_id(3): secret(3), number_id(1): secret(1)}, make_batch())
    assert [task["data"]["ext_id"] for task in tasks] == [number_id(1), number_id(3)]


def test_an_input_that_is_no_text_is_shown_as_json_and_a_remote_one_by_its_address() -> None:
    predictions = {
        number_id(1): make_prediction(1, input={"제목": [1, 2]}),
        number_id(2): make_prediction(2, input=None, input_uri="https://example.com/2.png"),
    }
    tasks = export_tasks([make_item(1), make_item(2)], predictions, make_batch())
    assert [task["data"]["input"] for task in tasks] == ['{"제목":[1,2]}', "https://example.com/2.png"]


# --- The screen ---


def controls(config: str) -> list[tuple[str, str | None]]:
    return [
        (each.tag, each.get("name"))
        for each in ET.fromstring(config)
        if each.get("name") not in ("input", "flags")
    ]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (TEXT, [("TextArea", "label")]),
        (Task(kind="translation"), [("TextArea", "label")]),
        (Task(kind="number"), [("Number", "label")]),
        (Task(kind="exact"), [("TextArea", "label")]),
        (Task(kind="set"), [("TextArea", "label")]),
        (Task(kind="boxes"), [("TextArea", "label:json")]),
        (Task(kind="fields"), [("TextArea", "label:json")]),
        (
            CARD,
            [("Header", None), ("TextArea", "label.expiry"), ("Header", None), ("TextArea", "label.number")],
        ),
    ],
)
def test_the_screen_follows_the_task(task: Task, expected: list[tuple[str, str | None]]) -> None:
    config = make_label_config(task, [make_prediction(1)])
    assert controls(config) == expected
    assert {each.get("value") for each in ET.fromstring(config).findall("Choices[@name='flags']/Choice")} == {
        "ambiguous",
        "not_in_guide",
        "bad_data",
    }


def test_few_exact_answers_are_choices_and_many_are_written() -> None:
    few = [make_prediction(n, output=["cat", 'dog & "co"'][n % 2]) for n in range(10)]
    many = [make_prediction(n, output=f"answer {n}") for n in range(10)]
    choices = ET.fromstring(make_label_config(Task(), few)).findall("Choices[@name='label']/Choice")
    assert [each.get("value") for each in choices] == ["cat", 'dog & "co"']
    assert controls(make_label_config(Task(), many)) == [("TextArea", "label")]


def test_answers_that_are_no_texts_are_told_apart() -> None:
    mixed = [make_prediction(n, output=[1, "1", True][n % 3]) for n in range(12)]
    config = make_label_config(Task(), mixed)
    choices = ET.fromstring(config).findall("Choices[@name='label:json']/Choice")
    assert [each.get("value") for each in choices] == ['"1"', "1", "true"]
    labels = read(
        [
            exported(n, annotation(chosen(text, name="label:json")))
            for n, text in enumerate(['"1"', "1", "true"])
        ],
        Task(),
    )
    assert [label.label for label in labels] == ["1", 1, True]
    assert [type(label.label) for label in labels] == [str, int, bool]


def test_pictures_are_shown_as_pictures_and_a_given_screen_is_kept() -> None:
    picture = make_prediction(1, input="data:image/png;base64,AAAA")
    assert ET.fromstring(make_label_config(TEXT, [picture]))[0].tag == "Image"
    assert ET.fromstring(make_label_config(TEXT, [picture, make_prediction(2)]))[0].tag == "Text"
    assert make_label_config(TEXT, [picture], given="<View/>") == "<View/>"


# --- What comes back ---


def test_an_annotation_becomes_a_label_with_its_labeler_and_time() -> None:
    assert read([exported(1, annotation(written(" 4111 ")))]) == [
        Label(
            prediction_id=number_id(1),
            label="4111",
            flags=[],
            labeler="jane@example.com",
            labeled_us=LABELED_US,
        )
    ]


def test_fields_come_from_one_control_each() -> None:
    number, expiry = written("4111", "label.number"), written("11/29", "label.expiry")
    (label,) = read([exported(1, annotation(number, expiry, completed_by=3))], CARD)
    assert (label.label, label.labeler) == ({"number": "4111", "expiry": "11/29"}, "3")


def test_each_kind_of_task_has_its_values() -> None:
    number = {"from_name": "label", "type": "number", "value": {"number": 12.5}}
    boxes = '[{"label":"car","x":1,"y":2,"width":3,"height":4}]'
    assert read([exported(1, annotation(number))], Task(kind="number"))[0].label == 12.5
    assert read([exported(1, annotation(chosen("cat")))], Task())[0].label == "cat"
    assert read([exported(1, annotation(written("a\n\n b ")))], Task(kind="set"))[0].label == ["a", "b"]
    assert (
        read([exported(1, annotation(written(boxes, "label:json")))], Task(kind="boxes"))[0].label[0]["x"]
        == 1
    )


def test_skipped_empty_flagged_and_unanswered_tasks_are_told_apart() -> None:
    labels = read(
        [
            exported(1, annotation(was_cancelled=True)),
            exported(2, annotation()),
            exported(3, annotation(chosen("bad_data", "ambiguous", name="flags"), written("4111"))),
            exported(4),
        ]
    )
    assert [(label.prediction_id, label.label, label.flags) for label in labels] == [
        (number_id(1), None, ["skipped"]),
        (number_id(2), None, ["empty"]),
        (number_id(3), None, ["bad_data", "ambiguous"]),
    ]


def test_who_skipped_does_not_contradict_who_answered() -> None:
    (label,) = read([exported(1, annotation(was_cancelled=True), annotation(written("4111")))])
    assert (label.label, label.flags) == ("4111", [])


def test_equal_answers_of_two_labelers_are_one_and_different_ones_are_refused() -> None:
    assert read([exported(1, annotation(written("4111")), annotation(written("4111")))])[0].label == "4111"
    with pytest.raises(Malformed, match=f"{number_id(1)} has different answers"):
        read([exported(1, annotation(written("4111")), annotation(written("4117")))])


def test_unknown_missing_and_doubled_tasks_are_named() -> None:
    tasks = [exported(1), exported(1), exported(2)]
    with pytest.raises(Malformed) as refused:
        read(tasks, expected={number_id(1), number_id(3)})
    assert str(refused.value) == (
        f"twice in the export: {number_id(1)}; not in this batch: {number_id(2)}; "
        f"missing from the export (export all tasks): {number_id(3)}"
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("id,label\n1,x", "not_json"),
        ("{}", "not_an_export"),
        ("[1]", "not_an_export"),
        ('[{"id": 1, "label": "x"}]', "no_ext_id"),
    ],
)
def test_other_files_are_refused_with_a_hint(document: str, reason: str) -> None:
    with pytest.raises(Malformed, match="export") as refused:
        import_annotations(document, set(), TEXT)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("task", "results", "reason"),
    [
        (CARD, [written("4111", "label.number")], "no_label"),
        (TEXT, [written("4111", "other")], "empty"),
        (Task(), [chosen("cat", "dog")], "many_choices"),
        (Task(kind="number"), [written("twelve")], "wrong_type"),
        (
            Task(kind="number"),
            [{"from_name": "label", "type": "number", "value": {"number": None}}],
            "wrong_type",
        ),
        (Task(kind="boxes"), [written("not json", "label:json")], "not_json"),
        (Task(kind="boxes"), [written('[{"x": 1}]', "label:json")], "wrong_type"),
        (TEXT, [{"from_name": "label", "type": "rating", "value": {"rating": 4}}], "unknown_control"),
        (TEXT, [{"from_name": "label", "type": "textarea"}], "no_value"),
    ],
)
def test_answers_that_do_not_fit_the_task_are_refused_by_name(
    task: Task, results: list[dict[str, Any]], reason: str
) -> None:
    tasks = [exported(1, annotation(*results))]
    if reason == "empty":
        assert read(tasks, task)[0].flags == ["empty"]
        return
    with pytest.raises(Malformed, match=number_id(1)) as refused:
        read(tasks, task)
    assert refused.value.reason == reason


@pytest.mark.parametrize("time", [None, "yesterday", "2026-11-23T06:30:00"])
def test_an_annotation_without_a_time_is_refused(time: str | None) -> None:
    with pytest.raises(Malformed, match="no time"):
        read([exported(1, annotation(written("x"), updated_at=time, created_at=time))])


def test_what_was_exported_can_be_imported() -> None:
    items = [make_item(n) for n in range(20)]
    tasks = export_tasks(items, {number_id(n): secret(n) for n in range(20)}, make_batch())
    done = [task | {"annotations": [annotation(written(task["data"]["input"]))]} for task in tasks]
    labels = import_annotations(json.dumps(done), {item.prediction_id for item in items}, TEXT)
    assert [label.label for label in labels] == [f"input {n}" for n in range(20)]
