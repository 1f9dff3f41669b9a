"""Batch records to the broker: sealed here, carried by the connections of kafka-python.

kafka-python's own producer would build each batch again (errata/sealing.py says why not), and asks for its turn of
Python's lock so often that a busy service lets it send little. Used of it are the event loop, which runs in a
thread of its own, connections with TLS and SASL, what the cluster looks like, and the messages of the protocol.

Sealing has a thread of its own too: compressing lets go of Python's lock, and whoever prepares the next records
should not wait for that.
"""

import contextlib
import inspect
import queue
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import kafka
from kafka import TopicPartition
from kafka.cluster import ClusterMetadata
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RetriableError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.future import Future
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.producer import ProduceRequest

from errata.errors import Stop
from errata.partitioning import Record
from errata.sealing import seal
from errata.wire import batch_headers

#: What a broker says of a batch that is larger than it allows.
TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)

#: Brokers take batches of a mebibyte unless told otherwise.
_BATCH_BYTES: Final = 1_000_000
#: JSON of many events is compressed to a tenth, of embeddings to a half.
_UNCOMPRESSED_BYTES: Final = 6_000_000
_PROBE_SECONDS: Final = 1.0
_CONNECT_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.1
_END_SECONDS: Final = 1.0
#: The first version with records of format 2, and the last one that kafka-python's own producer speaks.
_EARLIEST_VERSION: Final = 3
_LATEST_VERSION: Final = 9
_ALL_REPLICAS: Final = -1


#: What is used of kafka-python though it does not promise to keep it, with the parameters that are given.
_USED_NAMES: Final[tuple[tuple[Any, str, tuple[str, ...]], ...]] = (
    (NetworkSelector, "start", ()),
    (NetworkSelector, "stop", ("timeout_ms",)),
    (NetworkSelector, "close", ()),
    (NetworkSelector, "sleep", ("delay",)),
    (KafkaConnectionManager, "bootstrap", ("timeout_ms",)),
    (KafkaConnectionManager, "call_soon", ("coro", "args")),
    (KafkaConnectionManager, "send", ("request", "node_id")),
    (KafkaConnectionManager, "close", ()),
    (ClusterMetadata, "partitions_for_topic", ("topic",)),
    (ClusterMetadata, "add_topic", ("topic",)),
    (ClusterMetadata, "request_update", ()),
    (ClusterMetadata, "leader_for_partition", ("partition",)),
    (Future, "success", ("value",)),
    (Future, "failure", ("e",)),
    (Future, "chain", ("future",)),
    (Future, "add_both", ("f",)),
)
#: What their classes have to have.
_USED_ATTRIBUTES: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    (Future, ("exception", "value")),
    (ProduceRequest, ("transactional_id", "acks", "timeout_ms", "topic_data", "TopicProduceData")),
)


def check_used_names() -> None:
    """Raise Stop naming what the installed kafka-python lacks of what this module relies on."""
    missing = []
    for owner, name, parameters in _USED_NAMES:
        function = getattr(owner, name, None)
        if function is None:
            missing.append(f"{owner.__module__}.{owner.__name__}.{name}")
        elif tuple(inspect.signature(function).parameters)[1 : 1 + len(parameters)] != parameters:
            missing.append(f"{owner.__module__}.{owner.__name__}.{name}({', '.join(parameters)})")
    missing += [
        f"{owner.__module__}.{owner.__name__}.{name}"
        for owner, names in _USED_ATTRIBUTES
        for name in names
        if not hasattr(owner, name)
    ]
    if "cluster" not in KafkaConnectionManager.__init__.__code__.co_names:
        missing.append(f"{KafkaConnectionManager.__module__}.{KafkaConnectionManager.__name__}.cluster")
    if missing:
        raise Stop(
            f"kafka-python {kafka.__version__} lacks what errata/producing.py relies on: "
            f"{', '.join(missing)}. Install the version that pyproject.toml names"
        )


class Sending(Protocol):
    """Records on their way."""

    def wait(self, timeout_seconds: float) -> Sequence[Exception | None]:
        """For each record None as soon as all replicas have it, or the error for which they may not have it.

        Raises KafkaError if the broker does not answer in time.
        """


class Producer(Protocol):
    """Takes records to a broker."""

    def n_partitions(self, topic: str) -> int:
        """The number of partitions of a topic. Raises KafkaError when the broker does not tell."""

    def send(self, records: Sequence[Record]) -> Sending:
        """Begin to send records; those of one partition arrive in their order unless one fails."""

    def close(self) -> None:
        """Let go of the connections."""


class _Batch(NamedTuple):
    """What is sent as one: a sealed batch, and which records it holds."""

    place: TopicPartition
    sealed: bytes
    records: range


class KafkaProducer:
    """A producer that waits for all replicas. One thread uses it; it has one for sealing and one for the network."""

    def __init__(self, options: Mapping[str, Any], delivery_seconds: float) -> None:
        """Connect. Raises KafkaError or OSError if no broker answers.

        `options` are those by which the clients of kafka-python reach a broker, `bootstrap_servers` among them.
        A broker has `delivery_seconds` to answer.
        """
        # A refused connection is seen here first, because kafka-python logs every one of them as an error.
        _probe(options["bootstrap_servers"])
        self._delivery_seconds = delivery_seconds
        self._batch_bytes = _BATCH_BYTES
        given = {"request_timeout_ms": int(delivery_seconds * 500), **options}
        self._net = NetworkSelector(**given)
        self._manager = KafkaConnectionManager(self._net, **given)
        #: Records in the order in which they are to be sent, and where to tell of them; None at the end.
        self._unsealed: queue.SimpleQueue[tuple[Sequence[Record], Future] | None] = queue.SimpleQueue()
        self._is_closed = False
        self._sealing = threading.Thread(target=self._seal_in_turn, name="errata-sealing", daemon=True)
        self._sealing.start()
        self._net.start()
        try:
            self._manager.bootstrap(int(_CONNECT_SECONDS * 1000))
        except BaseException:
            self.close()
            raise

    def n_partitions(self, topic: str) -> int:
        """The number of partitions of a topic. Raises KafkaError when the broker does not tell."""
        cluster = self._manager.cluster
        deadline = time.monotonic() + _CONNECT_SECONDS
        while (found := cluster.partitions_for_topic(topic)) is None:
            if time.monotonic() > deadline:
                raise UnknownTopicOrPartitionError(topic)
            cluster.add_topic(topic)
            told = threading.Event()
            cluster.request_update().add_both(lambda _, told=told: told.set())
            told.wait(_RETRY_SECONDS)
        return len(found)

    def send(self, records: Sequence[Record]) -> Sending:
        """Begin to send records; those of one partition arrive in their order unless one fails."""
        outcome = Future()
        self._unsealed.put((records, outcome))
        return _Sending(outcome, len(records))

    def close(self) -> None:
        """Let go of the connections."""
        self._is_closed = True
        self._unsealed.put(None)
        self._sealing.join(_END_SECONDS)
        with contextlib.suppress(KafkaError, OSError, RuntimeError):
            self._manager.call_soon(self._manager.close)
        self._net.stop(timeout_ms=int(_END_SECONDS * 1000))
        self._net.close()

    # --- In the thread that seals -------------------------------------------------------------------------

    def _seal_in_turn(self) -> None:
        while (told := self._unsealed.get()) is not None:
            records, outcome = told
            try:
                if self._is_closed:
                    raise KafkaConnectionError("the producer was closed before")
                self._manager.call_soon(self._deliver, self._seal_all(records)).chain(outcome)
            except Exception as error:
                # Whoever waits for these records has to hear of it.
                outcome.failure(KafkaConnectionError(str(error)) if self._is_closed else error)

    def _seal_all(self, records: Sequence[Record]) -> list[_Batch]:
        """Batches of one partition each, as few as the broker's limit allows."""
        values = [record.value for record in records]
        batches: list[_Batch] = []
        start, n_bytes = 0, 0
        for place, value in enumerate(values):
            is_other = records[place][:2] != records[start][:2]
            if place > start and (is_other or n_bytes + len(value) > _UNCOMPRESSED_BYTES):
                batches += self._seal(records, values, range(start, place))
                start, n_bytes = place, 0
            n_bytes += len(value)
        return batches + self._seal(records, values, range(start, len(records)))

    def _seal(self, records: Sequence[Record], values: Sequence[bytes], which: range) -> list[_Batch]:
        if not which:
            return []
        sealed = seal(values[which.start : which.stop], batch_headers(), time.time_ns() // 1_000_000)
        if len(sealed) <= self._batch_bytes or len(which) == 1:
            first = records[which.start]
            return [_Batch(TopicPartition(first.topic, first.partition), sealed, which)]
        n_each = max(1, len(which) * self._batch_bytes // len(sealed) // 2)
        return [
            batch
            for start in which[::n_each]
            for batch in self._seal(records, values, range(start, min(start + n_each, which.stop)))
        ]

    # --- In the thread of the network ---------------------------------------------------------------------

    async def _deliver(self, batches: Sequence[_Batch]) -> dict[int, Exception | None]:
        """What became of each record: batches are sent until they are taken, refused, or the time is over."""
        deadline = time.monotonic() + self._delivery_seconds
        found: dict[int, Exception | None] = {}
        waiting = list(batches)
        while waiting:
            # A request holds one batch of a partition, and the next one goes when it was taken.
            firsts = list({batch.place: batch for batch in reversed(waiting)}.values())
            errors = await self._send_once(firsts)
            may_retry = time.monotonic() + _RETRY_SECONDS < deadline
            again = {
                place for place, error in errors.items() if may_retry and isinstance(error, RetriableError)
            }
            for batch in firsts:
                if batch.place not in again:
                    waiting.remove(batch)
                    found |= dict.fromkeys(batch.records, errors[batch.place])
                    if isinstance(errors[batch.place], TOO_LARGE):
                        self._batch_bytes = min(self._batch_bytes, len(batch.sealed) // 2)
            if again:
                # Perhaps another broker leads the partition now.
                self._manager.cluster.request_update()
                await self._net.sleep(_RETRY_SECONDS)
        return found

    async def _send_once(self, batches: Sequence[_Batch]) -> dict[TopicPartition, Exception | None]:
        """What became of each partition's batch: those that one broker leads travel in one request."""
        by_leader: defaultdict[Any, list[_Batch]] = defaultdict(list)
        for batch in batches:
            by_leader[self._manager.cluster.leader_for_partition(batch.place)].append(batch)
        # A broker that forgets a batch in its answer has not taken it.
        errors: dict[TopicPartition, Exception | None] = {
            batch.place: LeaderNotAvailableError() for batch in batches
        }
        requests = [
            (together, self._manager.send(self._request(together), node_id=leader))
            for leader, together in by_leader.items()
            if leader not in (None, -1)
        ]
        for together, answer in requests:
            try:
                response = await answer
            except (KafkaError, OSError) as error:
                errors |= {batch.place: error for batch in together}
                continue
            for topic in response.responses:
                for partition in topic.partition_responses:
                    code = partition.error_code
                    errors[TopicPartition(topic.name, partition.index)] = for_code(code)() if code else None
        return errors

    def _request(self, batches: Sequence[_Batch]) -> ProduceRequest:
        topics: defaultdict[str, list[Any]] = defaultdict(list)
        for batch in batches:
            partition = ProduceRequest.TopicProduceData.PartitionProduceData(
                index=batch.place.partition, records=batch.sealed
            )
            topics[batch.place.topic].append(partition)
        return ProduceRequest(
            transactional_id=None,
            acks=_ALL_REPLICAS,
            timeout_ms=int(self._delivery_seconds * 500),
            topic_data=[
                ProduceRequest.TopicProduceData(name=topic, partition_data=partitions)
                for topic, partitions in topics.items()
            ],
            min_version=_EARLIEST_VERSION,
            max_version=_LATEST_VERSION,
        )


class _Sending:
    """Records on their way to a broker."""

    def __init__(self, future: Future, n_records: int) -> None:
        self._future = future
        self._n_records = n_records
        self._done = threading.Event()
        future.add_both(lambda _: self._done.set())

    def wait(self, timeout_seconds: float) -> Sequence[Exception | None]:
        """For each record None as soon as all replicas have it, or the error for which they may not have it."""
        if not self._done.wait(timeout_seconds):
            raise KafkaTimeoutError(f"no answer in {timeout_seconds:.0f} seconds")
        if self._future.exception is not None:
            raise self._future.exception
        return [self._future.value[place] for place in range(self._n_records)]


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
    try:
        raise refusal
    finally:
        # An error that is kept by a frame of its own traceback keeps all frames, and with them a chunk of events,
        # until Python next looks for cycles, which may be minutes.
        del refusal
