"""The topics that Errata speaks on, and how its processes reach the broker."""

import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    NoError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    UnknownMemberIdError,
)

from errata.errors import Stop, Unavailable
from errata.settings import Broker

#: Written by services: what their models showed to users. Key: the prediction's id.
PREDICTIONS = "errata.predictions"
#: Written by services, annotators and auditors: what was done to a prediction. Key: the prediction's id.
FEEDBACK = "errata.feedback"
#: Written by services: what customers say. Key: the prediction's id, or the VOC's own.
VOC = "errata.voc"
#: Written by Errata for its trainers: the runs to carry out. Key: the model.
RETRAIN = "errata.retrain"
#: Written by Errata for everyone: drift, a batch that is ready, a version that is released, a partition that is paused.
#: Key: the model, or TOPIC/PARTITION.
SIGNALS = "errata.signals"

#: What Errata itself says: CloudEvents types of RETRAIN (a run is requested) and of SIGNALS (the others).
RUN_REQUESTED = "errata.run.requested.v1"
DRIFT_NOTICED = "errata.drift.noticed.v1"
DATA_SHIFT_NOTICED = "errata.data_shift.noticed.v1"
BATCH_ORDERED = "errata.batch.ordered.v1"
VERSION_RELEASED = "errata.version.released.v1"
INTAKE_PAUSED = "errata.intake.paused.v1"
ALERT_OPENED = "errata.alert.opened.v1"
ALERT_RESOLVED = "errata.alert.resolved.v1"

#: What the stream worker reads. They have equal partition counts, so that a key has one number in all three.
EVENT_TOPICS = (PREDICTIONS, FEEDBACK, VOC)
TOPICS = (*EVENT_TOPICS, RETRAIN, SIGNALS)


def kafka_options(broker: Broker) -> dict[str, Any]:
    """How kafka-python reaches this broker: arguments of its producer, consumer and admin client."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in broker.bootstrap.split(",")],
        "security_protocol": broker.security_protocol,
    }
    if broker.ca_file:
        options["ssl_cafile"] = broker.ca_file
    return options | sasl_options(broker)


def sasl_options(broker: Broker) -> dict[str, Any]:
    """Who we are to this broker, in the words that kafka-python and aiokafka share; nothing without a password."""
    if broker.security_protocol != "SASL_SSL":
        return {}
    return {
        "sasl_mechanism": broker.sasl_mechanism,
        "sasl_plain_username": broker.username,
        "sasl_plain_password": broker.password,
    }


def check_broker(broker: Broker, timeout_seconds: float = 10.0) -> None:
    """Raise Unavailable unless the broker answers a metadata request, Stop when it refuses us."""
    with _admin(broker, timeout_seconds) as admin:
        admin.list_topics()


def ensure_topics(broker: Broker, timeout_seconds: float = 10.0) -> None:
    """Create the topics that are missing; existing ones stay as they are.

    Raises Unavailable when no broker answers, Stop when it refuses us.
    """
    with _admin(broker, timeout_seconds) as admin:
        missing = sorted(set(TOPICS) - set(admin.list_topics()))
        for topic in missing:
            try:
                admin.create_topics(
                    {topic: {"num_partitions": broker.partitions, "replication_factor": broker.replication}}
                )
            except TopicAlreadyExistsError:
                continue  # Another process was faster.


def read_topic_ids(broker: Broker, topics: tuple[str, ...], timeout_seconds: float = 10.0) -> dict[str, str]:
    """Ask for the id of each topic that exists: a topic that is deleted and created again gets another one.

    An id is empty where the broker gives none (before Kafka 2.8). Raises Unavailable when no broker answers.
    """
    with _admin(broker, timeout_seconds) as admin:
        described = admin.describe_topics(list(topics))
    return {
        topic["name"]: _written(topic.get("topic_id")) for topic in described if topic.get("error_code") == 0
    }


def remove_members(
    broker: Broker, group: str, member_ids: Collection[str], reason: str, timeout_seconds: float = 3.0
) -> frozenset[str]:
    """Take members out of a consumer group at once, as if they had left it; return those that still were in it.

    Raises Unavailable when the group's broker does not answer, Stop when it refuses us.
    """
    with _admin(broker, timeout_seconds, request_timeout_ms=int(timeout_seconds * 1000)) as admin:
        told: Mapping[str, type[KafkaError]] = admin.remove_group_members(
            group, [MemberToRemove(member_id=each, reason=reason) for each in member_ids]
        )
        for error in told.values():
            if error not in (NoError, UnknownMemberIdError):
                raise error
    return frozenset(member_id for member_id, error in told.items() if error is NoError)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker has it; a setting is None where the broker does not tell."""

    n_partitions: int
    #: How long records are kept; -1 for ever.
    retention_ms: int | None = None
    cleanup_policy: str | None = None


def describe_topics(
    broker: Broker, topics: tuple[str, ...], timeout_seconds: float = 10.0
) -> dict[str, Topic]:
    """Ask for the topics that exist. Raises Unavailable when no broker answers, Stop when it refuses us."""
    with _admin(broker, timeout_seconds) as admin:
        described = [each for each in admin.describe_topics(list(topics)) if each.get("error_code") == 0]
        resources = [ConfigResource(ConfigResourceType.TOPIC, each["name"]) for each in described]
        told = admin.describe_configs(resources, config_filter="all") if resources else {}
    settings = told.get("topic", {})
    return {each["name"]: _topic_of(each, settings.get(each["name"], {})) for each in described}


def _topic_of(described: Mapping[str, Any], settings: Mapping[str, Any]) -> Topic:
    retention_ms, policy = (
        (settings.get(name) or {}).get("value") for name in ("retention.ms", "cleanup.policy")
    )
    n_partitions = len(described["partitions"])
    return Topic(n_partitions, None if retention_ms is None else int(retention_ms), policy)


def _accepts_connections(server: str, timeout_seconds: float) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_seconds):
            return True
    except OSError:
        return False


def _written(topic_id: Any) -> str:
    return "" if not topic_id or UUID(str(topic_id)).int == 0 else str(topic_id)


@contextmanager
def _admin(broker: Broker, timeout_seconds: float, **options: int) -> Iterator[KafkaAdminClient]:
    """Open an admin client for one block, in which the errors of Kafka become Unavailable or Stop."""
    # Seen here first, because kafka-python logs each refused connection as an error, and leaves sockets open.
    if not any(_accepts_connections(server, timeout_seconds) for server in broker.bootstrap.split(",")):
        raise Unavailable(f"no Kafka broker accepts connections at {broker.bootstrap}")
    try:
        admin = KafkaAdminClient(
            **kafka_options(broker), bootstrap_timeout_ms=int(timeout_seconds * 1000), **options
        )
        try:
            yield admin
        finally:
            admin.close()
    except (AuthorizationError, SaslAuthenticationFailedError) as error:
        raise Stop(f"the broker at {broker.bootstrap} refuses us: {error}") from error
    except (KafkaError, OSError) as error:
        raise Unavailable(f"no usable answer from the broker at {broker.bootstrap}: {error}") from error
