"""Who is told of which alert, when and in which words; and that it arrives, by real requests and real mail."""

import email
import email.policy
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiosmtpd.controller import Controller

from errata.errors import SettingsError, Unavailable
from errata.identity import new_id
from errata.settings import Alerts, Channel
from storage.alerts import News, list_alerts, raise_alert, read_deliveries, resolve_alert, try_channel
from storage.database import Database
from storage.records import Alert
from streams.alerts import AlertSender, is_quiet, receivers, retry_us, write_message
from streams.channels import Message, Send, send
from tests.builders import START_US
from tests.records import MODEL
from tests.servers import free_port

SEOUL = ZoneInfo("Asia/Seoul")
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
TOKEN = "canary7QcanaryToken"

AN_ALERT = Alert(
    id=new_id(START_US),
    key=f"drift/{MODEL}/all",
    kind="drift",
    model=MODEL,
    severity="warning",
    title=f"Drift of {MODEL}",
    sentence="30 of 100 predictions were corrected.",
    opened_us=START_US,
    last_seen_us=START_US,
)


@pytest.fixture
def dialect() -> str:
    """What is sent does not depend on the database; tests/storage/test_alerts.py has both."""
    return "sqlite"


class Posts:
    """Webhooks that were called; while `refuses` is set they answer 500."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.refuses = False


@pytest.fixture
def posts() -> Iterator[tuple[Posts, str]]:
    """A server for webhooks, and the Apprise URL of one; its token is a secret."""
    posts = Posts()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if not posts.refuses:
                posts.received.append((self.path, json.loads(body)))
            self.send_response(500 if posts.refuses else 200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield posts, f"json://127.0.0.1:{server.server_address[1]}/hooks/{TOKEN}"
        server.shutdown()


class Mailbox:
    """Mails that were delivered."""

    def __init__(self) -> None:
        self.received: list[email.message.EmailMessage] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, email.message.EmailMessage)
        self.received.append(message)
        return "250 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, str]]:
    """A mail server, and the Apprise URL of an address there."""
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield mailbox, f"mailto://127.0.0.1:{controller.port}?from=errata@example.com&to=oncall@example.com"
    controller.stop()


class FakeChannels:
    """Takes messages as channels do; those in `away` do not."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Message]] = []
        self.away: set[str] = set()

    def send(self, url: str, message: Message) -> None:
        if url in self.away:
            raise Unavailable(f"no answer from {url}")
        self.told.append((url, message))


def a_sender(send: Send, **channels: Channel) -> AlertSender:
    return AlertSender(Alerts(channels=channels), send, lambda text: text.replace(TOKEN, "***"))


def notice(db: Database, at_us: int = 0, **given: Any) -> None:
    values = {
        name: getattr(AN_ALERT, name) for name in ("key", "kind", "severity", "title", "sentence", "model")
    }
    with db.write() as c:
        raise_alert(c, News(**values | given), START_US + at_us, new_id)


def resolve(db: Database, at_us: int) -> None:
    with db.write() as c:
        resolve_alert(c, AN_ALERT.key, "The rate is back.", START_US + at_us)


def at(us: int) -> Callable[[], int]:
    return lambda: START_US + us


def seoul_us(clock: str) -> int:
    return int(datetime.fromisoformat(f"2026-11-28T{clock}").replace(tzinfo=SEOUL).timestamp()) * 1_000_000


# --- Real channels ------------------------------------------------------------------------------------------


def test_a_webhook_and_a_mailbox_are_told_when_it_begins_and_when_it_is_over(db, posts, mailbox):
    (webhooks, webhook), (mails, mail) = posts, mailbox
    sender = a_sender(send, hook=Channel(url=webhook), mail=Channel(url=mail))
    notice(db, sentence="100건 중 30건이 고쳐졌습니다.")
    assert [sender.send_due(db, at(each)) for each in (1, 2)] == [2, 0]
    resolve(db, 3)
    assert sender.send_due(db, at(4)) == 2
    assert [path for path, _ in webhooks.received] == [f"/hooks/{TOKEN}"] * 2
    opened, resolved = (body for _, body in webhooks.received)
    assert (opened["title"], opened["type"]) == (f"Warning: Drift of {MODEL}", "warning")
    assert opened["message"] == "100건 중 30건이 고쳐졌습니다.\nSince 2026-11-23 15:30 KST."
    assert (resolved["title"], resolved["type"]) == (f"Resolved: Drift of {MODEL}", "success")
    assert [message["subject"] for message in mails.received] == [opened["title"], resolved["title"]]
    body = mails.received[0].get_body(("plain", "html"))
    assert body is not None
    assert "100건 중 30건이 고쳐졌습니다." in body.get_content()


def test_a_webhook_that_refuses_is_told_later_and_its_url_is_nowhere(db, posts, caplog):
    webhooks, webhook = posts
    webhooks.refuses = True
    sender = a_sender(send, hook=Channel(url=webhook))
    notice(db)
    assert sender.send_due(db, at(0)) == 0
    with db.read() as c:
        (waiting,) = read_deliveries(c, [list_alerts(c)[0].id])
    assert "error=500" in (waiting.error or "")
    webhooks.refuses = False
    assert [sender.send_due(db, at(each)) for each in (retry_us(1) - 1, retry_us(1))] == [0, 1]
    assert len(webhooks.received) == 1
    assert "hook did not take 1 alerts" in caplog.text
    assert TOKEN not in caplog.text


def test_nobody_at_home_is_worth_another_attempt_and_a_wrong_url_is_not(caplog):
    message = Message(title="title", body="body", tone="info")
    with pytest.raises(Unavailable):
        send(f"json://127.0.0.1:{free_port()}", message)
    for url in ("", "nothing://of-the-kind"):
        with pytest.raises(SettingsError):
            send(url, message)


# --- Who and when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "alert", "is_told"),
    [
        (Channel(), AN_ALERT, True),
        (Channel(severity="critical"), AN_ALERT, False),
        (Channel(severity="warning"), AN_ALERT, True),
        (Channel(kinds=["failure"]), AN_ALERT, False),
        (Channel(kinds=["failure", "drift"]), AN_ALERT, True),
        (Channel(models=["translator"]), AN_ALERT, False),
        (Channel(models=[MODEL]), AN_ALERT, True),
        (Channel(models=[MODEL]), replace(AN_ALERT, model=None), True),
        (Channel(severity="critical"), replace(AN_ALERT, kind="test", key="test/chat"), True),
        (Channel(), replace(AN_ALERT, kind="test", key="test/mail"), False),
    ],
)
def test_a_channel_is_told_what_it_wants_to_hear_and_every_trial_of_it(channel, alert, is_told):
    assert receivers(Alerts(channels={"chat": channel}), alert) == (["chat"] if is_told else [])


@pytest.mark.parametrize(
    ("hours", "clock", "quiet"),
    [
        ("", "03:00", False),
        ("22:00-07:00", "21:59", False),
        ("22:00-07:00", "22:00", True),
        ("22:00-07:00", "03:00", True),
        ("22:00-07:00", "07:00", False),
        ("12:00-13:00", "12:30", True),
        ("12:00-13:00", "03:00", False),
        ("12:00-12:00", "12:00", False),
    ],
)
def test_quiet_hours_are_those_of_the_channels_zone(hours, clock, quiet):
    assert is_quiet(Channel(quiet_hours=hours, time_zone="Asia/Seoul"), seoul_us(clock)) is quiet


def test_what_comes_in_quiet_hours_comes_after_them_as_one_message(db):
    channels = FakeChannels()
    sender = a_sender(channels.send, chat=Channel(url="chat", quiet_hours="15:00-17:00"))
    notice(db)
    notice(db, 1, key="another", title="Another")
    assert sender.send_due(db, at(2)) == 0
    notice(db, 3, key="critical", title="Fire", severity="critical")
    assert sender.send_due(db, at(4)) == 1
    resolve(db, HOUR_US)
    assert [sender.send_due(db, at(each)) for each in (HOUR_US, 2 * HOUR_US)] == [0, 1]
    (_, urgent), (_, digest) = channels.told
    assert urgent.title == "Critical: Fire"
    assert digest.title == "2 alerts"
    assert f"Resolved: Drift of {MODEL}\nThe rate is back." in digest.body
    assert "Warning: Another\n" in digest.body


def test_a_trial_does_not_wait_for_the_morning(db):
    channels = FakeChannels()
    sender = a_sender(channels.send, chat=Channel(url="chat", quiet_hours="00:00-23:59", kinds=["drift"]))
    with db.write() as c:
        try_channel(c, "chat", "the dashboard", START_US, new_id)
    assert sender.send_due(db, at(1)) == 1
    assert channels.told[0][1].title == "A test"


def test_a_channel_that_is_away_holds_no_other_back_and_hears_everything_later(db):
    channels = FakeChannels()
    channels.away = {"chat"}
    sender = a_sender(channels.send, chat=Channel(url="chat"), mail=Channel(url="mail"))
    notice(db)
    assert sender.send_due(db, at(0)) == 1
    resolve(db, 1)
    notice(db, 2)
    assert sender.send_due(db, at(3)) == 1
    channels.away = set()
    assert sender.send_due(db, at(10 * HOUR_US)) == 1
    name, message = channels.told[-1]
    assert (name, message.title) == ("chat", "2 alerts")
    assert message.body.index("Resolved: ") < message.body.index("Warning: ")


def test_pauses_between_attempts_double_up_to_an_hour():
    assert [retry_us(n) // 1_000_000 for n in (1, 2, 3, 7, 8, 1000)] == [30, 60, 120, 1920, 3600, 3600]


def test_without_channels_alerts_are_kept_and_old_ones_are_not_told_to_a_new_channel(db):
    channels = FakeChannels()
    notice(db)
    assert a_sender(channels.send).send_due(db, at(0)) == 0
    assert a_sender(channels.send, chat=Channel(url="chat")).send_due(db, at(1)) == 0


# --- In which words -----------------------------------------------------------------------------------------


def test_a_message_says_what_since_when_and_where_to_look():
    message = write_message([AN_ALERT], SEOUL, "https://errata.example.com/")
    assert message == Message(
        title=f"Warning: Drift of {MODEL}",
        body=(
            "30 of 100 predictions were corrected.\nSince 2026-11-23 15:30 KST.\n\nhttps://errata.example.com/alerts"
        ),
        tone="warning",
    )


def test_an_announcement_says_when_and_is_no_good_news_by_being_over():
    failed = replace(AN_ALERT, severity="critical", title="It failed", resolved_us=START_US)
    message = write_message([failed], SEOUL, "")
    assert (message.title, message.tone) == ("Critical: It failed", "failure")
    assert message.body == "30 of 100 predictions were corrected.\n2026-11-23 15:30 KST"


def test_a_message_is_as_severe_as_the_worst_that_lasts():
    over = replace(AN_ALERT, severity="critical", resolved_us=START_US + HOUR_US, resolution="It is over.")
    assert write_message([over], SEOUL, "").tone == "success"
    assert write_message([over, AN_ALERT], SEOUL, "").tone == "warning"
    assert "From 2026-11-23 15:30 KST to 2026-11-23 16:30 KST: 30 of" in write_message([over], SEOUL, "").body


def test_of_many_alerts_some_are_told_and_the_others_counted():
    message = write_message([AN_ALERT] * 25, SEOUL, "")
    assert message.title == "25 alerts"
    assert message.body.count("30 of 100") == 20
    assert message.body.endswith("And 5 more: errata alerts list")


def test_what_services_wrote_calls_nobody_and_adds_no_line_to_a_title():
    hostile = replace(AN_ALERT, title="a\r\nBcc: x@y.z", sentence="<!channel> @everyone \x1b[2J")
    message = write_message([hostile], SEOUL, "")
    assert "\n" not in message.title
    for mention in ("<!channel>", "@everyone", "\x1b"):
        assert mention not in message.body
