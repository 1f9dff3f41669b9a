import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from errata.events import TYPES, type_of
from errata.schemas import describe_event, describe_topics, write_schemas
from errata.topics import EVENT_TOPICS
from errata.wire import decode_event, encode_event
from tests.errata.strategies import events

SCHEMAS = Path(__file__).parents[2] / "schemas"
EXAMPLES = sorted((SCHEMAS / "examples").glob("*.json"))
VALIDATORS = {name: Draft202012Validator(describe_event(name)) for name in TYPES}


def test_the_committed_files_are_those_of_the_structs(tmp_path):
    for path in write_schemas(tmp_path):
        committed = (SCHEMAS / path.name).read_text(encoding="utf-8")
        assert path.read_text(encoding="utf-8") == committed, "run `python -m errata.schemas`"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_golden_sample_decodes_for_ever_and_fits_its_schema(path):
    raw = path.read_bytes()
    event = decode_event(raw)
    assert path.name.startswith(type_of(event.data))
    VALIDATORS[type_of(event.data)].validate(json.loads(raw))


def test_every_type_has_golden_samples():
    assert {type_of(decode_event(path.read_bytes()).data) for path in EXAMPLES} == set(TYPES)


@settings(max_examples=50)
@given(events)
def test_what_we_write_fits_the_published_schema(event):
    VALIDATORS[type_of(event.data)].validate(json.loads(encode_event(event)))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_misspelt_field_does_not_fit_the_schema(path):
    sample = json.loads(path.read_bytes())
    sample["data"]["confidance"] = 0.5
    with pytest.raises(ValidationError, match="confidance"):
        VALIDATORS[sample["type"]].validate(sample)


def test_every_schema_is_a_schema():
    for name in TYPES:
        Draft202012Validator.check_schema(describe_event(name))


def test_the_asyncapi_document_has_every_topic_and_no_loose_reference():
    document = describe_topics()
    assert tuple(document["channels"]) == EVENT_TOPICS

    def references(node):
        if isinstance(node, dict):
            for name, value in node.items():
                if name == "$ref":
                    yield value
                else:
                    yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for reference in references(document):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
