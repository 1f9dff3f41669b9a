import time

import pytest
from kafka import KafkaConsumer, KafkaProducer

from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.errors import Stop, Unavailable
from tests.servers import free_port


def test_a_local_broker_takes_records_and_gives_them_back(tmp_path):
    port = free_port()
    bootstrap = f"127.0.0.1:{port}"
    process = start_local_broker(port, tmp_path / "broker.log")
    try:
        wait_for_broker(bootstrap, timeout_seconds=20)
        with KafkaProducer(bootstrap_servers=bootstrap) as producer:
            producer.send("errata.voc", b"slow today").get(20)
        consumer = KafkaConsumer("errata.voc", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
        try:
            assert next(iter(consumer)).value == b"slow today"
        finally:
            consumer.close()
    finally:
        stop_local_broker(process)
    assert process.returncode is not None
    assert "listening" in (tmp_path / "broker.log").read_text()


def test_waiting_for_a_broker_that_is_not_there_ends():
    bootstrap, started = f"127.0.0.1:{free_port()}", time.monotonic()
    with pytest.raises(Unavailable, match=f"{bootstrap} within 0.3 s"):
        wait_for_broker(bootstrap, timeout_seconds=0.3)
    assert time.monotonic() - started < 5


def test_a_missing_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "nothing"))
    with pytest.raises(Stop, match="no program for this machine"):
        start_local_broker(free_port(), tmp_path / "broker.log")
