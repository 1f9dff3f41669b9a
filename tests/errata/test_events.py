"""Golden samples: every event that was ever published stays decodable, with all that it says.

A file in golden/ is never changed or removed. A version of an event that gets a field gets a further file.
"""

import json
from pathlib import Path

import msgspec
import pytest

from errata.events import TYPES, type_of
from errata.wire import STRUCTURED_TYPE, Decoded, decode_record, encode_event

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


def decode(file: Path) -> Decoded:
    return decode_record([("content-type", STRUCTURED_TYPE.encode())], file.read_bytes())


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_published_event_is_read_with_all_that_it_says(file: Path) -> None:
    decoded = decode(file)
    assert decoded.refused == []
    [(_, event)] = decoded.events
    assert json.loads(encode_event(event)) == json.loads(file.read_bytes())


@pytest.mark.parametrize("name", TYPES)
def test_the_samples_of_an_event_use_every_field_of_it(name: str) -> None:
    read = [event.data for file in GOLDEN for _, event in decode(file).events if type_of(event.data) == name]
    said = {field for data in read for field in msgspec.to_builtins(data)}
    assert said == {field.name for field in msgspec.structs.fields(TYPES[name])}, "add a file to golden/"
