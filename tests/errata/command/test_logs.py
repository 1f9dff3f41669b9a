"""What processes write to standard error: lines for people, or for a collector, and no secret in either."""

import json
import subprocess
import sys

PROGRAM = """
import logging, sys, threading
from errata.command.logs import configure_logging
from errata.redaction import Redaction
from errata.settings import Broker, Logs, Settings

redaction = Redaction()
redaction.learn(Settings(broker=Broker(password="geheim-17", security_protocol="SASL_SSL")))
configure_logging(Logs(format=sys.argv[1], level="warning"), redaction)
log = logging.getLogger("streams.worker")
log.info("too little to be told")
log.warning("the password is geheim-17\\nand half a character is \\ud83d")
logging.getLogger("elsewhere").warning(extra={"partition": 3, "unheard": "of"}, msg="of a library: \uc548\ub155")
try:
    raise ValueError("not geheim-17 again")
except ValueError:
    log.exception("it failed")
thread = threading.Thread(target=lambda: 1 / 0, name="helper")
thread.start()
thread.join()
"""


def lines_of(form: str) -> list[str]:
    run = [sys.executable, "-X", "utf8", "-c", PROGRAM, form]
    told = subprocess.run(run, capture_output=True, text=True, check=True).stderr
    assert "geheim" not in told
    assert "too little" not in told
    return told.splitlines()


def test_json_is_one_object_a_line_whatever_is_logged():
    told = [json.loads(line) for line in lines_of("json")]
    assert [(each["level"], each["logger"]) for each in told] == [
        ("warning", "streams.worker"),
        ("warning", "elsewhere"),
        ("error", "streams.worker"),
        ("error", "errata"),
    ]
    assert told[0]["message"] == "the password is ***\nand half a character is \ud83d"
    assert told[1]["message"] == "of a library: \uc548\ub155"
    assert told[1].keys() == {"time", "level", "logger", "message", "partition"}
    assert told[1]["partition"] == 3
    assert "ValueError: not *** again" in told[2]["trace"]
    assert told[3]["message"] == "helper has ended"
    assert "ZeroDivisionError" in told[3]["trace"]
    assert all(each["time"].endswith("Z") for each in told)


def test_text_is_for_people():
    lines = lines_of("text")
    assert lines[0].endswith("WARNING streams.worker: the password is ***")
    assert "ValueError: not *** again" in lines


FAILING = """
import logging, sys
from errata.command.logs import configure_logging
from errata.redaction import Redaction
from errata.settings import Broker, Logs, Settings

redaction = Redaction()
redaction.learn(Settings(broker=Broker(password='a"b-geheim', security_protocol="SASL_SSL")))
configure_logging(Logs(format=sys.argv[1]), redaction)
log = logging.getLogger("streams.worker")
log.warning("a number: %d", 'a"b-geheim')
log.warning("connected with %s", {"password": 'a"b-geheim'}, extra={"topic": object})
"""


def test_a_message_that_cannot_be_written_tells_no_secret_and_holds_up_nothing():
    for form in ("json", "text"):
        run = [sys.executable, "-c", FAILING, form]
        lost, kept = subprocess.run(run, capture_output=True, text=True, check=True).stderr.splitlines()
        assert lost.startswith("a message of streams.worker, line ")
        assert "geheim" not in lost + kept
        assert "connected with {'password': '***'}" in kept
