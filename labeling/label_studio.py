"""Label Studio's JSON: tasks to label, the configuration of its screen, and annotations that come back.

Tasks carry what is needed to label and nothing that suggests an answer: neither the model's output nor the
user's correction. What comes back is checked label by label, because the server checks nothing.
"""

import xml.sax.saxutils
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from errata.errors import Malformed
from errata.events import encode_json
from errata.settings import Task
from quality.distances import measure_distance
from storage.records import Batch, BatchItem, Label, Prediction

#: What a labeler says instead of a label.
FLAGS: Final = ("ambiguous", "not_in_guide", "bad_data")
#: Flags that we set: the labeler skipped the task, or submitted it empty.
SKIPPED: Final = "skipped"
EMPTY: Final = "empty"

#: With more different answers than this, labelers write instead of choosing.
MOST_CHOICES: Final = 20

_FLAGS_CONTROL: Final = "flags"
#: Controls are named after this and the path of their field, such as `label.address.street`.
_LABEL_CONTROL: Final = "label"
#: Suffix of a control whose text is JSON, because some answers are no texts.
_JSON_SUFFIX: Final = ":json"


def export_tasks(
    items: Sequence[BatchItem], predictions: Mapping[str, Prediction], batch: Batch
) -> list[dict[str, Any]]:
    """The tasks of a batch in an order that tells nothing, in the form that Label Studio imports.

    Items whose prediction is not in `predictions` (erased since) are left out.
    """
    tasks = []
    for item in sorted(items, key=lambda item: item.prediction_id):
        prediction = predictions.get(item.prediction_id)
        if prediction is not None:
            tasks.append(
                {
                    "data": {
                        "input": _show(prediction.input, prediction.input_uri),
                        "ext_id": item.prediction_id,
                        "batch_id": batch.id,
                    },
                    "meta": {"guide": batch.guide, "guide_version": batch.guide_version},
                }
            )
    return tasks


def make_label_config(task: Task, predictions: Sequence[Prediction], given: str = "") -> str:
    """The configuration of the labeling screen (XML): `given` if there is one, else after the kind of task.

    `predictions` are those of the batch: their inputs decide whether text or a picture is shown, and all
    their outputs together which answers there are to choose from.
    """
    if given:
        return given
    shown = [_show(p.input, p.input_uri) for p in predictions]
    is_picture = bool(shown) and all(
        text.startswith(("data:image/", "http://", "https://")) for text in shown
    )
    source = '<Image name="input" value="$input"/>' if is_picture else '<Text name="input" value="$input"/>'
    choices = _list_choices(task, predictions)
    flags = "".join(f'<Choice value="{flag}"/>' for flag in FLAGS)
    return "\n".join(
        [
            "<View>",
            f"  {source}",
            *(f"  {line}" for line in _controls(task, _LABEL_CONTROL, choices)),
            f'  <Choices name="{_FLAGS_CONTROL}" toName="input" choice="multiple">{flags}</Choices>',
            "</View>",
        ]
    )


def import_annotations(document: bytes | str, expected: Collection[str], task: Task) -> list[Label]:
    """The labels in a JSON export of Label Studio, in the order of prediction ids.

    A task that nobody answered gives none. A skipped task comes as the flag `skipped`, an empty answer as
    `empty`; both have no label, as has a task that the labeler flagged. Raises Malformed, naming the tasks,
    when an id is unknown, missing or there twice, when a task has two different answers, and when an answer
    is not what `task` takes.
    """
    try:
        tasks = msgspec.json.decode(document)
    except msgspec.DecodeError as error:
        raise Malformed("not_json", f"the export is not JSON: {error}; export as JSON, not CSV") from error
    if not isinstance(tasks, list) or not all(isinstance(each, dict) for each in tasks):
        raise Malformed("not_an_export", "the export must be a list of tasks; export as JSON, not JSON_MIN")
    ids = [_read_id(each, place) for place, each in enumerate(tasks)]
    _reconcile(ids, expected)
    labels = [_read_task(each, prediction_id, task) for each, prediction_id in zip(tasks, ids, strict=True)]
    return sorted((label for label in labels if label is not None), key=lambda label: label.prediction_id)


# --- The screen ---------------------------------------------------------------------------------------------


def _show(value: Any, uri: str | None) -> str:
    """An input as one text: Label Studio shows no objects."""
    if value is None:
        return uri or ""
    return value if isinstance(value, str) else encode_json(value).decode()


def _list_choices(task: Task, predictions: Sequence[Prediction]) -> list[Any]:
    """The answers of an `exact` task, if they are few and all are given again and again."""
    if task.kind != "exact":
        return []
    seen = Counter(
        encode_json(answer).decode()
        for p in predictions
        for answer in (p.output, p.corrected)
        if answer is not None
    )
    if not 2 <= len(seen) <= MOST_CHOICES or len(predictions) < 2 * len(seen):
        return []
    return [msgspec.json.decode(answer) for answer in sorted(seen)]


def _controls(task: Task, name: str, choices: Sequence[Any]) -> list[str]:
    if task.kind == "fields" and task.fields:
        return [line for field in sorted(task.fields) for line in _field(task.fields[field], name, field)]
    if task.kind == "number":
        return [f'<Number name={_quote(name)} toName="input"/>']
    if choices:
        return _choices(name, choices)
    # A set is written with one element a line.
    rows = ' rows="6"' if task.kind in ("fields", "set", "boxes") else ""
    name += _JSON_SUFFIX if task.kind in ("fields", "boxes") else ""
    return [f'<TextArea name={_quote(name)} toName="input" maxSubmissions="1"{rows}/>']


def _choices(name: str, choices: Sequence[Any]) -> list[str]:
    """Choices as they are if all are texts, else as JSON, so that 1, "1" and true stay apart."""
    texts = list(choices)
    if not all(isinstance(choice, str) for choice in choices):
        name += _JSON_SUFFIX
        texts = [encode_json(choice).decode() for choice in choices]
    lines = (f"  <Choice value={_quote(text)}/>" for text in texts)
    return [f'<Choices name={_quote(name)} toName="input">', *lines, "</Choices>"]


def _field(task: Task, name: str, field: str) -> list[str]:
    return [f"<Header value={_quote(field)}/>", *_controls(task, f"{name}.{field}", [])]


def _quote(text: str) -> str:
    return xml.sax.saxutils.quoteattr(text)


# --- What comes back ----------------------------------------------------------------------------------------


def _read_id(task: Mapping[str, Any], place: int) -> str:
    data = task.get("data")
    ext_id = data.get("ext_id") if isinstance(data, dict) else None
    if not isinstance(ext_id, str):
        raise Malformed(
            "no_ext_id", f"task {place} of the export has no data.ext_id: export as JSON, not JSON_MIN"
        )
    return ext_id


def _reconcile(ids: Sequence[str], expected: Collection[str]) -> None:
    """Raise Malformed unless `ids` are exactly `expected`."""
    wanted = set(expected)
    complaints = {
        "twice in the export": sorted(name for name, count in Counter(ids).items() if count > 1),
        "not in this batch": sorted(set(ids) - wanted),
        "missing from the export (export all tasks)": sorted(wanted - set(ids)),
    }
    found = [f"{what}: {_enumerate(names)}" for what, names in complaints.items() if names]
    if found:
        raise Malformed("wrong_tasks", "; ".join(found))


def _enumerate(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _read_task(exported: Mapping[str, Any], prediction_id: str, task: Task) -> Label | None:
    annotations = [each for each in exported.get("annotations") or [] if isinstance(each, dict)]
    answers = [_read_annotation(each, prediction_id, task) for each in annotations]
    # Who skipped a task has not contradicted the one who answered it.
    given = [answer for answer in answers if answer.flags != [SKIPPED]] or answers
    if not given:
        return None
    if any((answer.label, answer.flags) != (given[0].label, given[0].flags) for answer in given):
        raise Malformed(
            "two_answers", f"task {prediction_id} has different answers: settle them and export again"
        )
    return max(given, key=lambda answer: answer.labeled_us)


def _read_annotation(annotation: Mapping[str, Any], prediction_id: str, task: Task) -> Label:
    results = [each for each in annotation.get("result") or [] if isinstance(each, dict)]
    flags: list[str] = []
    values: dict[str, Any] = {}
    for result in results:
        name = str(result.get("from_name"))
        value = result.get("value")
        if not isinstance(value, dict):
            raise Malformed("no_value", f"task {prediction_id}: the answer {name} has no value")
        if name == _FLAGS_CONTROL:
            flags += [str(choice) for choice in value.get("choices") or []]
        elif name == _LABEL_CONTROL or name.startswith((_LABEL_CONTROL + ".", _LABEL_CONTROL + _JSON_SUFFIX)):
            values[name] = _read_value(result, value, name, prediction_id)
    label = None
    if annotation.get("was_cancelled"):
        flags = [SKIPPED]
    elif not flags and not values:
        flags = [EMPTY]
    elif not flags:
        label = _assemble(task, values, _LABEL_CONTROL, prediction_id)
        _check(task, label, prediction_id)
    return Label(
        prediction_id=prediction_id,
        label=label,
        flags=flags,
        labeler=_read_labeler(annotation.get("completed_by")),
        labeled_us=_read_time(annotation, prediction_id),
    )


def _read_value(result: Mapping[str, Any], value: Mapping[str, Any], name: str, prediction_id: str) -> Any:
    """What one control says: a text, a number or, for controls of JSON, any JSON."""
    kind = result.get("type")
    if kind == "number":
        return value.get("number")
    texts = value.get("text") if kind == "textarea" else value.get("choices")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Malformed(
            "unknown_control", f"task {prediction_id}: no label can be read from a {kind} named {name}"
        )
    if kind == "choices" and len(texts) != 1:
        raise Malformed("many_choices", f"task {prediction_id} must have one choice, not {len(texts)}")
    text = "\n".join(texts)
    if not name.endswith(_JSON_SUFFIX):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Malformed("not_json", f"task {prediction_id}: {name} is not JSON: {error}") from error


def _assemble(task: Task, values: Mapping[str, Any], name: str, prediction_id: str) -> Any:
    """The label that the controls below `name` make up; raises Malformed when one is missing."""
    if name + _JSON_SUFFIX in values:
        return values[name + _JSON_SUFFIX]
    if task.kind == "fields" and task.fields:
        return {
            field: _assemble(of_field, values, f"{name}.{field}", prediction_id)
            for field, of_field in task.fields.items()
        }
    if name not in values:
        raise Malformed("no_label", f"task {prediction_id} has no {name}: answer it or flag the task")
    value = values[name]
    if not isinstance(value, str):
        return value
    if task.kind == "set":
        return [line.strip() for line in value.splitlines() if line.strip()]
    return value.strip()


def _check(task: Task, label: Any, prediction_id: str) -> None:
    """Raise Malformed where no output of the model could equal the label."""
    try:
        measure_distance(task, label, label)
    except Malformed as error:
        raise Malformed(error.reason, f"task {prediction_id}: the label does not fit: {error}") from error


def _read_labeler(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return None if completed_by is None else str(completed_by)


def _read_time(annotation: Mapping[str, Any], prediction_id: str) -> int:
    written = annotation.get("updated_at") or annotation.get("created_at")
    try:
        moment = datetime.fromisoformat(str(written))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Malformed("no_time", f"task {prediction_id}: {written!r} is no time of an annotation") from None
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
