import asyncio
import gzip
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from kafka import KafkaConsumer, TopicPartition

from errata.errors import Unavailable
from errata.events import key_of
from errata.partitioning import partition_of
from errata.settings import Artifacts, Broker, Intake, Settings
from errata.topics import EVENT_TOPICS, ensure_topics
from errata.wire import (
    BATCH_TYPE,
    STRUCTURED_TYPE,
    decode_record,
    encode_batch,
    encode_binary,
    encode_event,
    encode_structured,
    join_batch,
)
from streams.http_intake import Publisher, create_intake
from tests.builders import a_feedback_event, a_prediction_event, a_voc_event
from tests.servers import free_port

EVENTS = [a_prediction_event(1), a_feedback_event(2), a_voc_event(3)]


class FakePublisher:
    """Remembers what was published, or is away."""

    def __init__(self):
        self.events = []
        self.is_away = False

    async def publish(self, events):
        if self.is_away:
            raise Unavailable("away")
        self.events += events


@pytest.fixture
def publisher():
    return FakePublisher()


@pytest.fixture
def ask(publisher, tmp_path):
    """A function that sends one request to the intake and returns its answer."""
    settings = Settings(
        artifacts=Artifacts(directory=str(tmp_path)), intake=Intake(event_bytes=20_000, batch_bytes=50_000)
    )
    app = create_intake(settings, publisher.publish)

    def ask_once(method, path, **given):
        async def send():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://intake") as client:
                return await client.request(method, path, **given)

        return asyncio.run(send())

    return ask_once


@pytest.fixture
def post(ask):
    def post_one(content, content_type=STRUCTURED_TYPE, **headers):
        named = {"content-type": content_type} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        return ask("POST", "/v1/events", content=content, headers=named)

    return post_one


def reasons(answer):
    return [(each["position"], each["reason"]) for each in answer.json()["refused"]]


@pytest.mark.parametrize("event", EVENTS)
def test_a_structured_event_is_taken(post, publisher, event):
    answer = post(encode_structured(event)[1])
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "ids": [event.id]})
    assert publisher.events == [event]


@pytest.mark.parametrize("event", EVENTS)
def test_a_binary_event_is_taken(ask, publisher, event):
    headers, value = encode_binary(event)
    named = {name.replace("ce_", "ce-"): text for name, text in headers}
    assert ask("POST", "/v1/events", content=value, headers=named).status_code == 202
    assert publisher.events == [event]


def test_attributes_of_a_binary_event_are_percent_encoded(post, publisher):
    headers, value = encode_binary(EVENTS[0])
    named = {name: text.decode() for name, text in headers if name.startswith("ce_")}
    post(value, "application/json; charset=utf-8", **named | {"ce_source": "shop/%EC%B9%B4%EB%93%9C"})
    assert publisher.events[0].source == "shop/카드"


def test_a_batch_is_taken_in_order(post, publisher):
    answer = post(encode_batch(EVENTS)[1], BATCH_TYPE)
    assert answer.json() == {"accepted": 3, "ids": [event.id for event in EVENTS]}
    assert publisher.events == EVENTS


def test_a_gzipped_body_is_taken(post, publisher):
    assert (
        post(gzip.compress(encode_batch(EVENTS)[1]), BATCH_TYPE, content_encoding="gzip").status_code == 202
    )
    assert publisher.events == EVENTS


def test_what_a_customer_wrote_is_masked_before_it_is_published(post, publisher):
    post(encode_event(a_voc_event(text="010-1234-5678")))
    assert publisher.events[0].data.text == "[phone]"


def test_one_bad_event_refuses_the_whole_batch(post, publisher):
    good = encode_event(EVENTS[0])
    bad = good.replace(b'"confidence":0.9', b'"confidence":9')
    answer = post(join_batch([good, bad, b"1"]), BATCH_TYPE)
    assert answer.status_code == 422
    assert reasons(answer) == [(1, "wrong_type"), (2, "wrong_type")]
    assert "confidence" in answer.json()["refused"][0]["detail"]
    assert answer.json()["accepted"] == 0
    assert publisher.events == []


@pytest.mark.parametrize(
    ("content", "content_type", "status", "reason"),
    [
        (b"{", STRUCTURED_TYPE, 400, "broken_json"),
        (b"", STRUCTURED_TYPE, 400, "empty_record"),
        (b"[NaN", BATCH_TYPE, 400, "broken_json"),
        (b"{}", "text/plain", 415, "wrong_content_type"),
        (b"{}", "application/cloudevents+xml", 415, "wrong_content_type"),
        (b"{}", "application/json", 422, "missing_attribute"),
        (b'"' + b"x" * 20_000 + b'"', STRUCTURED_TYPE, 413, "too_large"),
        (b"[" + b" " * 50_000 + b"]", BATCH_TYPE, 413, "too_large"),
    ],
)
def test_a_request_is_refused_with_its_status_and_reason(
    post, publisher, content, content_type, status, reason
):
    answer = post(content, content_type)
    assert answer.status_code == status
    assert reasons(answer) == [(0, reason)]
    assert publisher.events == []


def test_a_gzip_bomb_is_refused_before_it_goes_off(post):
    assert post(gzip.compress(b" " * 100_000_000), BATCH_TYPE, content_encoding="gzip").status_code == 413


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"[]")[:-3], gzip.compress(b"[]") + b"more"])
def test_a_broken_gzip_body_is_refused(post, content):
    assert post(content, BATCH_TYPE, content_encoding="gzip").status_code == 400


def test_another_encoding_is_refused(post):
    assert post(b"[]", BATCH_TYPE, content_encoding="br").status_code == 415


def test_many_refusals_are_counted_and_some_told(post):
    answer = post(join_batch([b"1"] * 5000), BATCH_TYPE).json()
    assert (answer["n_refused"], len(answer["refused"])) == (5000, 100)


def test_without_the_broker_the_sender_is_asked_to_come_back(post, publisher):
    publisher.is_away = True
    answer = post(encode_event(EVENTS[0]))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_it_says_that_it_is_well(ask):
    assert ask("GET", "/healthz").status_code == 200
    assert ask("GET", "/v1/events").status_code == 405


def test_the_champion_of_a_model_is_served(ask, tmp_path):
    (tmp_path / "intent" / "ko").mkdir(parents=True)
    (tmp_path / "intent" / "ko" / "champion.json").write_text('{"version": "2"}')
    for name in ("intent/ko", "intent%2Fko"):
        answer = ask("GET", f"/v1/models/{name}/champion")
        assert (answer.status_code, answer.json()) == (200, {"version": "2"})
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "name",
    [
        "none",
        "..%2Fsecret",
        "a/..%2F..%2Fsecret",
        "%2Fetc",
        "a%2F..%2F..%2Fsecret",
        ".hidden",
        "a%00",
        "a%0A",
    ],
)
def test_no_other_file_is_served(ask, tmp_path, name):
    secret = tmp_path.parent / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "champion.json").write_text("secret")
    (tmp_path / "a").mkdir()
    answer = ask("GET", f"/v1/models/{name}/champion")
    assert answer.status_code == 404
    assert "secret" not in answer.text


# --- The real broker ----------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(publisher):
    try:
        yield publisher
    finally:
        await publisher.close()


def test_events_are_in_their_partitions_when_publishing_returns(broker):
    ensure_topics(Broker(bootstrap=broker))
    events = [a_prediction_event(number, session="http-intake") for number in range(11, 1011)] + EVENTS[1:]

    async def publish():
        async with opened(Publisher(Broker(bootstrap=broker))) as publisher:
            await publisher.publish(events)
            await publisher.publish([])

    asyncio.run(publish())
    consumer = KafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest", enable_auto_commit=False)
    n_partitions = len(consumer.partitions_for_topic(EVENT_TOPICS[0]))
    consumer.assign([TopicPartition(topic, each) for topic in EVENT_TOPICS for each in range(n_partitions)])
    consumer.seek_to_beginning()
    found = set()
    for _ in range(50):
        for place, records in consumer.poll(timeout_ms=200).items():
            for record in records:
                for _, event in decode_record(record.headers, record.value).events:
                    if event in events:
                        assert place.partition == partition_of(key_of(event), n_partitions)
                        found.add(event.id)
        if len(found) == len(events):
            break
    consumer.close()
    assert found == {event.id for event in events}


def test_a_broker_that_is_away_is_unavailable_and_is_found_when_it_comes(fresh_broker):
    away = Broker(bootstrap=f"127.0.0.1:{free_port()}")

    async def publish(broker):
        async with opened(Publisher(broker)) as publisher:
            await publisher.publish(EVENTS)

    with pytest.raises(Unavailable):
        asyncio.run(publish(away))
    there = Broker(bootstrap=fresh_broker)
    ensure_topics(there)
    asyncio.run(publish(there))


def test_the_answer_lists_json_that_a_person_can_read(post):
    assert json.loads(post(b"{").text)["refused"][0]["detail"]
