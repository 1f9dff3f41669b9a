import asyncio
import ssl
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from faust.types.auth import AuthProtocol, SASLMechanism

from errata.settings import Broker, Settings, Worker
from errata.topics import EVENT_TOPICS
from storage.records import FORMING, Membership
from streams.agents import Storing
from streams.app import create_app
from streams.driver import Transport
from streams.metrics import Metrics
from streams.progress import Progress


@pytest.fixture
def make_app():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def make(**settings):
        metrics, progress = Metrics(), Progress()
        storing = Storing(
            lambda _: False,
            lambda _: {},
            list,
            lambda _: {},
            n_threads=1,
            drain_seconds=1.0,
            metrics=metrics,
            progress=progress,
        )
        return create_app(Settings(**settings), storing, metrics, progress, Progress())

    yield make
    loop.close()
    asyncio.set_event_loop(None)


def test_every_topic_of_events_has_one_agent(make_app):
    app = make_app()
    assert {agent.channel.get_topic_name() for agent in app.agents.values()} == set(EVENT_TOPICS)
    assert [agent.concurrency for agent in app.agents.values()] == [1, 1, 1]


def test_two_apps_share_nothing(make_app):
    assert make_app() is not make_app()


def test_it_uses_our_transport_and_never_leaves_its_group_for_being_slow(make_app):
    app = make_app(worker=Worker(group="a", batch_records=7))
    assert isinstance(app.transport, Transport)
    assert app.conf.id == "a"
    assert app.conf.broker_max_poll_records == 7
    assert app.conf.broker_max_poll_interval >= 7 * 86_400
    assert app.conf.stream_wait_empty
    assert not app.conf.web_enabled


def test_no_producer_is_started_because_none_is_used(make_app):
    assert list(make_app().boot_strategy.kafka_producer()) == []


def test_all_servers_of_the_bootstrap_list_are_used(make_app):
    app = make_app(broker=Broker(bootstrap="one:9092, two:9093"))
    assert [(url.host, url.port) for url in app.transport.url] == [("one", 9092), ("two", 9093)]


def test_credentials_never_travel_without_tls(make_app):
    app = make_app(
        broker=Broker(
            security_protocol="SASL_SSL", username="errata", password="secret", bootstrap="kafka:9092"
        )
    )
    credentials = app.conf.broker_credentials
    assert credentials.protocol == AuthProtocol.SASL_SSL
    assert credentials.mechanism == SASLMechanism.SCRAM_SHA_512
    assert credentials.ssl_context.verify_mode == ssl.CERT_REQUIRED
    assert "secret" not in repr(credentials)


def test_tls_without_credentials_checks_the_broker(make_app):
    credentials = make_app(broker=Broker(security_protocol="SSL")).conf.broker_credentials
    assert credentials.protocol == AuthProtocol.SSL
    assert credentials.context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(("session_seconds", "heartbeat_seconds"), [(6.0, 0.6), (10.0, 1.0), (60.0, 1.0)])
def test_workers_hear_of_a_rebalance_within_a_second(make_app, session_seconds, heartbeat_seconds):
    conf = make_app(broker=Broker(session_timeout_seconds=session_seconds)).conf
    assert (conf.broker_session_timeout, conf.broker_heartbeat_interval) == (
        session_seconds,
        heartbeat_seconds,
    )


def test_before_it_joins_a_worker_is_nobody_in_its_group(make_app):
    transport = make_app().transport
    assert transport.membership() == Membership("", FORMING)
    transport.kafka_consumer = SimpleNamespace(_coordinator=None)
    assert transport.membership() == Membership("", FORMING)


def test_the_generation_counts_while_the_group_is_formed(make_app):
    transport = make_app().transport
    rejoin = Future()
    coordinator = SimpleNamespace(
        member_id="faust-1", generation=3, _rejoin_needed_fut=rejoin, _performed_join_prepare=False
    )
    transport.kafka_consumer = SimpleNamespace(_coordinator=coordinator)
    assert transport.membership() == Membership("faust-1", 3)
    coordinator._performed_join_prepare = True
    assert transport.membership() == Membership("faust-1", FORMING)
    coordinator._performed_join_prepare = False
    rejoin.set_result(None)
    assert transport.membership() == Membership("faust-1", FORMING)
