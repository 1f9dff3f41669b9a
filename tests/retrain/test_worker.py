import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition

from errata.errors import Malformed, SettingsError, Unavailable
from errata.settings import Broker, Settings
from errata.settings import Trainer as TrainerSettings
from errata.topics import RETRAIN, ensure_topics
from retrain import worker
from retrain.worker import read_request, run_trainer
from storage.database import Database, migrate, open_database
from storage.dead_letters import list_dead_letters
from storage.records import Run
from storage.runs import get_run, open_run
from tests.records import make_run, number_id
from tests.retrain import fake_trainer
from tests.retrain.scene import BATCH, RUN, Clock, make_settings, set_scene
from tests.servers import free_port

PATIENCE_SECONDS = 40.0


def request(run_id: str, type_: str = "errata.run.requested.v1") -> bytes:
    return msgspec.json.encode(
        {"specversion": "1.0", "id": "x", "source": "errata", "type": type_, "data": {"run_id": run_id}}
    )


def send(bootstrap: str, *values: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    for value in values:
        producer.send(RETRAIN, key=b"card-reader", value=value, partition=0).get(timeout=10)
    producer.close()


def wait_for(seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if result := seen():
            return result
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


def read_run(db: Database, run_id: str = RUN) -> Run:
    with db.read() as c:
        return get_run(c, run_id)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'errata.db'}"
    migrate(url)
    return url


@pytest.fixture
def db(sqlite_url: str) -> Iterator[Database]:
    database = open_database(sqlite_url)
    yield database
    database.close()


def settings_for(url: str, directory: Path, bootstrap: str) -> Settings:
    settings = make_settings(directory, url)
    return msgspec.structs.replace(
        settings,
        broker=Broker(bootstrap=bootstrap, partitions=1),
        trainer=TrainerSettings(device="cpu"),
    )


@contextmanager
def running_trainer(settings: Settings) -> Iterator[threading.Event]:
    """A trainer in a thread; it is stopped at the end and must then end by itself with status 0."""
    stop = threading.Event()
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(run_trainer(settings, stop)))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
    assert ended == [0]


def committed(bootstrap: str, group: str = "errata-trainer") -> int | None:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    try:
        offset: int | None = consumer.committed(TopicPartition(RETRAIN, 0))
        return offset
    finally:
        consumer.close()


def test_requests_are_carried_out_and_bad_messages_set_aside(
    db: Database, sqlite_url: str, tmp_path: Path, fresh_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only messages lead to runs here.
    monkeypatch.setattr(worker, "LOOK_SECONDS", 3600.0)
    settings = settings_for(sqlite_url, tmp_path, fresh_broker)
    ensure_topics(settings.broker)
    with running_trainer(settings):
        # Its first look into the empty database is over once it has joined its group.
        set_scene(db, tmp_path, Clock())
        bad = [b"not json", request(RUN, "errata.prediction.v1"), request(number_id(404))]
        send(fresh_broker, *bad, request(RUN), request(RUN))
        wait_for(lambda: read_run(db).status == "promoted")
        wait_for(lambda: committed(fresh_broker) == 5)
    with db.read() as c:
        letters = sorted(list_dead_letters(c), key=lambda letter: letter.offset)
    assert [(letter.offset, letter.reason, letter.raw) for letter in letters] == [
        (0, "bad_request", bad[0]),
        (1, "unknown_type", bad[1]),
        (2, "not_found", bad[2]),
    ]


def test_a_run_whose_message_was_lost_is_found_without_any_broker(
    db: Database, sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_scene(db, tmp_path, Clock())
    nobody = f"127.0.0.1:{free_port()}"
    with running_trainer(settings_for(sqlite_url, tmp_path, nobody)):
        wait_for(lambda: read_run(db).status == "promoted")
    assert f"waiting for the broker at {nobody}" in caplog.text


def test_a_trainer_that_stops_gives_a_run_up_and_the_next_one_ends_it(
    db: Database, sqlite_url: str, tmp_path: Path, fresh_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = threading.Event()

    class SlowTrainer(fake_trainer.FakeTrainer):
        """Never ends by itself, but reports progress."""

        def train(self, *arguments: Any, progress: Any, **others: Any) -> None:
            training.set()
            while True:
                progress(0.1, {})
                time.sleep(0.01)

    settings = settings_for(sqlite_url, tmp_path, fresh_broker)
    set_scene(db, tmp_path, Clock())
    with monkeypatch.context() as slow:
        slow.setattr(fake_trainer, "trainer", SlowTrainer())
        with running_trainer(settings):
            assert training.wait(PATIENCE_SECONDS)
    assert read_run(db).status == "training"
    with running_trainer(settings):
        wait_for(lambda: read_run(db).status == "promoted")


def test_a_long_training_does_not_cost_the_membership_in_the_group(
    db: Database, sqlite_url: str, tmp_path: Path, fresh_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_SECONDS", 3600.0)
    release = threading.Event()
    training = threading.Event()

    class WaitingTrainer(fake_trainer.FakeTrainer):
        def train(self, *arguments: Any, **others: Any) -> None:
            training.set()
            assert release.wait(PATIENCE_SECONDS)
            super().train(*arguments, **others)

    monkeypatch.setattr(fake_trainer, "trainer", WaitingTrainer())
    polls = 0
    take_nothing = worker._take_nothing

    def count(consumer: KafkaConsumer) -> None:
        nonlocal polls
        take_nothing(consumer)
        polls += 1
        assert not consumer.assignment() or consumer.paused() == consumer.assignment()

    monkeypatch.setattr(worker, "_take_nothing", count)
    settings = settings_for(sqlite_url, tmp_path, fresh_broker)
    ensure_topics(settings.broker)
    with running_trainer(settings):
        set_scene(db, tmp_path, Clock())
        with db.write() as c:
            open_run(c, make_run(2, status="requested", batch_id=BATCH))
        send(fresh_broker, request(RUN), request(number_id(2)))
        assert training.wait(PATIENCE_SECONDS)
        polls = 0
        wait_for(lambda: polls >= 2)
        assert read_run(db, number_id(2)).status == "requested", "one at a time"
        release.set()
        wait_for(lambda: committed(fresh_broker) == 2)
    assert read_run(db).status == "promoted"
    assert read_run(db, number_id(2)).decided_us is not None


def test_a_database_that_is_away_for_a_moment_costs_nothing(
    db: Database, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.01)
    set_scene(db, tmp_path, Clock())
    carry_out, failures = worker.carry_out, iter([Unavailable("the database does not answer now")] * 3)

    def fail_first(*arguments: Any, **others: Any) -> Run:
        for failure in failures:
            raise failure
        return carry_out(*arguments, **others)

    monkeypatch.setattr(worker, "carry_out", fail_first)
    trainer = worker.RunWorker(
        settings_for(sqlite_url, tmp_path, "unused:1"), db, worker.choose_device("cpu")
    )
    assert trainer.answer(worker.Message(0, 0, request(RUN)))
    assert read_run(db).status == "promoted"


def test_a_device_that_is_not_there_is_said_at_once(sqlite_url: str, tmp_path: Path) -> None:
    settings = settings_for(sqlite_url, tmp_path, "unused:1")
    settings = msgspec.structs.replace(settings, trainer=TrainerSettings(device="tpu"))
    with pytest.raises(SettingsError, match="tpu"):
        run_trainer(settings, threading.Event())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "bad_request"),
        (b"[]", "bad_request"),
        (b'{"type": "errata.run.requested.v1"}', "bad_request"),
        (b'{"type": "errata.run.requested.v1", "data": {"run_id": 7}}', "bad_request"),
        (b'{"type": "other", "data": {"run_id": "x"}}', "unknown_type"),
    ],
)
def test_what_is_no_request_is_refused(value: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        read_request(value)
    assert refused.value.reason == reason


def test_a_request_is_read() -> None:
    assert read_request(request(RUN)).run_id == RUN
