"""The command as a whole: what people mistype, what is not there, and how it says so."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from kafka import KafkaAdminClient

from errata.command.cli import build
from errata.command.processes import errata_command
from errata.identity import new_id
from errata.redaction import Redaction
from errata.settings import Broker
from errata.topics import FEEDBACK, ensure_topics
from storage.database import current_revision, newest_revision, open_database
from storage.pauses import pause_flooded, resume
from storage.tables import verify_rounds

READING = [
    ("report",),
    ("report", "--json"),
    ("verify",),
    ("runs",),
    ("voc", "list"),
    ("voc", "export", "voc.csv"),
    ("dead-letters", "list"),
    ("dead-letters", "show", "errata.voc/0/0/0"),
    ("dead-letters", "replay"),
    ("batch", "list"),
    ("batch", "show", "x"),
    ("batch", "order", "card-reader"),
    ("batch", "export", "x"),
    ("batch", "accept", "x", "--reason", "y"),
    ("batch", "reject", "x", "--reason", "y"),
    ("release", "list"),
    ("release", "promote", "card-reader", "1", "--reason", "y"),
    ("release", "rollback", "card-reader", "--reason", "y"),
    ("retrain", "card-reader"),
]


def is_one_clear_sentence(text: str) -> bool:
    return text.startswith("errata: ") and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_without_tables_every_verb_says_what_to_run(errata, arguments):
    answer = errata(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert is_one_clear_sentence(answer.err)
    assert "errata migrate" in answer.err


@pytest.mark.parametrize("arguments", [READING[0], READING[9], READING[-1]], ids=" ".join)
def test_a_database_that_does_not_answer_is_3(errata, monkeypatch, arguments):
    monkeypatch.setenv("ERRATA_DATABASE__URL", "postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    answer = errata(*arguments)
    assert (answer.code, answer.out) == (3, "")
    assert is_one_clear_sentence(answer.err)


@pytest.mark.parametrize("url", ["mysql://x/y", "errata.db", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_url_that_cannot_be_is_refused(errata, monkeypatch, url):
    monkeypatch.setenv("ERRATA_DATABASE__URL", url)
    answer = errata("report")
    assert answer.code == 2
    assert is_one_clear_sentence(answer.err)
    assert "database.url" in answer.err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "ERRATA_BROKER__BOOTSTRAPS",
            "x:1",
            "unknown setting broker.bootstraps: did you mean broker.bootstrap?",
        ),
        ("ERRATA_WORKR__GROUP", "x", "unknown setting workr: did you mean worker?"),
        ("ERRATA_BROKER__PARTITIONS", "many", "$.broker.partitions"),
        ("ERRATA_BROKER__PARTITIONS", "0", "broker.partitions must be 1 or more"),
    ],
)
def test_a_wrong_setting_is_named(errata, monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    answer = errata("report")
    assert answer.code == 2
    assert is_one_clear_sentence(answer.err)
    assert said in answer.err


@pytest.mark.parametrize("content", [None, "[broker", "[broker]\nbootstrap = 3\n"])
def test_a_settings_file_that_cannot_be_read_is_named(errata, tmp_path, content):
    path = tmp_path / "mine.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    answer = errata("--settings", str(path), "report")
    assert answer.code == 2
    assert is_one_clear_sentence(answer.err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reprot",), "Did you mean 'report'? See errata --help"),
        (("batch", "accpet"), "Did you mean 'accept'? See errata batch --help"),
        (("report", "--modle", "x"), "See errata report --help"),
        (("batch", "show"), "See errata batch show --help"),
    ],
    ids=str,
)
def test_what_is_mistyped_is_pointed_to_its_help(errata, arguments, said):
    answer = errata(*arguments)
    assert answer.code == 2
    assert is_one_clear_sentence(answer.err)
    assert said in answer.err


def test_migrate_makes_the_tables_and_may_be_repeated(errata, tmp_path):
    for _ in range(2):
        assert errata("migrate").code == 0
    assert current_revision(f"sqlite:///{tmp_path / 'errata.db'}") == newest_revision()
    assert errata("report", "--json").json() == {
        "numbers": [],
        "corrections": [],
        "audits": [],
        "requirements": [],
    }


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(build(Redaction())))), ids=" ".join)
def test_every_verb_has_help_with_an_example(errata, path):
    answer = errata(*path, "--help")
    assert answer.code == 0
    assert re.search(r"Example: (errata|curl)", answer.out)


def test_the_script_and_the_module_are_the_same():
    script = str(Path(sys.executable).with_name("errata"))
    helps = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in ([script, "--help"], [*errata_command(), "--help"])
    ]
    assert helps[0] == helps[1]
    assert "dead-letters" in helps[0]


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_a_reader_that_has_seen_enough_leaves_no_trace(errata, seeded, options):
    """As in `errata voc list | head -c 1`."""
    process = subprocess.Popen(
        errata_command("voc", "list", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(30)


class TestDoctor:
    """What the doctor finds, and how it says to mend it."""

    def findings(self, answer):
        return {finding["check"]: finding for finding in answer.json()}

    def test_all_is_well(self, errata, fresh_broker, monkeypatch):
        monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
        ensure_topics(Broker(bootstrap=fresh_broker))
        errata("migrate")
        answer = errata("doctor")
        assert answer.code == 0, answer.out
        assert [line[:4] for line in answer.out.splitlines()] == ["ok  "] * 8
        assert "no trainer: card-reader, translator" in answer.out

    def test_everything_is_wrong_at_once(self, errata, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("ERRATA_ARTIFACTS__DIRECTORY", str(tmp_path / "file"))
        monkeypatch.setenv("ERRATA_SETTINGS", str(tmp_path / "empty.toml"))
        (tmp_path / "empty.toml").write_text("")
        answer = errata("doctor", "--json")
        assert answer.code == 2
        found = self.findings(answer)
        wrong = {name for name, finding in found.items() if not finding["ok"]}
        assert wrong == {"models", "database", "broker", "artifacts"}
        assert "add a [models.NAME] table" in found["models"]["message"]
        assert "run errata migrate" in found["database"]["message"]
        assert "check broker.bootstrap" in found["broker"]["message"]
        assert "check artifacts.directory" in found["artifacts"]["message"]

    def test_missing_topics_are_named(self, errata, fresh_broker, monkeypatch):
        monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
        errata("migrate")
        answer = errata("doctor")
        assert answer.code == 2
        assert "FAIL  broker: topics missing: errata.feedback, errata.predictions" in answer.out

    def test_topics_that_differ_in_partitions(self, errata, fresh_broker, monkeypatch):
        monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
        admin = KafkaAdminClient(bootstrap_servers=fresh_broker)
        admin.create_topics({FEEDBACK: {"num_partitions": 7, "replication_factor": 1}})
        admin.close()
        ensure_topics(Broker(bootstrap=fresh_broker))
        errata("migrate")
        answer = errata("doctor")
        assert answer.code == 2
        assert (
            "topics differ in partitions (errata.feedback 7, errata.predictions 4, errata.voc 4)"
            in answer.out
        )

    def test_a_paused_partition_and_differences_are_told(self, errata):
        errata("migrate")
        database = open_database(os.environ["ERRATA_DATABASE__URL"])
        pause_flooded(database, "errata.voc", 3, n=9, n_dead=9, span_us=1, now_us=1, new_id=new_id)
        told = self.findings(errata("doctor", "--json"))["intake"]
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
        told = self.findings(errata("doctor", "--json"))["intake"]
        assert told["message"] == "3 differences between counts and facts: run errata verify"

    def test_little_room_is_told(self, errata, monkeypatch):
        errata("migrate")
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5_000_000))
        told = self.findings(errata("doctor", "--json"))["disk"]
        assert not told["ok"]
        assert "(0.0 GB): make room" in told["message"]

    @pytest.mark.parametrize(("skew_us", "ok"), [(0, True), (-60_000_000, False), (60_000_000, False)])
    def test_a_clock_that_differs_is_told(self, errata, monkeypatch, skew_us, ok):
        errata("migrate")
        told_us = lambda _: time.time_ns() // 1000 + skew_us  # noqa: E731
        monkeypatch.setattr("storage.database.read_clock_us", told_us)
        told = self.findings(errata("doctor", "--json"))["clock"]
        assert told["ok"] is ok
        assert ok or "differs from the database's by 60.0 s: run NTP" in told["message"]

    def test_a_database_that_does_not_answer(self, errata, monkeypatch):
        monkeypatch.setenv("ERRATA_DATABASE__URL", "postgresql+psycopg://nobody@127.0.0.1:1/nothing")
        assert "check database.url" in self.findings(errata("doctor", "--json"))["database"]["message"]
