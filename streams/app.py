"""The Faust app of the stream worker, made by a function: importing this starts and connects nothing."""

import ssl
from typing import Any

import faust
from faust.app import BootStrategy

from errata.settings import Broker, Settings
from errata.topics import EVENT_TOPICS
from streams.agents import Storing, store_runs
from streams.driver import Transport
from streams.metrics import Metrics
from streams.progress import Progress

#: 23 days. Beyond this time without a fetch (the database was down), a consumer leaves its group and never
#: returns.
_MAX_POLL_INTERVAL_SECONDS = 2_000_000.0
_METADATA_AGE_MS = 30_000
_HEARTBEAT_SECONDS = 1.0


class _BootStrategy(BootStrategy):  # type: ignore[misc]
    """Without a producer: nothing is sent by Faust, and it could not start while the broker resets connections."""

    enable_kafka_producer = False


class _App(faust.App):  # type: ignore[misc]
    BootStrategy = _BootStrategy

    def _create_directories(self) -> None:
        """Do nothing: we have no tables, so there is nothing to put into directories."""


def create_app(
    settings: Settings, storing: Storing, metrics: Metrics, progress: Progress, reads: Progress
) -> faust.App:
    """Make the app: one agent for each topic of events, storing by `storing`.

    `reads` is told whenever the broker has answered to a fetch, or none was needed.
    """
    broker, worker = settings.broker, settings.worker
    app = _App(
        worker.group,
        broker=[f"kafka://{server.strip()}" for server in broker.bootstrap.split(",")],
        autodiscover=False,
        origin="streams",
        store="memory://",
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=broker.partitions,
        consumer_auto_offset_reset="earliest",
        # How soon partitions are seen that were added to a topic; 5 minutes unless set.
        consumer_metadata_max_age_ms=_METADATA_AGE_MS,
        broker_max_poll_records=worker.batch_records,
        broker_max_poll_interval=_MAX_POLL_INTERVAL_SECONDS,
        broker_session_timeout=broker.session_timeout_seconds,
        # A rebalance waits until each member has heard of it, which its next heartbeat tells.
        broker_heartbeat_interval=min(broker.session_timeout_seconds / 10, _HEARTBEAT_SECONDS),
        broker_rebalance_timeout=broker.rebalance_timeout_seconds,
        broker_commit_interval=1.0,
        broker_check_crcs=True,
        # Counts runs, not records: fewer would stall fetching, more would only hold memory.
        stream_buffer_maxsize=16,
        stream_wait_empty=True,
        **_security_options(broker),
    )
    app.transport = Transport(
        app,
        read_positions=storing.read_positions,
        read_paused=storing.read_paused,
        bytes_in_flight=worker.bytes_in_flight,
        on_progress=progress.beat,
        on_bytes_in_flight=metrics.set_bytes_in_flight,
        on_answer=reads.beat,
        on_lags=metrics.set_lags,
    )
    for topic in EVENT_TOPICS:
        _add_agent(app, topic, storing)
    return app


def _add_agent(app: faust.App, topic: str, storing: Storing) -> None:
    async def store(stream: Any) -> None:
        stream.enable_acks = False
        await store_runs(stream.events(), app.consumer, storing)

    channel = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    app.agent(channel, name=f"store {topic}", concurrency=1)(store)


def _security_options(broker: Broker) -> dict[str, Any]:
    """Credentials always with TLS: without a context Faust would send them in clear."""
    if broker.security_protocol == "PLAINTEXT":
        return {}
    context = ssl.create_default_context(cafile=broker.ca_file or None)
    if broker.security_protocol == "SSL":
        return {"broker_credentials": faust.SSLCredentials(context)}
    return {
        "broker_credentials": faust.SASLCredentials(
            username=broker.username,
            password=broker.password,
            mechanism=broker.sasl_mechanism,
            ssl_context=context,
        )
    }
