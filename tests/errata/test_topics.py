import pytest
from kafka import KafkaAdminClient

from errata.errors import Unavailable
from errata.settings import Broker
from errata.topics import (
    EVENT_TOPICS,
    PREDICTIONS,
    TOPICS,
    VOC,
    ensure_topics,
    kafka_options,
    read_topic_ids,
    remove_members,
)
from tests.servers import free_port


def partition_counts(bootstrap: str) -> dict[str, int]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        return {each["name"]: len(each["partitions"]) for each in admin.describe_topics()}
    finally:
        admin.close()


def test_missing_topics_are_created_and_existing_ones_stay_as_they_are(fresh_broker):
    ensure_topics(Broker(bootstrap=fresh_broker, partitions=3))
    ensure_topics(Broker(bootstrap=fresh_broker, partitions=5))
    assert partition_counts(fresh_broker) == dict.fromkeys(TOPICS, 3)


def test_a_topic_that_is_created_again_has_another_id(fresh_broker):
    settings = Broker(bootstrap=fresh_broker)
    ensure_topics(settings)
    before = read_topic_ids(settings, EVENT_TOPICS)
    assert set(before) == set(EVENT_TOPICS)
    assert len(set(before.values())) == len(EVENT_TOPICS)
    admin = KafkaAdminClient(bootstrap_servers=fresh_broker)
    admin.delete_topics([VOC])
    admin.close()
    ensure_topics(settings)
    after = read_topic_ids(settings, EVENT_TOPICS)
    assert after[PREDICTIONS] == before[PREDICTIONS]
    assert after[VOC] != before[VOC]


@pytest.mark.parametrize(
    "ask",
    [
        ensure_topics,
        lambda broker, **more: read_topic_ids(broker, EVENT_TOPICS, **more),
        lambda broker, **more: remove_members(broker, "group", ["member"], "a test", **more),
    ],
)
def test_a_broker_that_does_not_answer_is_unavailable(ask):
    bootstrap = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match=bootstrap):
        ask(Broker(bootstrap=bootstrap), timeout_seconds=0.3)


def test_options_hold_credentials_only_with_tls():
    broker = Broker(security_protocol="SASL_SSL", username="errata", password="secret", ca_file="/ca.pem")
    assert kafka_options(broker) == {
        "bootstrap_servers": ["127.0.0.1:9092"],
        "security_protocol": "SASL_SSL",
        "ssl_cafile": "/ca.pem",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "errata",
        "sasl_plain_password": "secret",
    }
    assert kafka_options(Broker(bootstrap="one:9092, two:9092")) == {
        "bootstrap_servers": ["one:9092", "two:9092"],
        "security_protocol": "PLAINTEXT",
    }


def test_who_is_not_in_a_group_cannot_be_removed_from_it(fresh_broker):
    settings = Broker(bootstrap=fresh_broker)
    ensure_topics(settings)
    assert not remove_members(settings, "group", ["nobody", "nobody else"], "a test")
