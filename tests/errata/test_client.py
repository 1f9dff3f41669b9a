"""The client with the real broker, without one, and across the life of processes."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from kafka import KafkaConsumer, TopicPartition

from errata.client import Client
from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.events import key_of
from errata.partitioning import partition_of
from errata.settings import Broker, Settings
from errata.topics import EVENT_TOPICS, PREDICTIONS, ensure_topics
from errata.wire import decode_record
from tests.records import number_id
from tests.servers import free_port

PARTITIONS = 4


def read_events(bootstrap, source, n_events, timeout_seconds=30):
    """The events of `source` with topic, partition and record, as soon as `n_events` are there."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer.assign([TopicPartition(topic, each) for topic in EVENT_TOPICS for each in range(PARTITIONS)])
    consumer.seek_to_beginning()
    found = []
    deadline = time.monotonic() + timeout_seconds
    try:
        while len(found) < n_events and time.monotonic() < deadline:
            for place, records in consumer.poll(timeout_ms=200).items():
                for record in records:
                    decoded = decode_record(record.headers, record.value)
                    assert not decoded.refused
                    found += [(*place, record.offset, e) for _, e in decoded.events if e.source == source]
    finally:
        consumer.close()
    return found


@pytest.fixture(scope="module")
def topics(broker):
    ensure_topics(Broker(bootstrap=broker, partitions=PARTITIONS))
    return broker


@pytest.fixture
def away(tmp_path):
    """The address of a broker that is not there, and a function that starts it, with its topics."""
    bootstrap = f"127.0.0.1:{free_port()}"
    started = []

    def start():
        started.append(start_local_broker(int(bootstrap.rpartition(":")[2]), tmp_path / "broker.log"))
        wait_for_broker(bootstrap, 20)
        ensure_topics(Broker(bootstrap=bootstrap, partitions=PARTITIONS))

    yield bootstrap, start
    for process in started:
        stop_local_broker(process)


def predict(client, number):
    return client.prediction(model="m", version="1", output=number, id=number_id(number))


def test_events_arrive_once_in_their_partition_and_share_records(topics):
    with Client(topics, source="once") as client:
        for number in range(1, 2001):
            predict(client, number)
            if number % 10 == 0:
                client.edit(prediction_id=number_id(number), corrected=-number)
        assert client.flush(30)
    found = read_events(topics, "once", 2200)
    assert sorted(e.id for topic, *_, e in found if topic == PREDICTIONS) == [
        number_id(n) for n in range(1, 2001)
    ]
    assert len(found) == 2200
    assert all(partition == partition_of(key_of(e), PARTITIONS) for _, partition, _, e in found)
    assert len({(topic, partition, offset) for topic, partition, offset, _ in found}) < 200
    for partition in range(PARTITIONS):
        outputs = [e.data.output for topic, p, _, e in found if (topic, p) == (PREDICTIONS, partition)]
        assert outputs == sorted(outputs)


def test_a_client_made_from_settings_reaches_the_broker_of_the_settings(topics):
    client = Client.from_settings(Settings(broker=Broker(bootstrap=topics)), "settings", environ={})
    shown = predict(client, 1)
    client.close()
    assert [e.id for *_, e in read_events(topics, "settings", 1)] == [shown]


@pytest.mark.parametrize("value", ["0", "false", "Off", "no"])
def test_the_switch_in_the_environment_turns_it_off(value):
    client = Client.from_settings(Settings(), "off", environ={"ERRATA_ENABLED": value})
    predict(client, 1)
    assert client.counters.as_dict()["queued"] == 0


def test_without_a_broker_the_constructor_and_the_calls_return_at_once(away, tmp_path):
    bootstrap, _ = away
    started = time.perf_counter()
    client = Client(bootstrap, source="away", spool_directory=tmp_path / "spool")
    made_seconds = time.perf_counter() - started
    taken = []
    for number in range(1, 1001):
        before = time.perf_counter()
        predict(client, number)
        taken.append(time.perf_counter() - before)
    assert made_seconds < 0.5
    assert sorted(taken)[500] < 0.001
    assert client.flush(20)
    client.close()


def test_what_was_spooled_is_sent_once_and_in_order_when_the_broker_comes(away, tmp_path):
    bootstrap, start = away
    client = Client(bootstrap, source="spooled", spool_directory=tmp_path / "spool")
    for number in range(1, 1501):
        predict(client, number)
    assert client.flush(20)
    assert client.counters.as_dict()["spooled"] == 1500
    start()
    found = read_events(bootstrap, "spooled", 1500)
    for partition in range(PARTITIONS):
        outputs = [e.data.output for _, p, _, e in found if p == partition]
        assert outputs == sorted(outputs)
    assert sorted(e.data.output for *_, e in found) == list(range(1, 1501))
    predict(client, 1501)
    client.close(10)
    assert client.counters.as_dict() == {
        "queued": 1501,
        "sent": 1501,
        "spooled": 1500,
        "recovered": 1500,
        "torn": 0,
        "spool_failures": 0,
        "dropped": {},
        "invalid": {},
    }
    assert list((tmp_path / "spool").iterdir()) == []
    assert len(read_events(bootstrap, "spooled", 1501)) == 1501


def test_many_threads_may_tell_at_once(topics):
    with Client(topics, source="threads") as client:
        threads = [
            threading.Thread(target=lambda k=k: [predict(client, 1000 * k + n) for n in range(200)])
            for k in range(1, 9)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush(30)
    found = read_events(topics, "threads", 1600)
    assert len(found) == len({e.id for *_, e in found}) == 1600


SERVICE = """
import sys
import time
from pathlib import Path
from errata.client import Client
client = Client(sys.argv[1], source=sys.argv[2], spool_directory=Path(sys.argv[3]), linger_ms=5)
for number in range(1, int(sys.argv[5]) + 1):
    client.prediction(model="m", version="1", output=number)
print("told", client.flush(60), flush=True)
if sys.argv[4] == "wait":
    sys.stdin.read()
while sys.argv[4] == "go on":
    number += 1
    client.prediction(model="m", version="1", output=number)
    if number % 1000 == 0:
        print(client.counters.spooled, flush=True)
        time.sleep(0.001)
"""


def start_service(bootstrap, source, spool, how, n_events=300):
    return subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            SERVICE,
            bootstrap,
            source,
            str(spool),
            how,
            str(n_events),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_service_that_just_ends_has_sent_everything(topics, tmp_path):
    service = start_service(topics, "ended", tmp_path, "end")
    _, errors = service.communicate(timeout=60)
    assert service.returncode == 0
    assert b"Traceback" not in errors
    assert len(read_events(topics, "ended", 300)) == 300


def test_what_a_killed_service_had_spooled_is_sent_by_the_next_one(away, tmp_path):
    bootstrap, start = away
    service = start_service(bootstrap, "killed", tmp_path / "spool", "wait")
    assert service.stdout.readline() == b"told True\n"
    service.send_signal(signal.SIGKILL)
    service.communicate(timeout=60)
    start()
    with Client(bootstrap, source="next", spool_directory=tmp_path / "spool"):
        found = read_events(bootstrap, "killed", 300)
    assert sorted(e.data.output for *_, e in found) == list(range(1, 301))


def outputs_of(found):
    return {e.data.output for *_, e in found}


def test_what_a_service_had_spooled_when_it_was_killed_while_spooling_all_arrives(away, tmp_path):
    bootstrap, start = away
    service = start_service(bootstrap, "spooling", tmp_path / "spool", "go on")
    assert service.stdout.readline() == b"told True\n"
    for _ in range(40):
        n_spooled = int(service.stdout.readline())
    service.send_signal(signal.SIGKILL)
    said, _ = service.communicate(timeout=60)
    n_spooled = max([n_spooled, *map(int, said.split()[:-1])])
    start()
    client = Client(bootstrap, source="next", spool_directory=tmp_path / "spool")
    found = read_events(bootstrap, "spooling", n_spooled, timeout_seconds=60)
    client.close(30)
    found = read_events(bootstrap, "spooling", client.counters.sent)
    assert n_spooled > 10_000
    assert len(outputs_of(found)) == len(found) == client.counters.sent
    assert outputs_of(found) == set(range(1, len(found) + 1)) >= set(range(1, n_spooled + 1))


SENDER_THAT_DIES = """
import os
import signal
import sys
from pathlib import Path
from errata.client import Client
from errata.spool import Spool

n_chunks = int(sys.argv[3])
forget = Spool.forget

def forget_or_die(spool, entries):
    global n_chunks
    n_chunks -= 1
    if n_chunks == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    forget(spool, entries)

Spool.forget = forget_or_die
client = Client(sys.argv[1], source="sender", spool_directory=Path(sys.argv[2]))
signal.pause()
"""


def test_a_service_killed_while_it_sends_its_spool_is_followed_by_one_that_sends_the_rest(away, tmp_path):
    bootstrap, start = away
    # Three chunks. The second sender has sent two of them when it dies, and none of them is let go of.
    n_events = 45_000
    service = start_service(bootstrap, "told", tmp_path / "spool", "wait", n_events)
    assert service.stdout.readline() == b"told True\n"
    service.send_signal(signal.SIGKILL)
    service.communicate(timeout=60)
    start()
    for n_chunks in (1, 2):
        command = [sys.executable, "-c", SENDER_THAT_DIES, bootstrap, str(tmp_path / "spool"), str(n_chunks)]
        assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
        assert list((tmp_path / "spool").iterdir())
    n_seen = len(read_events(bootstrap, "told", 20_000 + 40_000))
    with Client(bootstrap, source="last", spool_directory=tmp_path / "spool") as client:
        deadline = time.monotonic() + 60
        while list((tmp_path / "spool").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert client.counters.as_dict()["torn"] == 0
    assert list((tmp_path / "spool").iterdir()) == []
    found = read_events(bootstrap, "told", n_seen + n_events, timeout_seconds=10)
    assert outputs_of(found) == set(range(1, n_events + 1))
    assert len({e.id for *_, e in found}) == n_events


def test_two_services_with_one_spool_directory_do_not_disturb_each_other(away, tmp_path):
    bootstrap, start = away
    services = [start_service(bootstrap, name, tmp_path / "spool", "wait", 5000) for name in ("one", "two")]
    for service in services:
        assert service.stdout.readline() == b"told True\n"
    start()
    found = {name: read_events(bootstrap, name, 5000, timeout_seconds=60) for name in ("one", "two")}
    for service in services:
        service.communicate(b"", timeout=60)
        assert service.returncode == 0
    for name in found:
        again = read_events(bootstrap, name, 5001, timeout_seconds=2)
        assert len(again) == 5000
        assert outputs_of(again) == set(range(1, 5001))
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_parent_and_forked_child_each_send_their_own_events_once(topics, tmp_path):
    client = Client(topics, source="forked", spool_directory=tmp_path)
    predict(client, 1)
    assert client.flush(20)
    child = os.fork()
    if child == 0:
        predict(client, 2)
        sent = client.flush(20)
        client.close(5)
        os._exit(0 if sent and client.counters.as_dict()["sent"] == 1 else 1)
    predict(client, 3)
    assert client.flush(20)
    _, status = os.waitpid(child, 0)
    client.close()
    assert os.waitstatus_to_exitcode(status) == 0
    assert sorted(e.data.output for *_, e in read_events(topics, "forked", 3)) == [1, 2, 3]
