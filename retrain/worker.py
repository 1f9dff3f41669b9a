"""The trainer process: takes requested runs from Kafka, or from the database where a message was lost.

A run is carried out in a thread of its own, one at a time, while this one goes on polling with its partitions
paused: so the process stays in its consumer group however long a training takes. The offset of a request is
committed when its run is decided.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import torch
from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from errata.errors import Fenced, Malformed, Unavailable
from errata.identity import new_id
from errata.settings import Broker, Settings
from errata.topics import RETRAIN, RUN_REQUESTED, ensure_topics, kafka_options
from retrain.run import carry_out
from retrain.trainer import choose_device
from storage.database import Database, open_database
from storage.dead_letters import put_dead_letter
from storage.records import DeadLetter, Run
from storage.runs import list_runs

log = logging.getLogger(__name__)

#: How often the database is asked for runs whose message was lost, or whose trainer died.
LOOK_SECONDS: Final = 5.0
#: How long after an error that may pass the same is tried again.
RETRY_SECONDS: Final = 2.0
POLL_MS: Final = 500


@dataclass(frozen=True, slots=True)
class Message:
    """A record of the topic of requests."""

    partition: int
    offset: int
    value: bytes


class Request(msgspec.Struct, frozen=True):
    """What a message asks for."""

    run_id: str


class _CloudEvent(msgspec.Struct, frozen=True):
    type: str
    data: Request


def run_trainer(settings: Settings, stop: threading.Event) -> int:
    """Carry out runs until `stop` is set; return the exit status.

    A run that is under way then stops at its next report of progress, and goes on from its checkpoint when a
    trainer runs again. Raises SettingsError for a device that is not there.
    """
    device = choose_device(settings.trainer.device)
    with (
        closing(open_database(settings.database.url)) as db,
        closing(Requests(settings.broker, settings.trainer.group, stop.wait)) as requests,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="run") as thread,
    ):
        worker = RunWorker(settings, db, device)
        log.info("waiting for runs to carry out on %s", device)
        try:
            _take_turns(requests, worker, thread, stop)
        finally:
            worker.leaving.set()
    return 0


def _take_turns(
    requests: "Requests", worker: "RunWorker", thread: ThreadPoolExecutor, stop: threading.Event
) -> None:
    """Hand requests to the thread, and runs that nobody asks for any more every LOOK_SECONDS."""
    look_at = time.monotonic()
    while not stop.is_set():
        message = requests.poll()
        if message is not None:
            work: Future[bool] = thread.submit(worker.answer, message)
        elif time.monotonic() >= look_at:
            work = thread.submit(worker.look)
        else:
            continue
        while not work.done() and not stop.is_set():
            requests.keep_alive()
        if stop.is_set():
            return
        if work.result() and message is not None:
            requests.commit(message)
        look_at = time.monotonic() + LOOK_SECONDS


class RunWorker:
    """Carries out runs, one at a time, until `leaving` is set."""

    def __init__(self, settings: Settings, db: Database, device: torch.device) -> None:
        self.leaving = threading.Event()
        self._settings = settings
        self._db = db
        self._device = device
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{new_id()}"

    def answer(self, message: Message) -> bool:
        """Carry out the run that a message asks for; False if it is to come again.

        A message that asks for nothing that can be done becomes a dead letter.
        """
        while not self.leaving.is_set():
            try:
                self._carry_out(read_request(message.value).run_id)
            except Fenced as fenced:
                # Should the other trainer die, `look` finds the run.
                log.info("%s", fenced)
            except Malformed as refused:
                self._set_aside(message, refused)
            except Unavailable as missing:
                self._wait(missing)
                continue
            return True
        return False

    def look(self) -> bool:
        """Carry out the oldest run in the database that is requested and that no other trainer is at."""
        try:
            with self._db.read() as c:
                waiting = list_runs(c, status=("requested", "training"))
            for run in reversed(waiting):
                with suppress(Fenced):
                    self._carry_out(run.id)
                    break
        except Unavailable as missing:
            self._wait(missing)
        return True

    def _carry_out(self, run_id: str) -> Run:
        run = carry_out(
            self._db,
            self._settings,
            run_id,
            device=self._device,
            now_us=_now_us,
            new_id=new_id,
            holder=self._holder,
            progress=self._report,
        )
        log.info("run %s is %s: %s", run.id, run.status, run.verdict_reason)
        return run

    def _report(self, share: float, figures: Mapping[str, float]) -> None:
        if self.leaving.is_set():
            raise Unavailable("the trainer is leaving; the run goes on later")
        log.debug("%.0f %% trained, %s", 100 * share, figures)

    def _set_aside(self, message: Message, refused: Malformed) -> None:
        log.warning("a message on %s is set aside: %s", RETRAIN, refused)
        letter = DeadLetter(
            topic=RETRAIN,
            partition=message.partition,
            offset=message.offset,
            position=0,
            reason=refused.reason,
            detail=refused.detail,
            raw=message.value,
            stored_us=_now_us(),
        )
        with self._db.write() as c:
            put_dead_letter(c, letter)

    def _wait(self, missing: Unavailable) -> None:
        if not self.leaving.is_set():
            log.warning("%s; trying again", missing)
            self.leaving.wait(RETRY_SECONDS)


def read_request(value: bytes) -> Request:
    """What a structured CloudEvent asks for. Raises Malformed when it is no request of a run."""
    try:
        event = msgspec.json.decode(value, type=_CloudEvent)
    except msgspec.MsgspecError as error:
        raise Malformed("bad_request", f"this is no request of a run: {error}") from error
    if event.type != RUN_REQUESTED:
        raise Malformed("unknown_type", f"type must be {RUN_REQUESTED}, not {event.type}")
    return event.data


class Requests:
    """The topic of requests, read as a member of a consumer group; says so while the broker does not answer."""

    def __init__(self, broker: Broker, group: str, wait: Callable[[float], object]) -> None:
        self._broker = broker
        self._group = group
        self._wait = wait
        self._consumer: KafkaConsumer | None = None

    def poll(self) -> Message | None:
        """The next request, if there is one soon."""
        return self._ask(_take_next)

    def keep_alive(self) -> None:
        """Stay a member of the group and take nothing."""
        self._ask(_take_nothing)

    def commit(self, message: Message) -> None:
        """Note that `message` is done with. If that fails it comes again, and its run is found decided."""
        place = {TopicPartition(RETRAIN, message.partition): OffsetAndMetadata(message.offset + 1, "", -1)}

        def commit_place(consumer: KafkaConsumer) -> None:
            consumer.commit(place)

        self._ask(commit_place)

    def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            with suppress(KafkaError):
                self._consumer.close(autocommit=False, timeout_ms=2000)
            self._consumer = None

    def _ask(self, question: Callable[[KafkaConsumer], Message | None]) -> Message | None:
        """What the consumer answers; None, after a while, when the broker is away."""
        try:
            if self._consumer is None:
                self._consumer = self._open()
            return question(self._consumer)
        except (KafkaError, Unavailable) as error:
            log.warning("waiting for the broker at %s: %s", self._broker.bootstrap, error)
            self.close()
            self._wait(RETRY_SECONDS)
            return None

    def _open(self) -> KafkaConsumer:
        ensure_topics(self._broker)
        consumer = KafkaConsumer(
            RETRAIN,
            **kafka_options(self._broker),
            group_id=self._group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=int(self._broker.session_timeout_seconds * 1000),
        )
        log.info("reading %s as %s", RETRAIN, self._group)
        return consumer


def _take_next(consumer: KafkaConsumer) -> Message | None:
    paused = consumer.paused()
    if paused:
        consumer.resume(*paused)
    for partition, records in consumer.poll(timeout_ms=POLL_MS, max_records=1).items():
        for record in records:
            return Message(partition.partition, record.offset, record.value or b"")
    return None


def _take_nothing(consumer: KafkaConsumer) -> None:
    assigned = consumer.assignment()
    if assigned:
        consumer.pause(*assigned)
    # A partition that is assigned during this very poll is not paused yet: what it brings is read again.
    taken: Mapping[TopicPartition, Any] = consumer.poll(timeout_ms=POLL_MS, max_records=1)
    for partition, records in taken.items():
        consumer.seek(partition, records[0].offset)


def _now_us() -> int:
    return time.time_ns() // 1000
