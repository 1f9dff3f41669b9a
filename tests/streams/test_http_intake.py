import asyncio
import gzip
import json
import logging
import time
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition

from errata.errors import Unavailable
from errata.events import key_of
from errata.partitioning import partition_of
from errata.settings import Artifacts, Broker, Intake, Settings
from errata.topics import EVENT_TOPICS, ensure_topics
from errata.wire import (
    BATCH_TYPE,
    RECORD_EVENTS,
    STRUCTURED_TYPE,
    decode_record,
    encode_batch,
    encode_binary,
    encode_event,
    encode_structured,
    join_batch,
)
from streams.admission import Admission
from streams.api_keys import KeyRing
from streams.http_intake import Publisher, create_intake
from streams.metrics import IntakeMetrics
from tests.builders import START_US, a_feedback_event, a_prediction_event, a_voc_event
from tests.records import make_api_key
from tests.servers import free_port

INTAKE = Intake(
    event_bytes=20_000,
    batch_bytes=50_000,
    events_per_second=10.0,
    burst_events=1_000,
    bytes_per_second=1_000.0,
    burst_bytes=1_000_000,
)
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
def ring():
    """The keys that senders need; none are needed unless a test says so."""
    return


@pytest.fixture
def clock():
    return {"seconds": 0.0}


@pytest.fixture
def metrics():
    return IntakeMetrics()


@pytest.fixture
def ask(publisher, ring, metrics, clock, tmp_path):
    """A function that sends one request to the intake and returns its answer."""
    settings = Settings(artifacts=Artifacts(directory=str(tmp_path)), intake=INTAKE)
    admission = Admission(INTAKE, ring, now_us=lambda: START_US, monotonic=lambda: clock["seconds"])
    app = create_intake(settings, publisher.publish, admission, metrics)

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


def test_a_batch_of_too_many_events_is_refused_however_small_they_are(post):
    answer = post(join_batch([b"1"] * (RECORD_EVENTS + 1)), BATCH_TYPE)
    assert (answer.status_code, reasons(answer)) == (413, [(0, "too_large")])


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


# --- Limits -------------------------------------------------------------------------------------------------


def exhaust(post, **headers):
    """Send bodies until no more are taken; they need not hold anything."""
    for _ in range(25):
        answer = post(b"[" + b" " * 49_990 + b"]", BATCH_TYPE, **headers)
        if answer.status_code == 429:
            return answer
    raise AssertionError("all of it was taken")


def test_who_sends_too_many_bytes_waits_as_long_as_it_is_told(post, clock, metrics):
    answer = exhaust(post)
    assert answer.json()["reason"] == "rate_limited"
    wait = int(answer.headers["retry-after"])
    clock["seconds"] = wait - 2
    assert post(b"[" + b" " * 49_990 + b"]", BATCH_TYPE).status_code == 429
    clock["seconds"] = wait
    assert post(b"[" + b" " * 49_990 + b"]", BATCH_TYPE).status_code == 202
    counted = {"status": "429", "reason": "rate_limited"}
    assert metrics.registry.get_sample_value("errata_intake_answers_total", counted) == 2


def test_bodies_that_are_too_large_count_too(post):
    bomb = gzip.compress(b" " * 100_000)
    answers = [post(bomb, BATCH_TYPE, content_encoding="gzip").status_code for _ in range(25)]
    assert answers == [413] * 20 + [429] * 5


def test_an_announced_length_that_is_too_large_is_refused_and_not_put_off(ask):
    headers = {"content-type": BATCH_TYPE, "content-length": "999999999"}
    assert ask("POST", "/v1/events", content=b" " * 50_001, headers=headers).status_code == 413


def test_what_counts_is_the_size_after_decompression(post):
    body = gzip.compress(b"[" + b" " * 49_990 + b"]")
    assert len(body) < 200
    answers = [post(body, BATCH_TYPE, content_encoding="gzip").status_code for _ in range(25)]
    assert answers == [202] * 20 + [429] * 5


def test_the_body_of_who_has_to_wait_is_not_read(ask, post):
    exhaust(post)

    async def body():
        raise AssertionError("the body was asked for")
        yield b""

    headers = {"content-type": BATCH_TYPE, "content-length": "49992"}
    assert ask("POST", "/v1/events", content=body(), headers=headers).status_code == 429


def test_who_sends_too_many_events_waits_and_none_is_taken(post, publisher):
    events = [a_voc_event(number, text="x") for number in range(150)]
    batch = gzip.compress(encode_batch(events)[1])
    answers = [post(batch, BATCH_TYPE, content_encoding="gzip").status_code for _ in range(8)]
    assert answers == [202] * 6 + [429] * 2
    assert len(publisher.events) == 6 * 150


# --- Keys ---------------------------------------------------------------------------------------------------

KEY, OF_KEY = make_api_key(source="/tests", models=("card-reader",))


def from_elsewhere(event):
    return msgspec.structs.replace(event, source="shop/other")


class FakeKeys:
    """The keys of a database, which may be away."""

    def __init__(self, keys):
        self.keys = keys
        self.is_away = False

    def read(self):
        if self.is_away:
            raise Unavailable("away")
        return self.keys


@pytest.fixture
def keyed(request):
    """Makes senders need a key: KEY is good."""
    ring = KeyRing(FakeKeys([OF_KEY]).read, lambda _: None, outage_seconds=60, monotonic=time.monotonic)
    ring.refresh()
    return ring


class TestWithKeys:
    """Senders need a key."""

    @pytest.fixture
    def ring(self, keyed):
        return keyed

    def test_a_good_key_lets_its_events_in(self, post, publisher):
        events = [
            a_prediction_event(1),
            a_feedback_event(2),
            a_voc_event(3),
        ]
        answer = post(encode_batch(events)[1], BATCH_TYPE, authorization=f"Bearer {KEY}")
        assert answer.status_code == 202
        assert publisher.events == events

    def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(self, post, publisher, metrics):
        wrong = [
            None,
            "",
            KEY,
            f"Basic {KEY}",
            f"Bearer {KEY}x",
            f"Bearer {KEY[:-1]}",
            "Bearer " + KEY[:-1] + ("0" if KEY[-1] != "0" else "1"),
            f"Bearer errata_{'0' * 12}_{'0' * 64}",
            b"Bearer \xff",
        ]
        answers = [
            post(encode_event(EVENTS[0]), **({} if shown is None else {"authorization": shown}))
            for shown in wrong
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
        assert len({answer.text for answer in answers}) == 1
        assert publisher.events == []
        counted = {"status": "401", "reason": "unauthorized"}
        assert metrics.registry.get_sample_value("errata_intake_answers_total", counted) == len(wrong)

    def test_nothing_is_read_of_a_request_without_a_key(self, ask):
        async def body():
            raise AssertionError("the body was asked for")
            yield b""

        assert ask("POST", "/v1/events", content=body()).status_code == 401

    def test_who_fails_too_often_waits_but_a_good_key_is_let_in(self, post, caplog):
        answers = [post(b"{}", authorization="Bearer x") for _ in range(25)]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 5
        assert int(answers[-1].headers["retry-after"]) >= 1
        good = encode_event(a_voc_event(1))
        assert post(good, authorization=f"Bearer {KEY}").status_code == 202

    @pytest.mark.parametrize(
        ("event", "reason", "field"),
        [
            (from_elsewhere(a_prediction_event(1)), "forbidden_source", "`source`"),
            (from_elsewhere(a_feedback_event(1)), "forbidden_source", "`source`"),
            (from_elsewhere(a_voc_event(1)), "forbidden_source", "`source`"),
            (
                a_prediction_event(1, model="translator"),
                "forbidden_model",
                "`data.model`",
            ),
            (a_voc_event(1, model="translator"), "forbidden_model", "`data.model`"),
        ],
        ids=lambda given: given if isinstance(given, str) else type(given.data).__name__,
    )
    def test_what_a_key_is_not_for_is_refused_with_its_field(self, post, publisher, event, reason, field):
        good = a_feedback_event(2)
        answer = post(encode_batch([good, event])[1], BATCH_TYPE, authorization=f"Bearer {KEY}")
        assert answer.status_code == 403
        assert reasons(answer) == [(1, reason)]
        assert field in answer.json()["refused"][0]["detail"]
        assert publisher.events == []

    def test_the_champion_is_told_to_keys_of_the_model_alone(self, ask, tmp_path):
        for model in ("card-reader", "translator"):
            (tmp_path / model).mkdir()
            (tmp_path / model / "champion.json").write_text("{}")
        shown = {"authorization": f"bearer {KEY}"}
        assert ask("GET", "/v1/models/card-reader/champion").status_code == 401
        assert ask("GET", "/v1/models/card-reader/champion", headers=shown).status_code == 200
        assert ask("GET", "/v1/models/translator/champion", headers=shown).status_code == 403

    def test_its_health_is_told_to_everybody(self, ask):
        assert ask("GET", "/healthz").status_code == 200

    def test_no_key_is_in_a_log_or_a_metric(self, post, metrics, caplog):
        caplog.set_level(logging.DEBUG)
        post(b"{}", authorization=f"Bearer {KEY}")
        post(b"{}", authorization=f"Bearer {KEY}x")
        told = caplog.text + repr(list(metrics.registry.collect())) + repr(OF_KEY)
        assert KEY not in told
        assert KEY.rpartition("_")[2] not in told
        assert OF_KEY.hash not in told

    def test_each_key_has_limits_of_its_own(self, post, ring):
        other, of_other = make_api_key(2, source="/tests")
        ring._read_keys = FakeKeys([OF_KEY, of_other]).read
        ring.refresh()
        exhaust(post, authorization=f"Bearer {KEY}")
        assert post(encode_event(EVENTS[0]), authorization=f"Bearer {KEY}").status_code == 429
        assert post(encode_event(EVENTS[0]), authorization=f"Bearer {other}").status_code == 202


class TestWhenKeysCannotBeRead:
    """The database was away when the intake started."""

    @pytest.fixture
    def ring(self):
        keys = FakeKeys([OF_KEY])
        keys.is_away = True
        ring = KeyRing(keys.read, lambda _: None, outage_seconds=60, monotonic=time.monotonic)
        ring.refresh()
        return ring

    def test_the_sender_is_asked_to_come_back(self, post):
        answer = post(encode_event(EVENTS[0]), authorization=f"Bearer {KEY}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


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
