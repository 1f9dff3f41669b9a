"""Lines that people read, or that a collector searches by field; no secret in either."""

import json
import logging

import pytest

from errata.command.logs import configure_logging
from errata.redaction import Redaction
from errata.settings import Broker, Logs, Settings


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch):
    """Afterwards, handlers and levels are again those of the test run."""
    root = logging.getLogger()
    before = root.handlers, root.level
    monkeypatch.setattr("threading.excepthook", None)
    yield
    root.handlers, root.level = before


def configure(format_: str) -> None:
    # As a process has it at its start; pytest has put handlers of its own there.
    logging.getLogger().handlers = []
    redaction = Redaction()
    redaction.learn(Settings(broker=Broker(password='open"sesame')))
    configure_logging(Logs(format=format_), redaction)


def test_text_is_a_line_with_time_level_and_name(capsys):
    configure("text")
    logging.getLogger("streams.agents").info("stored %d", 7)
    assert capsys.readouterr().err.endswith(" INFO streams.agents: stored 7\n")


def test_json_is_an_object_a_line_with_what_the_message_is_about(capsys):
    configure("json")
    where = {"topic": "errata.voc", "partition": 3, "unheard": "of"}
    logging.getLogger("streams.agents").warning("gave up\n한 줄", extra=where)
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "WARNING",
        "logger": "streams.agents",
        "message": "gave up\n한 줄",
        "topic": "errata.voc",
        "partition": 3,
    }


def test_json_has_the_trace_of_an_error_in_its_line(capsys):
    configure("json")
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError:
        logging.getLogger("errata").exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["trace"].endswith("ZeroDivisionError: a bug")


@pytest.mark.parametrize("format_", ["text", "json"])
def test_no_secret_is_in_either(format_, capsys):
    configure(format_)
    logging.getLogger("errata").error('refused open"sesame and %s', {"password": 'open"sesame'})
    said = capsys.readouterr().err
    assert "sesame" not in said
    assert "***" in said
    assert format_ == "text" or json.loads(said)
