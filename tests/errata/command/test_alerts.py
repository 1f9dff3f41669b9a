"""`errata alerts`: what people were told is listed, a test is sent at once, and an alert is closed by hand."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from errata.command.session import now_us
from errata.identity import new_id
from storage.alerts import News, claim_deliveries, find_open, note_failure, raise_alert, route
from storage.database import Database
from tests.servers import free_port

NEWS = News(
    key="drift/card-reader/all",
    kind="drift",
    severity="warning",
    title="Drift of card-reader 2",
    sentence="30 of 100 were corrected.\x1b[2J",
    model="card-reader",
)


@pytest.fixture
def noticed(database: Database) -> Database:
    """A database with an open alert that a channel did not take."""
    with database.write() as c:
        raise_alert(c, NEWS, now_us(), new_id)
    route(database, lambda _: ["team-chat"], now_us(), 0)
    claimed = claim_deliveries(database, "team-chat", now_us(), lambda _: 0, only_urgent=False)
    note_failure(database, [delivery for delivery, _ in claimed], "error=500")
    return database


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A webhook, and what it was told."""
    received: list[dict[str, str]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"json://127.0.0.1:{server.server_address[1]}", received
        server.shutdown()


def test_alerts_are_listed_with_what_became_of_them(errata, noticed):
    listed = errata("alerts", "list", "--open")
    assert listed.code == 0
    assert "warning   drift/card-reader/all  open\n    Drift of card-reader 2: 30 of 100" in listed.out
    assert "team-chat  not taken 1 times: error=500" in listed.out
    assert "\x1b" not in listed.out
    [as_json] = errata("alerts", "list", "--model", "card-reader", "--open", "--json").json()
    assert (as_json["key"], as_json["resolved_us"]) == (NEWS.key, None)
    assert [each["channel"] for each in as_json["deliveries"]] == ["team-chat"]
    others = errata("alerts", "list", "--model", "translator", "--json").json()
    assert [each["key"] for each in others] == ["failure/translator"]


def test_one_is_resolved_by_hand_once(errata, noticed):
    assert errata("alerts", "resolve", NEWS.key, "--reason", "The camera was replaced.").code == 0
    with noticed.read() as c:
        assert find_open(c, NEWS.key) is None
    assert "The camera was replaced." in errata("alerts", "list").out
    again = errata("alerts", "resolve", NEWS.key)
    assert (again.code, NEWS.key in again.err) == (2, True)


def test_a_test_is_sent_at_once_and_says_which_channel_did_not_take_it(errata, webhook, monkeypatch):
    url, received = webhook
    monkeypatch.setenv("ERRATA_ALERTS__CHANNELS__GOOD__URL", url)
    assert errata("alerts", "test").out == "good  taken\n"
    assert [each["title"] for each in received] == ["A test"]
    monkeypatch.setenv("ERRATA_ALERTS__CHANNELS__DEAD__URL", f"json://127.0.0.1:{free_port()}")
    both = errata("alerts", "test", "--json")
    assert both.code == 1
    assert {each["channel"]: each["taken"] for each in both.json()} == {"dead": False, "good": True}
    assert errata("alerts", "test", "--channel", "good").code == 0


def test_a_channel_that_is_not_there_is_named_with_its_nearest(errata, monkeypatch):
    assert "[alerts.channels.NAME]" in errata("alerts", "test").err
    monkeypatch.setenv("ERRATA_ALERTS__CHANNELS__MAIL__URL", "")
    assert "did you mean mail?" in errata("alerts", "test", "--channel", "mial").err
