"""A condition has one open alert; each channel is told of it, and told again until it has taken it."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from errata.errors import Malformed
from errata.identity import new_id
from errata.topics import ALERT_OPENED, ALERT_RESOLVED, SIGNALS
from storage import outbox
from storage.alerts import (
    KEY_CHARACTERS,
    News,
    announce,
    claim_deliveries,
    count_waiting,
    find_open,
    list_alerts,
    list_open,
    mark_delivered,
    note_failure,
    raise_alert,
    read_deliveries,
    resolve_alert,
    resolve_alerts_of,
    route,
)
from storage.database import Database
from storage.records import Alert, Delivery
from storage.tables import alert_deliveries, alerts
from tests.builders import START_US
from tests.records import MODEL

DAY_US = 86_400_000_000
RETRY_US = 30


def drift(**given: Any) -> News:
    """News of a drift that nobody has heard of."""
    values: dict[str, Any] = {
        "key": f"drift/{MODEL}/all",
        "kind": "drift",
        "severity": "warning",
        "title": f"Drift of {MODEL}",
        "sentence": "30 of 100 predictions were corrected.",
        "model": MODEL,
    }
    return News(**values | given)


def notice(db: Database, at_us: int = 0, **given: Any) -> bool:
    with db.write() as c:
        return raise_alert(c, drift(**given), START_US + at_us, new_id)


def resolve(db: Database, at_us: int, why: str = "The rate is back.") -> bool:
    with db.write() as c:
        return resolve_alert(c, drift().key, why, START_US + at_us)


def listed(db: Database) -> list[Alert]:
    with db.read() as c:
        return list_alerts(c)


def told(db: Database) -> list[outbox.Unsent]:
    with db.read() as c:
        return outbox.read_unsent(c, 100)


def give_out(db: Database, at_us: int, channels: Iterable[str] = ("chat",), remind_us: int = DAY_US) -> int:
    return route(db, lambda alert: channels, START_US + at_us, remind_us)


def claim(
    db: Database, at_us: int, channel: str = "chat", only_urgent: bool = False
) -> list[tuple[Delivery, Alert]]:
    return claim_deliveries(
        db, channel, START_US + at_us, lambda attempts: RETRY_US * attempts, only_urgent=only_urgent
    )


def deliver(db: Database, at_us: int, channel: str = "chat") -> list[Alert]:
    claimed = claim(db, at_us, channel)
    mark_delivered(db, [delivery for delivery, _ in claimed], START_US + at_us)
    return [alert for _, alert in claimed]


# --- Alerts -------------------------------------------------------------------------------------------------


def test_a_condition_that_is_noticed_again_is_no_new_alert(db: Database) -> None:
    assert [notice(db), notice(db, 5, sentence="40 of 130 predictions were corrected.")] == [True, False]
    (alert,) = listed(db)
    assert (alert.opened_us, alert.last_seen_us) == (START_US, START_US + 5)
    assert alert.sentence == "40 of 130 predictions were corrected."
    assert [event.type for event in told(db)] == [ALERT_OPENED]


def test_two_conditions_are_two_alerts(db: Database) -> None:
    notice(db)
    assert notice(db, key=f"drift/{MODEL}/device=ios")
    assert len(listed(db)) == 2


def test_a_resolved_one_has_its_reason_and_the_condition_can_come_again(db: Database) -> None:
    notice(db)
    assert resolve(db, 7)
    assert not resolve(db, 8)
    assert notice(db, 9)
    again, resolved = listed(db)
    assert (resolved.resolved_us, resolved.resolution) == (START_US + 7, "The rate is back.")
    assert again.resolved_us is None
    with db.read() as c:
        assert [alert.id for alert in list_open(c)] == [again.id]
        assert find_open(c, drift().key) == again
        assert find_open(c, "another") is None


def test_an_announcement_is_over_when_it_is_made(db: Database) -> None:
    with db.write() as c:
        for _ in range(2):
            announce(c, drift(kind="verdict"), START_US, new_id)
    assert [alert.resolved_us for alert in listed(db)] == [START_US, START_US]
    assert not resolve(db, 1)


def test_all_of_a_model_are_resolved_at_once(db: Database) -> None:
    notice(db)
    notice(db, key="drift/device=ios")
    notice(db, key="drift/other", model="translator")
    notice(db, key=f"failure/{MODEL}", kind="failure")
    with db.write() as c:
        assert resolve_alerts_of(c, MODEL, ("drift",), "Version 2 is live.", START_US + 1) == 2
    with db.read() as c:
        assert {alert.key for alert in list_open(c)} == {"drift/other", f"failure/{MODEL}"}


def test_the_most_severe_are_listed_first(db: Database) -> None:
    for number, severity in enumerate(["warning", "info", "critical", "warning"]):
        notice(db, number, key=str(number), severity=severity)
    with db.read() as c:
        assert [alert.key for alert in list_open(c)] == ["2", "3", "0", "1"]


def test_everyone_is_told_by_an_event_that_can_be_told_from_its_repetition(db: Database) -> None:
    notice(db)
    resolve(db, 7)
    (alert,) = listed(db)
    opened, resolved = told(db)
    assert (opened.topic, opened.key, opened.type, opened.id) == (SIGNALS, MODEL, ALERT_OPENED, alert.id)
    assert (resolved.topic, resolved.key, resolved.type) == (SIGNALS, MODEL, ALERT_RESOLVED)
    assert json.loads(opened.data)["title"] == alert.title
    assert json.loads(resolved.data)["resolution"] == "The rate is back."


def test_what_raises_it_and_the_alert_are_stored_together_or_not_at_all(db: Database) -> None:
    def notice_and_fail() -> None:
        with db.write() as c:
            raise_alert(c, drift(), START_US, new_id)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        notice_and_fail()
    assert (listed(db), told(db)) == ([], [])


def test_a_key_that_does_not_fit_is_refused(db: Database) -> None:
    with pytest.raises(Malformed, match="too long"):
        notice(db, key="k" * (KEY_CHARACTERS + 1))


# --- Deliveries ---------------------------------------------------------------------------------------------


def test_each_channel_is_told_once_that_it_began_and_once_that_it_is_over(db: Database) -> None:
    notice(db)
    assert give_out(db, 1, ["chat", "mail"]) == 2
    assert [len(deliver(db, 1, channel)) for channel in ("chat", "mail")] == [1, 1]
    notice(db, 2)
    assert (give_out(db, 2), deliver(db, 2)) == (0, [])
    resolve(db, 3)
    assert give_out(db, 4, ["chat", "mail"]) == 2
    assert [alert.resolution for alert in deliver(db, 4)] == ["The rate is back."]
    assert give_out(db, 10 * DAY_US) == 0


def test_a_reminder_comes_after_its_time_and_again(db: Database) -> None:
    notice(db)
    give_out(db, 0)
    deliver(db, 0)
    assert [give_out(db, at_us) for at_us in (DAY_US - 1, DAY_US, DAY_US + 1)] == [0, 1, 0]
    deliver(db, DAY_US)
    assert give_out(db, 2 * DAY_US) == 1


def test_nobody_is_reminded_where_that_is_not_wanted(db: Database) -> None:
    notice(db)
    assert [give_out(db, at_us, remind_us=0) for at_us in (0, 10 * DAY_US)] == [1, 0]


def test_what_became_worse_is_told_again_and_what_became_better_is_not(db: Database) -> None:
    notice(db)
    give_out(db, 0)
    deliver(db, 0)
    notice(db, 1, severity="critical")
    assert give_out(db, 1) == 1
    assert [alert.severity for alert in deliver(db, 1)] == ["critical"]
    notice(db, 2, severity="info")
    assert give_out(db, 2) == 0
    assert listed(db)[0].severity == "critical"


def test_one_that_nobody_wants_to_hear_of_is_kept_and_not_asked_for_again(db: Database) -> None:
    notice(db)
    assert give_out(db, 0, []) == 0
    assert len(listed(db)) == 1


def test_one_that_was_over_before_it_was_told_is_told_once(db: Database) -> None:
    notice(db)
    give_out(db, 0)
    resolve(db, 1)
    assert give_out(db, 2) == 0
    assert [alert.resolved_us for alert in deliver(db, 3)] == [START_US + 1]


def test_the_end_is_not_lost_on_a_channel_that_is_being_told_of_the_beginning(db: Database) -> None:
    notice(db)
    give_out(db, 0)
    ((first, as_it_was),) = claim(db, 0)
    resolve(db, 1)
    assert give_out(db, 2) == 1
    mark_delivered(db, [first], START_US + 3)
    assert as_it_was.resolved_us is None
    # It waits as long as the first would have waited for its next attempt.
    assert claim(db, 3) == []
    assert [alert.resolved_us for alert in deliver(db, RETRY_US)] == [START_US + 1]


def test_what_failed_waits_longer_each_time_and_is_not_lost(db: Database) -> None:
    notice(db)
    give_out(db, 0)
    for at_us in (0, 30, 90, 180):
        assert claim(db, at_us - 1) == []
        ((delivery, _),) = claim(db, at_us)
        note_failure(db, [delivery], "The server said no.")
    with db.read() as c:
        (waiting,) = read_deliveries(c, [listed(db)[0].id])
        assert count_waiting(c) == {"chat": 1}
    assert (waiting.attempts, waiting.error, waiting.sent_us) == (4, "The server said no.", None)
    assert len(deliver(db, 300)) == 1
    with db.read() as c:
        (sent,) = read_deliveries(c, [listed(db)[0].id])
        assert count_waiting(c) == {}
    assert (sent.sent_us, sent.error) == (START_US + 300, None)


def test_two_workers_do_not_send_the_same(db: Database) -> None:
    notice(db)
    give_out(db, 0)
    assert [len(claim(db, 0)), len(claim(db, 0))] == [1, 0]


def test_in_quiet_hours_only_what_is_urgent_is_claimed(db: Database) -> None:
    notice(db, key="warning")
    notice(db, key="critical", severity="critical")
    notice(db, key="test/chat", kind="test", severity="info")
    give_out(db, 0)
    assert {alert.key for _, alert in claim(db, 0, only_urgent=True)} == {"critical", "test/chat"}
    assert {alert.key for _, alert in claim(db, 1)} == {"warning"}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.sampled_from(["notice", "resolve", "route", "send", "fail", "die"]), min_size=1, max_size=25)
)
def test_whatever_happens_a_channel_hears_last_what_is_true(db: Database, history: list[str]) -> None:
    with db.write() as c:
        c.execute(alert_deliveries.delete())
        c.execute(alerts.delete())
    heard: dict[str, bool] = {}
    at_us = 0
    for what in [*history, "route", "send", "send"]:
        at_us += 1000
        match what:
            case "notice":
                notice(db, at_us)
            case "resolve":
                resolve(db, at_us)
            case "route":
                give_out(db, at_us, remind_us=0)
            case "send" | "fail" | "die":
                claimed = claim(db, at_us)
                if what == "send":
                    heard |= {alert.id: alert.resolved_us is None for _, alert in claimed}
                    mark_delivered(db, [delivery for delivery, _ in claimed], START_US + at_us)
                elif what == "fail":
                    note_failure(db, [delivery for delivery, _ in claimed], "no")
    assert heard == {alert.id: alert.resolved_us is None for alert in listed(db)}
    assert Counter(alert.key for alert in listed(db) if alert.resolved_us is None)[drift().key] <= 1
