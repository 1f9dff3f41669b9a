"""`make bench-client`: what a call of the client costs, and how many events a second it gets acknowledged.

Beside it, in the same run and against the same broker, kafka-python's own `send` of the very same bytes, one event a
record. Every call is timed by itself. *Full* is a caller that never pauses; *paced* is one that sleeps between its
calls, as a service that waits for requests does; *steady* is one that offers 200,000 events a second in bursts of 200.
Offered is what was told, acknowledged what all replicas have, dropped what did not fit into the queue meanwhile. What
arrived is counted by reading it back from the broker, by id. The same against a sink (bench/sink.py), which
acknowledges and keeps nothing, tells what the client could do with a broker that costs nothing; what the broker's own
process takes for an event is said beside it.

A pause empties the caches of a processor, and then all code is slow: so `json.dumps` of the same event is timed too.

The last line is one JSON object; `p50_us` and `p99_us` are those of the full load, `paced_` the others.
"""

import argparse
import array
import itertools
import json
import logging
import math
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from errata.client import Client
from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.events import Event, PredictionData
from errata.identity import new_id
from errata.settings import Broker
from errata.topics import PREDICTIONS, ensure_topics
from errata.wire import STRUCTURED_TYPE, encode_event
from tests.servers import free_port

PARTITIONS: Final = 4
#: Events told before anything is timed, so that connections, caches and names are warm.
WARM_UP: Final = 2_000
PACED_PER_S: Final = 1_000
STEADY_PER_S: Final = 200_000
BURST: Final = 200
SECOND: Final = 1_000_000_000

_ids_of = msgspec.json.Decoder(list[msgspec.defstruct("Event", [("id", str)])])  # type: ignore[misc]


def say(text: str) -> None:
    """Tell a person how far it is."""
    print(text, file=sys.stderr, flush=True)


# --- What a service tells -----------------------------------------------------------------------------------


def predictions() -> Iterator[dict[str, Any]]:
    """What a card reader tells of its predictions, again and again: about 300 bytes each on the wire."""
    return itertools.cycle(
        {
            "model": "card-reader",
            "version": "12",
            "output": {"number": f"{4_111_000_000_000_000 + number}"},
            "confidence": number % 1000 / 1000,
            "latency_ms": 20 + number % 500 / 10,
            "tags": {"device": ("ios", "android")[number % 2]},
            "subject": f"customer-{number}",
        }
        for number in range(10_000)
    )


def time_calls(call: Callable[[Any], Any], given: Iterator[Any], seconds: float, pause: float) -> list[int]:
    """Call for so long, and return what each call took, in nanoseconds."""
    taken = array.array("q")
    clock = time.perf_counter_ns
    until = clock() + int(seconds * SECOND)
    now = 0
    while now < until:
        one = next(given)
        before = clock()
        call(one)
        now = clock()
        taken.append(now - before)
        if pause:
            time.sleep(pause)
    return sorted(taken)


def call_for(
    call: Callable[[Any], Any], given: Iterator[Any], seconds: float, per_second: float = math.inf
) -> int:
    """Call for so long, in bursts and at most so often, and return how many calls that were."""
    n_calls = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        if n_calls > elapsed * per_second:
            time.sleep(n_calls / per_second - elapsed)
            continue
        for one in itertools.islice(given, BURST):
            call(one)
        n_calls += BURST
    return n_calls


def percentile_us(taken: list[int], share: float) -> float:
    """The time that this share of the calls does not exceed."""
    return round(taken[min(len(taken) - 1, int(len(taken) * share))] / 1000, 2)


def describe(taken: list[int]) -> dict[str, float]:
    """What is said of timed calls."""
    return {
        "calls": len(taken),
        "p50_us": percentile_us(taken, 0.5),
        "p99_us": percentile_us(taken, 0.99),
        "p999_us": percentile_us(taken, 0.999),
    }


# --- Parts, each in a process of its own --------------------------------------------------------------------


def errata_part(bootstrap: str, source: str, seconds: float, pause: float) -> dict[str, Any]:
    """Errata's client with the broker there."""
    client = Client(bootstrap, source=source)

    def tell(one: dict[str, Any]) -> None:
        client.prediction(**one)

    def sent() -> int:
        client.flush(60)
        return client.counters.sent

    found = run_load(tell, sent, predictions(), seconds, pause)
    if not pause:
        steady = run_throughput(tell, sent, predictions(), seconds, STEADY_PER_S)
        found |= {f"steady_{name}": figure for name, figure in steady.items()}
    client.close()
    counts = client.counters.as_dict()
    return found | {"acknowledged": counts["sent"], "dropped": sum(counts["dropped"].values())}


def run_load(
    call: Callable[[Any], None], sent: Callable[[], int], given: Iterator[Any], seconds: float, pause: float
) -> dict[str, Any]:
    """Warm up, time each call, and with a caller that never pauses see how many are acknowledged a second."""
    for one in itertools.islice(given, WARM_UP):
        call(one)
    sent()
    found: dict[str, Any] = describe(time_calls(call, given, seconds, pause))
    if not pause:
        found |= run_throughput(call, sent, given, seconds, math.inf)
    return found


def run_throughput(
    call: Callable[[Any], None],
    sent: Callable[[], int],
    given: Iterator[Any],
    seconds: float,
    per_second: float,
) -> dict[str, Any]:
    """Offer events for so long, and say how many a second were told and acknowledged, and their processor time."""
    before = sent()
    cpu, started = time.process_time(), time.perf_counter()
    n_offered = call_for(call, given, seconds, per_second)
    offered_seconds = time.perf_counter() - started
    n_sent = sent() - before
    return {
        "offered_per_s": round(n_offered / offered_seconds),
        "events_per_s": round(n_sent / (time.perf_counter() - started)),
        "dropped_ppm": round((n_offered - n_sent) / n_offered * 1_000_000),
        "cpu_us_per_event": round((time.process_time() - cpu) / max(1, n_sent) * 1e6, 2),
    }


def kafka_part(bootstrap: str, source: str, seconds: float, pause: float) -> dict[str, Any]:
    """kafka-python's own `send`, tuned as the client tunes it: same acknowledgement, linger and compression."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=100,
        batch_size=150_000,
        compression_type="gzip",
        max_block_ms=60_000,
    )
    topic = f"bench.{source}"
    headers = [("content-type", STRUCTURED_TYPE.encode())]
    n_called, n_failed = 0, 0

    def count_failure(_: Exception) -> None:
        nonlocal n_failed
        n_failed += 1

    def send(one: tuple[bytes, bytes]) -> None:
        nonlocal n_called
        n_called += 1
        producer.send(topic, key=one[0], value=one[1], headers=headers).add_errback(count_failure)

    def sent() -> int:
        producer.flush(120)
        return n_called - n_failed

    found = run_load(send, sent, encoded(source), seconds, pause)
    producer.close()
    return found | {"acknowledged": n_called - n_failed, "dropped": n_failed}


def json_part(seconds: float, pause: float) -> dict[str, Any]:
    """`json.dumps` of the same events and nothing else: what any call costs here whose code is cold after a pause."""
    return describe(time_calls(json.dumps, predictions(), seconds, pause))


def encoded(source: str) -> Iterator[tuple[bytes, bytes]]:
    """The same events with their keys, encoded beforehand."""
    now_us = time.time_ns() // 1000
    events = [
        Event(id=new_id(now_us), source=source, time_us=now_us, data=PredictionData(**given))
        for given in itertools.islice(predictions(), 10_000)
    ]
    return itertools.cycle([(event.id.encode(), encode_event(event)) for event in events])


def away_part(spool: Path | None, seconds: float) -> dict[str, Any]:
    """A caller that never stops while no broker answers: how much memory it costs."""
    client = Client(f"127.0.0.1:{free_port()}", source="away", spool_directory=spool)
    given = predictions()
    empty = rss_mib()
    samples = []
    for _ in range(10):
        call_for(lambda one: client.prediction(**one), given, seconds / 10)
        samples.append(rss_mib())
    counts = client.counters.as_dict()
    client.close(1)
    return {
        "calls": counts["queued"],
        "rss_growth_mib": round(max(samples) - empty, 1),
        "rss_growth_second_half_mib": round(max(samples[5:]) - max(samples[:5]), 1),
        "dropped": sum(counts["dropped"].values()),
        "spooled": counts["spooled"],
    }


def cpu_seconds(pid: int) -> float:
    """What a process has taken of the processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib() -> float:
    """What of this process is in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024**2


# --- The whole ----------------------------------------------------------------------------------------------


def run_part(name: str, **options: Any) -> dict[str, Any]:
    """Run one part in a process of its own, and return what it found."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.client", "--part", name]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    say(f"{name} {' '.join(str(value) for value in options.values())}")
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say(f"  {found}")
    return found


def count_arrived(bootstrap: str, topic: str, expected: int, *, in_batches: bool) -> int:
    """How many events can be read from a topic: of ours the different ids, of single ones the records."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        check_crcs=False,
        fetch_max_bytes=8 * 1024 * 1024,
    )
    consumer.assign([TopicPartition(topic, each) for each in range(PARTITIONS)])
    consumer.seek_to_beginning()
    ids: set[str] = set()
    n_records = 0
    quiet_since = time.monotonic()
    while max(len(ids), n_records) < expected and time.monotonic() < quiet_since + 10:
        for records in consumer.poll(timeout_ms=200).values():
            quiet_since = time.monotonic()
            if in_batches:
                for record in records:
                    ids.update([event.id for event in _ids_of.decode(record.value)])
            else:
                n_records += len(records)
    consumer.close()
    return max(len(ids), n_records)


def measure_sink(seconds: float) -> dict[str, Any]:
    """The client beside a server that acknowledges and keeps nothing."""
    bootstrap = f"127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "bench.sink",
        bootstrap.rpartition(":")[2],
        str(PARTITIONS),
    ]
    with subprocess.Popen(command) as sink:
        try:
            wait_until_open(bootstrap)
            return run_part("errata", bootstrap=bootstrap, source="sink", seconds=seconds)
        finally:
            sink.kill()


def wait_until_open(bootstrap: str) -> None:
    """Return as soon as a server listens, or raise TimeoutError after 20 seconds."""
    host, _, port = bootstrap.rpartition(":")
    for _ in range(200):
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nothing listens at {bootstrap}")


def measure(bootstrap: str, broker_pid: int, seconds: float, repeats: int) -> dict[str, Any]:
    """All parts, the paired ones in turns; each figure is the median of its repeats."""
    ensure_topics(Broker(bootstrap=bootstrap, partitions=PARTITIONS))
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    topics = [f"bench.kafka-{load}" for load in ("full", "paced")]
    admin.create_topics(
        [NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1) for topic in topics]
    )
    admin.close()
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(repeats):
        for load, pause in (("full", 0.0), ("paced", 1 / PACED_PER_S)):
            for name in ("errata", "kafka", "json"):
                cpu = cpu_seconds(broker_pid)
                part = run_part(
                    name, bootstrap=bootstrap, source=f"{name}-{load}", seconds=seconds, pause=pause
                )
                if "acknowledged" in part:
                    spent = cpu_seconds(broker_pid) - cpu
                    part["broker_cpu_us_per_event"] = round(spent / part["acknowledged"] * 1e6, 2)
                found.setdefault(f"{name}_{load}", []).append(part)
        found.setdefault("errata_sink", []).append(measure_sink(seconds))
    figures = {
        name: {key: statistics.median(p[key] for p in parts) for key in parts[0]}
        for name, parts in found.items()
    }
    acknowledged = sum(
        part["acknowledged"] for name in ("errata_full", "errata_paced") for part in found[name]
    )
    arrived = count_arrived(bootstrap, PREDICTIONS, acknowledged, in_batches=True)
    kafka_acknowledged = sum(part["acknowledged"] for part in found["kafka_full"])
    kafka_arrived = count_arrived(bootstrap, "bench.kafka-full", kafka_acknowledged, in_batches=False)
    return {
        "p50_us": figures["errata_full"]["p50_us"],
        "p99_us": figures["errata_full"]["p99_us"],
        "events_per_s": figures["errata_full"]["events_per_s"],
        "steady_events_per_s": figures["errata_full"]["steady_events_per_s"],
        "steady_dropped_ppm": figures["errata_full"]["steady_dropped_ppm"],
        "sink_events_per_s": figures["errata_sink"]["events_per_s"],
        "sink_steady_events_per_s": figures["errata_sink"]["steady_events_per_s"],
        "cpu_us_per_event": figures["errata_full"]["cpu_us_per_event"],
        "broker_cpu_us_per_event": figures["errata_full"]["broker_cpu_us_per_event"],
        "paced_p50_us": figures["errata_paced"]["p50_us"],
        "paced_p99_us": figures["errata_paced"]["p99_us"],
        "kafka_python_send_p50_us": figures["kafka_full"]["p50_us"],
        "kafka_python_send_p99_us": figures["kafka_full"]["p99_us"],
        "kafka_python_events_per_s": figures["kafka_full"]["events_per_s"],
        "kafka_python_send_paced_p50_us": figures["kafka_paced"]["p50_us"],
        "kafka_python_send_paced_p99_us": figures["kafka_paced"]["p99_us"],
        "dropped": figures["errata_full"]["dropped"],
        "acknowledged": acknowledged,
        "arrived": arrived,
        "kafka_python_acknowledged": kafka_acknowledged,
        "kafka_python_arrived": kafka_arrived,
        "load_average": os.getloadavg()[0],
        **figures,
    }


def main() -> None:
    """Run the benchmark, or with --part one of its parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=["errata", "kafka", "json", "away"])
    parser.add_argument("--bootstrap")
    parser.add_argument("--source")
    parser.add_argument("--spool", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if given.part == "away":
        result = away_part(given.spool, given.seconds)
    elif given.part == "json":
        result = json_part(given.seconds, given.pause)
    elif given.part is not None:
        part = errata_part if given.part == "errata" else kafka_part
        result = part(given.bootstrap, given.source, given.seconds, given.pause)
    else:
        with tempfile.TemporaryDirectory(prefix="errata-bench-") as directory:
            bootstrap = f"127.0.0.1:{free_port()}"
            broker = start_local_broker(int(bootstrap.rpartition(":")[2]), Path(directory) / "broker.log")
            try:
                wait_for_broker(bootstrap, 20)
                result = measure(bootstrap, broker.pid, given.seconds, given.repeats)
            finally:
                stop_local_broker(broker)
            away = run_part("away", seconds=2 * given.seconds)
            spooling = run_part("away", seconds=2 * given.seconds, spool=Path(directory) / "spool")
        result |= {
            "rss_growth_mib_broker_away": away["rss_growth_mib"],
            "rss_growth_mib_broker_away_with_spool": spooling["rss_growth_mib"],
            "away": away,
            "away_with_spool": spooling,
        }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
