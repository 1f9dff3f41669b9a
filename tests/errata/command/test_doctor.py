"""What the doctor finds, and how it says to mend it."""

import os
import time
from types import SimpleNamespace

import pytest
from kafka import KafkaAdminClient

from errata.command.doctor import judge_topics
from errata.identity import new_id
from errata.settings import Broker
from errata.topics import EVENT_TOPICS, FEEDBACK, TOPICS, VOC, Topic, describe_topics, ensure_topics
from storage.database import open_database, read_clock_us
from storage.errors import SharedSession
from storage.pauses import pause_flooded, resume
from storage.tables import verify_rounds


def findings(answer):
    return {finding["check"]: finding for finding in answer.json()}


def test_all_is_well(errata, fresh_broker, monkeypatch):
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    ensure_topics(Broker(bootstrap=fresh_broker))
    errata("migrate")
    answer = errata("doctor")
    assert answer.code == 0, answer.out
    assert [line[:4] for line in answer.out.splitlines()] == ["ok  "] * 10
    assert "no trainer: card-reader, translator" in answer.out
    assert "database: SQLite 3." in answer.out
    assert "failover: workers see each other die; 0 live" in answer.out
    assert "faust-streaming 0.15.3" in answer.out


def test_everything_is_wrong_at_once(errata, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ERRATA_ARTIFACTS__DIRECTORY", str(tmp_path / "file"))
    monkeypatch.setenv("ERRATA_SETTINGS", str(tmp_path / "empty.toml"))
    (tmp_path / "empty.toml").write_text("")
    answer = errata("doctor", "--json")
    assert answer.code == 2
    found = findings(answer)
    wrong = {name for name, finding in found.items() if not finding["ok"]}
    assert wrong == {"models", "database", "broker", "artifacts"}
    assert "add a [models.NAME] table" in found["models"]["message"]
    assert "run errata migrate" in found["database"]["message"]
    assert "check broker.bootstrap" in found["broker"]["message"]
    assert "check artifacts.directory" in found["artifacts"]["message"]


def test_a_pooler_by_which_workers_cannot_see_each_other_die_is_told(errata, monkeypatch):
    def refuse(*_):
        raise SharedSession("a pooler stands between")

    monkeypatch.setattr("storage.lifelines.count_living", refuse)
    errata("migrate")
    told = findings(errata("doctor", "--json"))["failover"]
    assert not told["ok"]
    assert "a pooler stands between, so that the partitions of a killed worker wait 10 s" in told["message"]


def test_missing_topics_are_named(errata, fresh_broker, monkeypatch):
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    errata("migrate")
    answer = errata("doctor")
    assert answer.code == 2
    assert "FAIL  broker: topics missing: errata.feedback, errata.predictions" in answer.out


def test_topics_that_differ_in_partitions(errata, fresh_broker, monkeypatch):
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    admin = KafkaAdminClient(bootstrap_servers=fresh_broker)
    admin.create_topics({FEEDBACK: {"num_partitions": 7, "replication_factor": 1}})
    admin.close()
    ensure_topics(Broker(bootstrap=fresh_broker))
    errata("migrate")
    answer = errata("doctor")
    assert answer.code == 2
    assert "topics differ in partitions (errata.feedback 7, errata.predictions 4, errata.voc 4)" in answer.out


def test_a_paused_partition_and_differences_are_told(errata):
    errata("migrate")
    database = open_database(os.environ["ERRATA_DATABASE__URL"])
    pause_flooded(database, "errata.voc", 3, n=9, n_dead=9, span_us=1, now_us=1, new_id=new_id)
    told = findings(errata("doctor", "--json"))["intake"]
    assert not told["ok"]
    assert "run errata dead-letters resume errata.voc/3" in told["message"]
    resume(database, 2)
    with database.write() as c:
        c.execute(
            verify_rounds.insert().values(
                name="current", place="{}", started_us=1, n_differences=3, n_differences_before=0
            )
        )
    database.close()
    told = findings(errata("doctor", "--json"))["intake"]
    assert told["message"] == "3 differences between counts and facts: run errata verify"


def test_little_room_is_told(errata, monkeypatch):
    errata("migrate")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    told = findings(errata("doctor", "--json"))["disk"]
    assert not told["ok"]
    assert "(0.0 GB): make room" in told["message"]


@pytest.mark.parametrize(("skew_us", "ok"), [(0, True), (-60_000_000, False), (60_000_000, False)])
def test_a_clock_that_differs_is_told(errata, monkeypatch, skew_us, ok):
    errata("migrate")
    told_us = lambda _: time.time_ns() // 1000 + skew_us  # noqa: E731
    monkeypatch.setattr("storage.database.read_clock_us", told_us)
    told = findings(errata("doctor", "--json"))["clock"]
    assert told["ok"] is ok
    assert ok or "differs from the database's by 60.0 s: run NTP" in told["message"]


def test_a_database_that_does_not_answer(errata, monkeypatch):
    monkeypatch.setenv("ERRATA_DATABASE__URL", "postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    assert "check database.url" in findings(errata("doctor", "--json"))["database"]["message"]


def test_a_driver_whose_libraries_have_changed_is_found(errata, monkeypatch):
    monkeypatch.delattr("faust.transport.consumer.Consumer._new_offset")
    found = findings(errata("doctor", "--json"))["driver"]
    assert not found["ok"]
    assert "Consumer._new_offset" in found["message"]


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_the_clock_of_a_server_is_read(database_url):
    told_us = read_clock_us(database_url)
    assert told_us is not None
    assert abs(told_us - time.time_ns() // 1000) < 60_000_000


def topics(**changed):
    return dict.fromkeys(TOPICS, Topic(4, 7 * 86_400_000, "delete")) | {
        {"feedback": FEEDBACK, "voc": VOC}[name]: topic for name, topic in changed.items()
    }


def test_topics_as_they_should_be_or_of_which_the_broker_does_not_tell():
    assert judge_topics(topics()) is None
    assert judge_topics(dict.fromkeys(TOPICS, Topic(4))) is None
    assert judge_topics(topics(voc=Topic(4, -1, "delete"))) is None


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        (Topic(6), "topics differ in partitions (errata.feedback 4, errata.predictions 4, errata.voc 6)"),
        (Topic(4, 3_600_000, "delete"), "errata.voc keeps records for 1 h: set its retention.ms"),
        (
            Topic(4, -1, "compact,delete"),
            "errata.voc is compacted, which removes events: set its cleanup.policy",
        ),
    ],
)
def test_topics_that_would_lose_events_are_named_with_the_remedy(topic, said):
    assert said in judge_topics(topics(voc=topic))


def test_topics_are_described_by_the_broker(fresh_broker):
    settings = Broker(bootstrap=fresh_broker, partitions=3)
    assert describe_topics(settings, EVENT_TOPICS) == {}
    ensure_topics(settings)
    assert {topic.n_partitions for topic in describe_topics(settings, EVENT_TOPICS).values()} == {3}
