"""The one thread that carries a client's events to Kafka, or to the spool while no broker answers.

The producer belongs to this thread alone: making it can block for seconds, and it must be given up after a
failure. Events are sent in chunks, and a chunk is done when every record of it is acknowledged by all
replicas; meanwhile the next one is got ready. What may have failed goes to the spool, or back to the queue. So an
event may be sent twice, but is not lost; its id tells.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from kafka.errors import KafkaError

from errata.backlog import Backlog
from errata.checking import fit_the_wire
from errata.counters import Counters
from errata.errors import Malformed
from errata.events import PredictionData, key_of
from errata.partitioning import Encoded, Record, by_topic, gather, join, topic_of
from errata.producing import TOO_LARGE, Producer, Sending
from errata.spool import Spool
from errata.topics import PREDICTIONS
from errata.wire import decode_event

logger = logging.getLogger(__name__)

#: What is sent at once. Where a service keeps Python's lock busy, this thread waits 5 ms for it whenever it has let
#: it go, some ten times a chunk, so that few chunks have to do much.
_CHUNK_EVENTS: Final = 40_000
_CHUNK_BYTES: Final = 16_000_000
#: What is read from the spool at once. It is read one by one, which takes longer.
_SPOOLED_EVENTS: Final = 20_000
_SPOOLED_BYTES: Final = 8_000_000
#: More at once would not fit the cache of a processor.
_CHECKED_EVENTS: Final = 100
_MOST_NAMES: Final = 1000
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 10.0
_DISK_PAUSE_SECONDS: Final = 1.0
_ADOPT_SECONDS: Final = 30.0
#: Feedback and VOC may fill the spool to this multiple of what predictions may.
_RESERVE: Final = 1.25


OpenProducer = Callable[[], Producer]


class _Chunk(NamedTuple):
    """Events whose records are on their way."""

    events: Sequence[Encoded]
    records: Sequence[Record]
    sending: Sending


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
        self._spool: Spool | None = None
        self._adopt_at = 0.0
        self._producer: Producer | None = None
        self._retry_at = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        #: Taken and neither settled nor under way.
        self._in_hand: list[Encoded] = []
        #: Oldest first.
        self._under_way: deque[_Chunk] = deque()
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
                self._put_back(self._all_in_hand())
                self._under_way.clear()
                self._disconnect()
        self._settle_under_way(0)
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
        """Send one chunk of new events, settle the one before, and send one of spooled events."""
        is_connected = self._connect()
        if not is_connected and self._spool is None:
            self._closing.wait(min(self._pause_seconds, 1.0))
            return
        taken = self._in_hand = self._backlog.take(_CHUNK_EVENTS, _CHUNK_BYTES)
        events = self._in_hand = self._address(taken)
        self._backlog.settle(len(taken) - len(events))
        if is_connected and self._begin(events):
            self._in_hand = []
        # While this chunk is on its way the next one can be got ready, if there is any.
        self._settle_under_way(n_left=0 if self._in_hand or not len(self._backlog) else 1)
        if self._producer is not None and self._spool is not None:
            self._recover(self._spool)

    def _settle_under_way(self, n_left: int) -> None:
        """Wait for the chunks under way but the last `n_left`, or for all if one fails, and keep what failed."""
        n_failed = 0
        while len(self._under_way) > (0 if n_failed else n_left):
            chunk = self._under_way[0]
            failed = self._wait(chunk)
            self._under_way.popleft()
            self._in_hand[n_failed:n_failed] = failed
            n_failed += len(failed)
            self._counters.add(sent=len(chunk.events) - len(failed))
            self._backlog.settle(len(chunk.events) - len(failed))
        unsent = self._in_hand
        unsettled = unsent if self._spool is None else self._write(unsent, self._spool)
        self._backlog.settle(len(unsent) - len(unsettled))
        self._put_back(unsettled)
        if unsettled and (self._producer is None or self._spool is not None):
            # Neither broker nor disk take anything: there is no hurry to ask them again.
            self._closing.wait(_FIRST_PAUSE_SECONDS)

    def _address(self, waiting: Sequence[Encoded]) -> list[Encoded]:
        """Find out where each event goes, and count those that no reader would accept."""
        addressed: list[Encoded] = []
        for topic, ours in by_topic(waiting).items():
            for start in range(0, len(ours), _CHECKED_EVENTS):
                some = ours[start : start + _CHECKED_EVENTS]
                is_addressed = "" not in [event.key for event in some]
                if is_addressed and fit_the_wire(topic, [event.raw for event in some]):
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
                producer.close()

    def _begin(self, events: Sequence[Encoded]) -> bool:
        """Send events on their way; False if that fails, and then the producer is given up."""
        assert self._producer is not None
        try:
            if events:
                self._under_way.append(self._send(self._producer, events))
        except (KafkaError, OSError) as error:
            self._give_up(error)
            return False
        return True

    def _send(self, producer: Producer, events: Sequence[Encoded]) -> _Chunk:
        partitions = {topic: producer.n_partitions(topic) for topic in {event.topic for event in events}}
        records = gather(
            events, partitions, record_events=self._record_events, record_bytes=self._record_bytes
        )
        return _Chunk(events, records, producer.send(records))

    def _wait(self, chunk: _Chunk) -> list[Encoded]:
        """Wait for the acknowledgements of a chunk, and return the events of records that have none."""
        unsent: list[Encoded] = []
        failure: Exception | None = None
        try:
            outcomes = chunk.sending.wait(self._delivery_seconds + 1)
        except (KafkaError, OSError) as error:
            self._give_up(error)
            return list(chunk.events)
        for record, refusal in zip(chunk.records, outcomes, strict=True):
            if isinstance(refusal, TOO_LARGE):
                unsent += self._send_halves(record)
            elif refusal is not None:
                unsent += record.events
                failure = refusal
        if failure is not None:
            self._give_up(failure)
        return unsent

    def _send_halves(self, record: Record) -> list[Encoded]:
        """Send a record that is larger than the broker allows as two; one event alone is given up."""
        if len(record.events) == 1:
            self._counters.drop(record.topic, "refused_by_broker")
            return []
        middle = len(record.events) // 2
        unsent: list[Encoded] = []
        for events in (record.events[:middle], record.events[middle:]):
            if self._producer is None:
                unsent += events
            else:
                half = join(record.topic, record.partition, events)
                unsent += self._wait(_Chunk(events, [half], self._producer.send([half])))
        return unsent

    def _give_up(self, error: Exception) -> None:
        if self._producer is not None:
            self._disconnect()
            self._wait_longer(error)

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
            entries = spool.read(_SPOOLED_EVENTS, _SPOOLED_BYTES)
            events = [event for raw in entries if (event := self._read_entry(raw))]
            if entries and not self._send_spooled(events):
                spool.forget(entries)
                self._counters.add(sent=len(events), recovered=len(entries))
        except OSError as error:
            self._count_spool_failure(error)
            self._closing.wait(_DISK_PAUSE_SECONDS)

    def _send_spooled(self, events: Sequence[Encoded]) -> list[Encoded]:
        """Send events and wait; return those that are not acknowledged."""
        if not events:
            return []
        assert self._producer is not None
        try:
            return self._wait(self._send(self._producer, events))
        except (KafkaError, OSError) as error:
            self._give_up(error)
            return list(events)

    def _read_entry(self, raw: bytes) -> Encoded | None:
        try:
            event = decode_event(raw)
        except Malformed as error:
            self._counters.refuse(error.reason, error.detail)
            return None
        return Encoded(topic_of(event.data), key_of(event), raw)

    # --- What cannot be sent now --------------------------------------------------------------------------

    def _all_in_hand(self) -> list[Encoded]:
        """What is taken and not settled, in its order."""
        return [event for chunk in self._under_way for event in chunk.events] + self._in_hand

    def _put_back(self, events: Sequence[Encoded]) -> None:
        self._backlog.put_back(events)
        self._in_hand = []

    def _put_aside(self, spool: Spool | None) -> None:
        """Save what is here to the spool because the client closes; without one it is dropped."""
        waiting = self._backlog.take_all()
        in_hand = self._all_in_hand()
        events = in_hand + self._address(waiting)
        rest = events if spool is None else self._write(events, spool)
        for event in rest:
            self._counters.drop(event.topic, "closed")
        self._backlog.settle(len(in_hand) + len(waiting))
