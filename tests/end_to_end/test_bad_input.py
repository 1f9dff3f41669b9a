"""Whatever services send, through real Kafka, Faust and database: the bad is set aside one by one, the good is counted.

Every bad record is followed by a good one of the same partition, which proves that it harmed nobody.
"""

import json
import os
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import KafkaProducer
from sqlalchemy import Connection, func, select

from errata.command.cli import run
from errata.command.processes import Children, errata_command, wait_until
from errata.settings import Broker, load_settings
from errata.topics import FEEDBACK, PREDICTIONS, ensure_topics
from storage.dead_letters import list_dead_letters
from storage.ledger import read_ledger_summary
from storage.predictions import get_prediction
from storage.tables import predictions
from storage.verify import verify

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PARTITIONS = 2
SETTINGS = """
[broker]
partitions = 2
rebalance_timeout_seconds = 5.0

[worker]
drain_seconds = 2.0
metrics_port = 0

[models.card-reader]
task = { kind = "text" }
"""


def an_event(**given: Any) -> dict[str, Any]:
    """A prediction as a service would write it; None leaves an attribute out."""
    event = {
        "specversion": "1.0",
        "type": "errata.prediction.v1",
        "id": str(uuid.uuid4()),
        "source": "/shop",
        "time": "2026-01-23T06:30:00Z",
        "data": a_reading(),
    } | given
    return {name: value for name, value in event.items() if value is not None}


def a_reading(**given: Any) -> dict[str, Any]:
    return {"model": "card-reader", "version": "1", "output": "4111 1111"} | given


def a_feedback(**given: Any) -> dict[str, Any]:
    return an_event(type="errata.feedback.v1", data={"action": "accept"} | given)


def as_json(event: Any) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def with_output(raw: str) -> bytes:
    """An event whose output is `raw`, which need not be JSON."""
    return as_json(an_event(data=a_reading(output="OUTPUT"))).replace(b'"OUTPUT"', raw.encode())


@dataclass(frozen=True)
class Bad:
    """One bad record: where its refusals are in it, with their reasons, and how many good events it also holds."""

    name: str
    value: bytes | None
    reasons: dict[int, str]
    content_type: str = STRUCTURED
    topic: str = PREDICTIONS
    n_good: int = 0


def bad_one(name: str, value: bytes | None, reason: str, **given: Any) -> Bad:
    return Bad(name, value, {0: reason}, **given)


def corpus() -> list[Bad]:
    good = [as_json(an_event()) for _ in range(3)]
    return [
        bad_one("half an object", as_json(an_event())[:-9], "broken_json"),
        bad_one("no text at all", b"\xff\xfe\x00\x9f\x92\x96", "broken_json"),
        bad_one("no event but a list", b"[1, 2]", "wrong_type"),
        bad_one("a version that is a number", as_json(an_event(data=a_reading(version=1))), "wrong_type"),
        bad_one("tags that are a list", as_json(an_event(data=a_reading(tags=["ios"]))), "wrong_type"),
        bad_one("a confidence of two", as_json(an_event(data=a_reading(confidence=2.0))), "wrong_type"),
        bad_one("a time below zero", as_json(an_event(data=a_reading(latency_ms=-1))), "wrong_type"),
        bad_one("no id", as_json(an_event(id=None)), "missing_id"),
        bad_one("feedback to nothing", as_json(a_feedback()), "missing_id", topic=FEEDBACK),
        bad_one("feedback to no UUID", as_json(a_feedback(prediction_id="7")), "bad_id", topic=FEEDBACK),
        bad_one("an event of 300 KB", with_output(f'"{"x" * 300_000}"'), "too_large"),
        bad_one("a record of 6 MB", with_output(f'"{"x" * 6_000_000}"'), "too_large"),
        bad_one("a model nobody knows", as_json(an_event(data=a_reading(model="newcomer"))), "unknown_model"),
        bad_one("NaN", with_output("NaN"), "not_a_number"),
        bad_one("minus infinity", with_output('{"x": [-Infinity]}'), "not_a_number"),
        bad_one("a NUL", with_output(r'"a\u0000b"'), "nul_character"),
        bad_one("half a character", with_output(r'"\ud83d"'), "lone_surrogate"),
        bad_one("no value", None, "empty_record"),
        bad_one("an empty value", b"", "empty_record"),
        bad_one("5,000 levels", with_output("[" * 5000 + "]" * 5000), "too_deep"),
        bad_one("an integer of 400 digits", with_output("9" * 400), "integer_too_large"),
        bad_one("CloudEvents 0.3", as_json(an_event(specversion="0.3")), "wrong_specversion"),
        bad_one("a time in years", as_json(an_event(time="2099-01-01T00:00:00Z")), "future_time"),
        bad_one("no zone", as_json(an_event(time="2026-01-23T06:30:00")), "bad_time"),
        bad_one("a type nobody knows", as_json(an_event(type="errata.predicton.v1")), "unknown_type"),
        bad_one("an id that is no UUID", as_json(an_event(id="1; DROP TABLE predictions")), "bad_id"),
        bad_one("XML", b"<event/>", "wrong_content_type", content_type="text/xml"),
        bad_one("a batch cut off", b"[" + good[0], "broken_json", content_type=BATCH),
        Bad(
            "a batch with one bad event in the middle",
            b"[" + b",".join([good[0], b'{"specversion": tru}', good[1], b"null", good[2]]) + b"]",
            {1: "broken_json", 3: "wrong_type"},
            BATCH,
            n_good=3,
        ),
    ]


@pytest.fixture
def settings_file(tmp_path):
    file = tmp_path / "errata.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    return file


@pytest.fixture
def environ(fresh_broker, database_url, db, settings_file):
    return {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")} | {
        "ERRATA_SETTINGS": str(settings_file),
        "ERRATA_BROKER__BOOTSTRAP": fresh_broker,
        "ERRATA_DATABASE__URL": database_url,
    }


@pytest.fixture
def children(tmp_path, environ):
    made = Children(tmp_path / "log", environ)
    yield made
    made.stop_all()


def n_events(c: Connection) -> int:
    return sum(each.n for each in read_ledger_summary(c))


def test_every_bad_event_is_set_aside_by_itself(
    fresh_broker, environ, children, db, settings_file, monkeypatch, capsys
):
    ensure_topics(Broker(bootstrap=fresh_broker, partitions=PARTITIONS))
    children.start("worker", errata_command("worker"))
    expected: dict[tuple[str, int, int, int], str] = {}
    neighbours: list[str] = []
    n_sent = 0
    with KafkaProducer(bootstrap_servers=fresh_broker, max_request_size=8_000_000, linger_ms=0) as producer:

        def send(topic: str, partition: int, value: bytes | None, content_type: str) -> int:
            headers = [("content-type", content_type.encode())]
            sent = producer.send(topic, value, key=b"any", headers=headers, partition=partition)
            return int(sent.get(20).offset)

        for place, bad in enumerate(corpus()):
            partition = place % PARTITIONS
            offset = send(bad.topic, partition, bad.value, bad.content_type)
            for position, reason in bad.reasons.items():
                expected[bad.topic, partition, offset, position] = reason
            neighbour = an_event()
            neighbours.append(neighbour["id"])
            send(bad.topic, partition, as_json(neighbour), STRUCTURED)
            n_sent += len(bad.reasons) + bad.n_good + 1
        # The same good event again is neither new nor dead.
        send(PREDICTIONS, 0, as_json(neighbour), STRUCTURED)
        n_sent += 1

    def stored() -> int:
        with db.read() as c:
            return n_events(c)

    wait_until(lambda: stored() >= n_sent, 60, f"{n_sent} events", children)
    settings = load_settings(settings_file, environ)
    n_good = sum(bad.n_good + 1 for bad in corpus())
    with db.read() as c:
        letters = list_dead_letters(c, limit=1000)
        found = {(each.topic, each.partition, each.offset, each.position): each.reason for each in letters}
        assert found == expected
        assert all(each.detail for each in letters)
        assert [get_prediction(c, each).output for each in neighbours] == ["4111 1111"] * len(neighbours)
        assert c.scalar(select(func.count()).select_from(predictions)) == n_good
        ledger = read_ledger_summary(c)
    assert sum(each.n for each in ledger) == n_sent
    assert sum(each.n_new for each in ledger) == n_good
    assert sum(each.n_duplicate for each in ledger) == 1
    assert sum(each.n_dead for each in ledger) == len(expected)
    assert verify(db, settings.models).differences == []

    # What was wrong with one of them is mended: its model becomes known.
    children.stop_one("worker")
    settings_file.write_text(SETTINGS + "[models.newcomer]\n", encoding="utf-8")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    n_broken = len(expected) - 1
    assert run(["dead-letters", "replay"]) == 0
    assert run(["dead-letters", "replay"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"1 dead letters sent again, {n_broken} can't be used yet and stay",
        f"0 dead letters sent again, {n_broken} can't be used yet and stay",
    ]
    children.start("worker-2", errata_command("worker"))
    wait_until(lambda: stored() >= n_sent + 1, 60, "the event that was sent again", children)
    with db.read() as c:
        of_newcomer = select(func.count()).where(predictions.c.model == "newcomer")
        assert c.scalar(of_newcomer) == 1
        assert len(list_dead_letters(c, limit=1000)) == len(expected)
        assert n_events(c) == n_sent + 1
    assert run(["verify"]) == 0
    assert capsys.readouterr().out.endswith("no difference\n")
