"""The command as a whole: what people mistype, what is not there, and how it says so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from errata.command.cli import build
from errata.command.processes import errata_command
from errata.redaction import Redaction
from storage.database import current_revision, newest_revision

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
    report = errata("report", "--json").json()
    assert {"numbers", "corrections", "audits", "requirements"} <= report.keys()
    assert not any(report.values())


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
