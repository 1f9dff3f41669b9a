"""What docs/wire.md tells service teams is what the code reads, refuses and answers."""

import asyncio
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from errata import wire
from errata.events import INLINE_BYTES, TYPES, Event, key_of, type_of
from errata.partitioning import topic_of
from errata.settings import Intake, Settings, Worker
from streams.admission import Admission
from streams.http_intake import create_intake
from streams.metrics import IntakeMetrics

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
STRUCTURED = [("content-type", wire.STRUCTURED_TYPE.encode())]


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def decode(example: object) -> Event:
    decoded = wire.decode_record(STRUCTURED, json.dumps(example).encode())
    assert decoded.refused == []
    return decoded.events[0][1]


def test_there_is_an_example_of_every_event() -> None:
    assert [type_of(decode(example).data) for example in EXAMPLES] == list(TYPES)


def test_the_examples_are_of_one_story() -> None:
    shown, *rest = (decode(example) for example in EXAMPLES)
    assert {key_of(event) for event in rest} == {shown.id}
    assert len({shown.id, *(event.id for event in rest)}) == len(EXAMPLES)


def test_every_topic_and_mode_is_named() -> None:
    told = section("By Kafka")
    assert {topic_of(decode(example).data) for example in EXAMPLES} <= set(re.findall(r"`([\w.]+)`", told))
    assert {wire.STRUCTURED_TYPE, wire.BATCH_TYPE, wire.JSON_TYPE} <= set(re.findall(r"`([\w/+-]+)`", told))


def test_what_is_typed_into_the_terminal_is_taken() -> None:
    [command] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    _, _, url, _, header, _, body = shlex.split(command.replace("\\\n", ""))
    published: list[Event] = []

    async def publish(events: Sequence[Event]) -> None:
        published.extend(events)

    async def post() -> httpx.Response:
        open_to_all = Admission(Intake(), None, now_us=lambda: 0, monotonic=lambda: 0.0)
        transport = httpx.ASGITransport(create_intake(Settings(), publish, open_to_all, IntakeMetrics()))
        async with httpx.AsyncClient(transport=transport) as client:
            name, _, value = header.partition(": ")
            return await client.post(url, content=body, headers={name: value})

    answer = asyncio.run(post())
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "ids": [published[0].id]}
    assert url == f"http://localhost:{Intake().port}/v1/events"


def test_every_reason_is_told() -> None:
    told = re.findall(r"^\| `(\w+)` \|", section("What cannot be used"), re.MULTILINE)
    assert wire.__doc__ is not None
    of_the_wire = re.findall(r"^    (\w+_\w+) ", wire.__doc__, re.MULTILINE)
    assert told == [*of_the_wire, "future_time", "unknown_model", "too_late", "database_refused"]


@pytest.mark.parametrize(
    ("told", "limit"),
    [
        ("5 MiB", wire.RECORD_BYTES / 2**20),
        ("5 MiB", Intake().batch_bytes / 2**20),
        ("10,000 events", wire.RECORD_EVENTS),
        ("256 KiB", wire.EVENT_BYTES / 2**10),
        ("256 KiB", Intake().event_bytes / 2**10),
        ("64 KiB", INLINE_BYTES / 2**10),
        ("200;", Worker().slice_values_per_hour),
    ],
)
def test_the_limits_are_those_of_the_code(told: str, limit: float) -> None:
    assert told in section("Limits")
    assert float(re.sub(r"[^\d]", "", told)) == limit
