"""What the doctor finds, and how it says to mend it."""

from types import SimpleNamespace

import pytest

from errata.command import doctor
from errata.command.doctor import judge_topics
from errata.command.session import now_us
from errata.settings import Broker
from errata.topics import EVENT_TOPICS, FEEDBACK, TOPICS, VOC, Topic, describe_topics, ensure_topics
from storage.database import open_database
from storage.pauses import pause_flooded

CHECKS = ["models", "database", "clock", "intake", "broker", "libraries", "artifacts", "disk"]


def findings(answer):
    return {finding["check"]: finding for finding in answer.json()}


def test_all_is_well(errata, fresh_broker, monkeypatch):
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    ensure_topics(Broker(bootstrap=fresh_broker))
    errata("migrate")
    answer = errata("doctor")
    assert answer.code == 0, answer.out
    assert [line.partition(":")[0] for line in answer.out.splitlines()] == [
        f"ok    {each}" for each in CHECKS
    ]
    assert "no trainer: card-reader, translator" in answer.out
    assert "faust-streaming 0.15.3" in answer.out


def test_everything_is_wrong_at_once(errata, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ERRATA_ARTIFACTS__DIRECTORY", str(tmp_path / "file"))
    monkeypatch.setenv("ERRATA_SETTINGS", str(tmp_path / "empty.toml"))
    (tmp_path / "empty.toml").write_text("")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=300 * 1024**2))
    monkeypatch.delattr("faust.transport.consumer.Consumer._new_offset")
    answer = errata("doctor", "--json")
    assert answer.code == 1
    found = findings(answer)
    assert [finding["ok"] for finding in found.values()] == [False] * 6
    assert "add a [models.NAME] table" in found["models"]["message"]
    assert "run errata migrate" in found["database"]["message"]
    assert "check broker.bootstrap" in found["broker"]["message"]
    assert "Consumer._new_offset" in found["libraries"]["message"]
    assert "check artifacts.directory" in found["artifacts"]["message"]
    assert found["disk"]["message"].startswith("0.3 GiB are free for")


def test_missing_topics_are_named(errata, fresh_broker, monkeypatch):
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    errata("migrate")
    answer = errata("doctor")
    assert answer.code == 1
    assert "FAIL  broker: topics missing: errata.feedback, errata.predictions" in answer.out


def test_a_database_that_does_not_answer(errata, monkeypatch):
    monkeypatch.setenv("ERRATA_DATABASE__URL", "postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    assert "check database.url" in findings(errata("doctor", "--json"))["database"]["message"]


def test_a_partition_that_is_paused_is_told_with_its_remedy(errata, seeded):
    errata("migrate")
    database = open_database(seeded.url)
    counts = {"n": 100, "n_dead": 90, "span_us": 1, "now_us": 1}
    pause_flooded(database, VOC, 3, **counts, new_id=lambda _: "0193a5b0-0000-7000-8000-000000000000")
    database.close()
    found = findings(errata("doctor", "--json"))["intake"]
    assert not found["ok"]
    assert "run errata dead-letters resume errata.voc/3" in found["message"]


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_a_clock_that_differs_from_the_database_is_found(errata, database_url, monkeypatch):
    monkeypatch.setenv("ERRATA_DATABASE__URL", database_url)
    errata("migrate")
    assert findings(errata("doctor", "--json"))["clock"]["ok"]
    monkeypatch.setattr("errata.command.serve.now_us", lambda: now_us() - 60_000_000)
    found = findings(errata("doctor", "--json"))["clock"]
    assert not found["ok"]
    assert "it differs from the database's by " in found["message"]


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
        (Topic(6), "errata.voc 6): raise all to 6 by kafka-topics --alter"),
        (Topic(4, 3_600_000, "delete"), "errata.voc keeps records for 1 h: set retention.ms"),
        (Topic(4, -1, "compact,delete"), "errata.voc is compacted, which removes events: set cleanup.policy"),
    ],
)
def test_topics_that_would_lose_events_are_named_with_the_remedy(topic, said):
    assert said in judge_topics(topics(voc=topic))


def test_topics_are_described_by_the_broker(fresh_broker):
    settings = Broker(bootstrap=fresh_broker, partitions=3)
    assert describe_topics(settings, EVENT_TOPICS) == {}
    ensure_topics(settings)
    assert {topic.n_partitions for topic in describe_topics(settings, EVENT_TOPICS).values()} == {3}
