"""JSON Schemas and the AsyncAPI document of the wire, generated from the structs of errata/events.py.

`python -m errata.schemas` writes them to `schemas/`. They are closed, so that a sender's typing error is
found; reading is open, so that a sender may be newer than we are.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from errata.events import TYPES
from errata.partitioning import TOPIC_OF
from errata.wire import BATCH_TYPE, JSON_TYPE, STRUCTURED_TYPE

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def write_schemas(directory: Path) -> list[Path]:
    """Write a schema per event type, and `asyncapi.json`, into `directory`; return the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    documents = {f"{name}.json": describe_event(name) for name in TYPES}
    documents["asyncapi.json"] = describe_topics()
    paths = []
    for name, document in documents.items():
        path = directory / name
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def describe_event(name: str) -> dict[str, Any]:
    """The closed JSON Schema of an event of type `name`, in the JSON format of CloudEvents."""
    envelope, definitions = _describe(name, "#/$defs/{name}")
    return {"$schema": _DIALECT, "title": name, **envelope, "$defs": definitions}


def describe_topics() -> dict[str, Any]:
    """The AsyncAPI 3 document: which events travel on which topic, and how."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for name, struct in TYPES.items():
        topic = TOPIC_OF[struct]
        envelope, definitions = _describe(name, "#/components/schemas/{name}")
        schemas |= {**definitions, name: envelope}
        messages[name] = {
            "name": name,
            "contentType": STRUCTURED_TYPE,
            "payload": {"$ref": f"#/components/schemas/{name}"},
            "summary": struct.__doc__,
            "description": (
                f"A record holds one event ({STRUCTURED_TYPE}), an array of them ({BATCH_TYPE}), or the `data` "
                f"alone ({JSON_TYPE}) with the attributes in ce_ headers."
            ),
            "bindings": {
                "kafka": {
                    "key": {"type": "string", "description": "the id of the prediction, or of the event"},
                    "bindingVersion": "0.5.0",
                }
            },
        }
        channels[topic] = {"address": topic, "messages": {name: {"$ref": f"#/components/messages/{name}"}}}
        operations[f"read.{topic}"] = {"action": "receive", "channel": {"$ref": f"#/channels/{topic}"}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Errata",
            "version": "1",
            "description": "What services tell Errata. All topics have equal partition counts and are keyed "
            "by the prediction's id, partitioned as Kafka's own producers do (murmur2).",
        },
        "defaultContentType": STRUCTURED_TYPE,
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _describe(name: str, reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of an event and of the structs in its data, which `reference` points to."""
    (data,), structs = msgspec.json.schema_components([TYPES[name]], ref_template=reference)
    definitions = {struct: _close(schema) for struct, schema in structs.items()}
    envelope = {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "type": {"const": name},
            "id": {"type": "string", "format": "uuid", "description": "version 7 for choice"},
            "source": {
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "description": "the service that sends it",
            },
            "time": {"type": "string", "format": "date-time", "description": "when it happened, with a zone"},
            "datacontenttype": {"const": JSON_TYPE},
            "data": data,
        },
        # Extension attributes of CloudEvents may be there; they are not read.
        "patternProperties": {"^[a-z0-9]{1,20}$": {}},
        "additionalProperties": False,
        "required": ["specversion", "type", "id", "source", "time", "data"],
    }
    return envelope, definitions


def _close(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Forbid what a struct has no field for."""
    return {**schema, "additionalProperties": False}


if __name__ == "__main__":
    for written in write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "schemas")):
        print(written)
