"""The one thread that carries a client's events to Kafka, or to the spool while no broker answers.

Kafka's producer lives in this thread alone: making it can block for seconds, and it must be given up after a
failure. Events are sent in chunks, and a chunk is done when every record of it is acknowledged by all
replicas. What may have failed goes to the spool, or back to the queue. So an event may be sent twice, but is
not lost; its id tells.
"""

import contextlib
import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from errata.backlog import Backlog
from errata.checking import fit_the_wire
from errata.counters import Counters
from errata.errors import Malformed
from errata.events import PredictionData, key_of
from errata.partitioning import Encoded, Record, by_topic, gather, topic_of
from errata.spool import Spool
from errata.topics import PREDICTIONS
from errata.wire import batch_headers, decode_event, join_batch

logger = logging.getLogger(__name__)

#: What is sent before its acknowledgements are waited for. Where a service keeps Python's lock busy, each turn
#: of this thread begins with 5 ms of waiting for it, so that few turns have to do much.
_CHUNK_EVENTS: Final = 20_000
_CHUNK_BYTES: Final = 8_000_000
#: More at once would not fit the cache of a processor.
_CHECKED_EVENTS: Final = 100
_MOST_NAMES: Final = 1000
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 10.0
_PROBE_SECONDS: Final = 1.0
_BOOTSTRAP_SECONDS: Final = 5.0
_ADOPT_SECONDS: Final = 30.0
#: Feedback and VOC may fill the spool to this multiple of what predictions may.
_RESERVE: Final = 1.25
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)


class Acknowledgement(Protocol):
    """What a producer promises about one record."""

    def get(self, timeout: float) -> Any:
        """Wait for the acknowledgement. Raises KafkaError when there is none."""


class Producer(Protocol):
    """What is needed of kafka.KafkaProducer."""

    def partitions_for(self, topic: str) -> set[int]:
        """The partitions of a topic. Raises KafkaError when the broker does not tell."""

    def send(
        self, topic: str, *, value: bytes, headers: list[tuple[str, bytes]], partition: int
    ) -> Acknowledgement:
        """Begin to send a record."""

    def close(self, timeout: float) -> None:
        """Let go of the connections."""


OpenProducer = Callable[[], Producer]


def open_kafka_producer(options: Mapping[str, Any], delivery_seconds: float) -> Producer:
    """An idempotent producer that waits for all replicas. Raises KafkaError or OSError if no broker answers.

    `options` are kafka-python's, `bootstrap_servers` among them.
    """
    # A refused connection is seen here first, because kafka-python logs every one of them as an error.
    _probe(options["bootstrap_servers"])
    producer: Producer = KafkaProducer(
        **{
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": compression(),
            # A topic that a client creates by accident has the wrong number of partitions.
            "allow_auto_create_topics": False,
            "bootstrap_timeout_ms": int(_BOOTSTRAP_SECONDS * 1000),
            # Whole chunks in one request.
            "max_request_size": _CHUNK_BYTES,
            "max_block_ms": int(_BOOTSTRAP_SECONDS * 1000),
            "request_timeout_ms": int(delivery_seconds * 500),
            "delivery_timeout_ms": int(delivery_seconds * 1000),
            **options,
        }
    )
    return producer


def compression() -> str | None:
    """gzip, but none where the package `crc32c` is installed (the extra `fast`).

    Without it kafka-python sums every byte up in Python, which takes the service's time; with it, compressing
    costs more than all the rest of the way of an event.
    """
    return None if importlib.util.find_spec("crc32c") else "gzip"


def _probe(servers: str | Sequence[str]) -> None:
    names = servers.split(",") if isinstance(servers, str) else servers
    refusal: OSError = ConnectionRefusedError(f"no server in {servers!r}")
    for name in names:
        host, _, port = name.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS):
                return
        except OSError as error:
            refusal = error
    raise refusal


class Delivery:
    """Takes events out of a backlog and delivers them, in a thread that `start` starts."""

    def __init__(
        self,
        backlog: Backlog,
        counters: Counters,
        open_producer: OpenProducer,
        *,
        spool_directory: Path | None,
        spool_bytes: int,
        linger_seconds: float,
        record_events: int,
        record_bytes: int,
        delivery_seconds: float,
        names: set[tuple[str, str]],
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        """`names` are those of models and versions that were right so far; more are added to it."""
        self._backlog = backlog
        self._counters = counters
        self._open_producer = open_producer
        self._spool_directory = spool_directory
        self._spool_bytes = spool_bytes
        self._linger_seconds = linger_seconds
        self._record_events = record_events
        self._record_bytes = record_bytes
        self._delivery_seconds = delivery_seconds
        self._names = names
        self._on_connect = on_connect
        self._spool: Spool | None = None
        self._adopt_at = 0.0
        self._producer: Producer | None = None
        self._retry_at = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._in_hand: list[Encoded] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="errata-delivery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_seconds: float) -> None:
        """Deliver what waits and end the thread.

        What cannot be delivered in time goes to the spool, or is counted as dropped.
        """
        deadline = time.monotonic() + timeout_seconds
        self._backlog.wait_until_settled(timeout_seconds)
        self._closing.set()
        self._backlog.end()
        self._thread.join(max(0.5, deadline - time.monotonic()))
        if self._thread.is_alive():
            # It hangs in the network. The spool is its own, so what it holds is saved in another one.
            logger.warning("errata: the broker did not answer in time; putting aside what waits")
            spool = self._open_spool()
            self._put_aside(spool)
            if spool is not None:
                spool.close()

    def abandon(self) -> None:
        """In a forked child: leave everything to the parent, without touching what is shared with it."""
        if self._spool is not None:
            self._spool.abandon()
        # Closing the producer would speak on the parent's connections, so that it must not close itself
        # either.
        getattr(self._producer, "_unregister_cleanup", lambda: None)()

    # --- In the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._spool = self._open_spool()
        while not self._closing.is_set():
            if self._backlog.wait_for_event(self._idle_seconds()):
                self._backlog.wait_for_many(self._linger_seconds)
            try:
                self._step()
            except Exception:
                # A defect must not end the thread: the service would lose its events and never hear of it.
                logger.exception("errata: delivering failed; trying again")
                self._put_back(self._in_hand)
                self._disconnect()
        self._put_aside(self._spool)
        self._disconnect()
        if self._spool is not None:
            self._spool.close()

    def _idle_seconds(self) -> float | None:
        """How long to wait for an event before looking after the spool."""
        if self._spool is None:
            return None
        if self._spool.n_bytes == 0:
            return _ADOPT_SECONDS
        return 0.0 if self._producer is not None else self._pause_seconds

    def _step(self) -> None:
        """Deliver one chunk of new events, and one of spooled ones."""
        is_connected = self._connect()
        if not is_connected and self._spool is None:
            self._closing.wait(min(self._pause_seconds, 1.0))
            return
        taken = self._in_hand = self._backlog.take(_CHUNK_EVENTS, _CHUNK_BYTES)
        events = self._in_hand = self._address(taken)
        self._backlog.settle(len(taken) - len(events))
        unsent = self._send(events) if is_connected else events
        self._counters.add(sent=len(events) - len(unsent))
        unsettled = unsent if self._spool is None else self._write(unsent, self._spool)
        self._backlog.settle(len(events) - len(unsettled))
        self._put_back(unsettled)
        if self._producer is not None and self._spool is not None:
            self._recover(self._spool)
        elif unsettled:
            # Neither broker nor disk take anything: there is no hurry to ask them again.
            self._closing.wait(_FIRST_PAUSE_SECONDS)

    def _address(self, waiting: Sequence[Encoded]) -> list[Encoded]:
        """Find out where each event goes, and count those that no reader would accept."""
        addressed: list[Encoded] = []
        for topic, ours in by_topic(waiting).items():
            for start in range(0, len(ours), _CHECKED_EVENTS):
                some = ours[start : start + _CHECKED_EVENTS]
                is_known = "" not in [event.key for event in some]
                if is_known and fit_the_wire(topic, [event.raw for event in some]):
                    addressed += some
                else:
                    addressed += filter(None, map(self._address_one, some))
        return addressed

    def _address_one(self, waiting: Encoded) -> Encoded | None:
        try:
            event = decode_event(waiting.raw)
        except Malformed as error:
            self._counters.refuse(error.reason, error.detail)
            return None
        if isinstance(event.data, PredictionData) and len(self._names) < _MOST_NAMES:
            self._names.add((event.data.model, event.data.version))
        return Encoded(waiting.topic, key_of(event), waiting.raw)

    # --- The broker ---------------------------------------------------------------------------------------

    def _connect(self) -> bool:
        if self._producer is not None:
            return True
        if time.monotonic() < self._retry_at:
            return False
        try:
            self._producer = self._open_producer()
        except (KafkaError, OSError) as error:
            self._wait_longer(error)
            return False
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._on_connect()
        return True

    def _wait_longer(self, error: Exception) -> None:
        if self._pause_seconds == _FIRST_PAUSE_SECONDS:
            logger.warning("errata: no broker takes events, they wait: %s", error)
        self._retry_at = time.monotonic() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, OSError):
                producer.close(timeout=1)

    def _send(self, events: Sequence[Encoded]) -> list[Encoded]:
        """Send events and return those that are not acknowledged; then the producer is given up."""
        if not events:
            return []
        assert self._producer is not None
        try:
            partitions = {
                topic: len(self._producer.partitions_for(topic))
                for topic in {event.topic for event in events}
            }
            records = gather(
                events, partitions, record_events=self._record_events, record_bytes=self._record_bytes
            )
            return self._send_records(self._producer, records)
        except (KafkaError, OSError) as error:
            self._disconnect()
            self._wait_longer(error)
            return list(events)

    def _send_records(self, producer: Producer, records: Sequence[Record]) -> list[Encoded]:
        """Send records all at once, wait for each, and return the events of those that failed."""
        pending = [
            (
                record,
                producer.send(
                    record.topic,
                    value=join_batch(event.raw for event in record.events),
                    headers=batch_headers(),
                    partition=record.partition,
                ),
            )
            for record in records
        ]
        unsent: list[Encoded] = []
        failure: Exception | None = None
        for record, acknowledgement in pending:
            try:
                acknowledgement.get(timeout=self._delivery_seconds + 1)
            except _TOO_LARGE:
                unsent += self._send_halves(producer, record)
            except (KafkaError, OSError) as error:
                unsent += record.events
                failure = error
        if failure is not None:
            self._disconnect()
            self._wait_longer(failure)
        return unsent

    def _send_halves(self, producer: Producer, record: Record) -> list[Encoded]:
        """Send a record that is larger than the broker allows as two; one event alone is given up."""
        if len(record.events) == 1:
            self._counters.drop(record.topic, "refused_by_broker")
            return []
        middle = len(record.events) // 2
        halves = (record.events[:middle], record.events[middle:])
        return self._send_records(producer, [record._replace(events=half) for half in halves])

    # --- The spool ----------------------------------------------------------------------------------------

    def _open_spool(self) -> Spool | None:
        if self._spool_directory is None:
            return None
        try:
            return Spool(self._spool_directory, on_torn=self._count_torn)
        except OSError as error:
            logger.warning("errata: no spool, events wait in memory alone: %s", error)
            return None

    def _count_torn(self, path: Path) -> None:
        self._counters.add(torn=1)
        logger.warning("errata: the end of a spool file cannot be read, a kill cut it off; it is in %s", path)

    def _count_spool_failure(self, error: OSError) -> None:
        self._counters.add(spool_failures=1)
        if self._counters.spool_failures == 1:
            logger.warning("errata: the spool fails, events wait in memory: %s", error)

    def _write(self, events: Sequence[Encoded], spool: Spool) -> list[Encoded]:
        """Append events to the spool as far as it has room, and return them all if it cannot be written."""
        kept: list[Encoded] = []
        dropped: list[Encoded] = []
        n_bytes = spool.n_bytes
        for event in events:
            n_bytes += len(event.raw)
            reserve = 1.0 if event.topic == PREDICTIONS else _RESERVE
            (kept if n_bytes <= self._spool_bytes * reserve else dropped).append(event)
        try:
            spool.append([event.raw for event in kept])
        except OSError as error:
            self._count_spool_failure(error)
            return list(events)
        self._counters.add(spooled=len(kept))
        for event in dropped:
            self._counters.drop(event.topic, "spool_full")
        return []

    def _recover(self, spool: Spool) -> None:
        """Send the oldest spooled events; those of processes that ended are taken over now and then."""
        try:
            if time.monotonic() >= self._adopt_at:
                spool.adopt()
                self._adopt_at = time.monotonic() + _ADOPT_SECONDS
            entries = spool.read(_CHUNK_EVENTS, _CHUNK_BYTES)
            events = [event for raw in entries if (event := self._read_entry(raw))]
            if entries and not self._send(events):
                spool.forget(entries)
                self._counters.add(sent=len(events), recovered=len(entries))
        except OSError as error:
            self._count_spool_failure(error)
            self._closing.wait(_PROBE_SECONDS)

    def _read_entry(self, raw: bytes) -> Encoded | None:
        try:
            event = decode_event(raw)
        except Malformed as error:
            self._counters.refuse(error.reason, error.detail)
            return None
        return Encoded(topic_of(event.data), key_of(event), raw)

    # --- What cannot be sent now --------------------------------------------------------------------------

    def _put_back(self, events: Sequence[Encoded]) -> None:
        self._backlog.put_back(events)
        self._in_hand = []

    def _put_aside(self, spool: Spool | None) -> None:
        """Save what is here to the spool because the client closes; without one it is dropped."""
        waiting = self._backlog.take_all()
        events = self._in_hand + self._address(waiting)
        rest = events if spool is None else self._write(events, spool)
        for event in rest:
            self._counters.drop(event.topic, "closed")
        self._backlog.settle(len(self._in_hand) + len(waiting))
