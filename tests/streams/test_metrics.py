import urllib.error
import urllib.request

import pytest

from errata.errors import Stop
from streams.metrics import Metrics, MetricsServer
from tests.servers import free_port


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def health():
    return {"is_healthy": True}


@pytest.fixture
def port(health):
    port, metrics = free_port(), Metrics()
    metrics.count_stored("errata.voc", 3, 0.02)
    server = MetricsServer(port, metrics.registry, lambda: health["is_healthy"])
    server.start()
    yield port
    server.stop()


def test_prometheus_gets_the_numbers(port):
    status, text = get(port, "/metrics")
    assert status == 200
    assert 'errata_records_consumed_total{topic="errata.voc"} 3.0' in text
    assert 'errata_storing_seconds_bucket{le="0.025"} 1.0' in text


def test_health_is_a_status(port, health):
    assert get(port, "/healthz")[0] == 200
    health["is_healthy"] = False
    assert get(port, "/healthz")[0] == 503


def test_other_paths_are_named_unknown(port):
    assert get(port, "/") == (404, "there are /metrics and /healthz\n")


def test_a_port_that_is_taken_is_named_with_its_setting(port):
    with pytest.raises(Stop, match=rf"metrics_port {port} can't be used"):
        MetricsServer(port, Metrics().registry, lambda: True)
