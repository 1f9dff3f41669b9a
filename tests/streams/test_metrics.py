import urllib.error
import urllib.request

import pytest

from errata.errors import Stop
from storage.overview import Overview
from storage.pauses import Pause
from storage.records import Applied
from storage.verify_rounds import Place, Round
from streams.driver import FetchedRecord, FetchedRun
from streams.metrics import Health, Metrics, MetricsServer
from tests.servers import free_port

PAUSE = Pause(topic="errata.voc", partition=1, reason="9 of 9 events were dead letters.", paused_us=0)
APPLIED = Applied(
    topic="errata.voc",
    partition=1,
    first_offset=0,
    next_offset=9,
    n_records=9,
    n=9,
    n_new=2,
    n_duplicate=3,
    n_dead=4,
)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def health():
    return {"trouble": None}


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def port(health, metrics):
    port = free_port()
    records = [FetchedRecord(offset, 1000 * offset, None, b"", ()) for offset in (7, 8, 9)]
    metrics.count_stored(FetchedRun("errata.voc", 0, 7, 10, tuple(records), ""), 0.02, now=lambda: 9.0)
    server = MetricsServer(port, metrics.registry, lambda: Health(health["trouble"], metrics.remarks))
    server.start()
    yield port
    server.stop()


def test_prometheus_gets_the_numbers(port):
    status, text = get(port, "/metrics")
    assert status == 200
    assert 'errata_records_consumed_total{topic="errata.voc"} 3.0' in text
    assert 'errata_storing_seconds_bucket{le="0.025"} 1.0' in text
    assert 'errata_event_age_seconds_sum{topic="errata.voc"} 2.0' in text


def test_what_the_database_knows_is_told(port, metrics):
    current = Round(place=Place(), started_us=0, completed_us=5_000_000, n_differences_before=2)
    letters = {"broken_json": 7}
    metrics.set_overview(
        Overview(round=current, dead_letters=letters, n_feedback=8, n_joined=6, paused=[PAUSE])
    )
    metrics.set_lags({("errata.voc", 1): 12})
    metrics.count_events(APPLIED)
    _, text = get(port, "/metrics")
    lines = text.splitlines()
    assert "errata_verify_differences 2.0" in lines
    assert "errata_verify_last_complete_seconds 5.0" in lines
    assert 'errata_dead_letters{reason="broken_json"} 7.0' in lines
    assert "errata_orphans 2.0" in lines
    assert "errata_paused_partitions 1.0" in lines
    assert 'errata_lag_records{partition="1",topic="errata.voc"} 12.0' in lines
    assert 'errata_events_total{outcome="duplicate",topic="errata.voc"} 3.0' in lines
    assert get(port, "/healthz") == (200, f"ok\n{PAUSE.reason}\n")
    assert "errata_join_ratio 0.75" in lines


def test_health_is_a_status(port, health):
    assert get(port, "/healthz") == (200, "ok\n")
    health["trouble"] = "reads stall"
    assert get(port, "/healthz") == (503, "reads stall\n")


def test_other_paths_are_named_unknown(port):
    assert get(port, "/") == (404, "there are /metrics and /healthz\n")


def test_a_port_that_is_taken_is_named_with_its_setting(port):
    with pytest.raises(Stop, match=rf"metrics_port {port} can't be used"):
        MetricsServer(port, Metrics().registry, Health)
