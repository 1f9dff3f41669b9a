"""Alerts: conditions that people are told of, once when they begin and once when they are over.

Whoever notices one calls `raise_alert` in the transaction that stores what was noticed, and `resolve_alert` in the
one that ends it; `announce` is for what does not last. Whom it is told is settled later, by `route`, so that nobody who
raises an alert has to know the channels, or wait for them. What was settled is tried until it has been sent.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, Connection, and_, func, select

from errata.errors import Malformed
from errata.identity import NewId
from errata.settings import AlertKind, Severity
from errata.topics import ALERT_OPENED, ALERT_RESOLVED, SIGNALS
from storage import outbox
from storage.database import Database
from storage.insertion import insert_new, is_one_of
from storage.records import Alert, Delivery
from storage.tables import alert_deliveries, alerts

#: From the least severe on.
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
#: The longest key.
KEY_CHARACTERS: Final = 512

_a = alerts.c
_d = alert_deliveries.c


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What was noticed: `key` names the condition, the rest says it to people."""

    key: str
    kind: AlertKind
    severity: Severity
    title: str
    sentence: str
    model: str | None = None


def raise_alert(c: Connection, news: News, now_us: int, new_id: NewId) -> bool:
    """Open an alert, and return True; where its condition has an open one, note that it lasts, as it is known now.

    What has become more severe is told again.
    """
    if _open(c, news, now_us, new_id, resolved_us=None):
        return True
    known = c.execute(select(alerts).where(_is_open(news.key)).with_for_update()).one_or_none()
    if known is None:
        # It was resolved in this very moment: the next time it is noticed is a new alert.
        return False
    values: dict[str, Any] = {"title": news.title, "sentence": news.sentence}
    values["last_seen_us"] = max(known.last_seen_us, now_us)
    if SEVERITIES.index(news.severity) > SEVERITIES.index(known.severity):
        values |= {"severity": news.severity, "next_us": now_us}
    c.execute(alerts.update().where(_a.id == known.id).values(values))
    return False


def announce(c: Connection, news: News, now_us: int, new_id: NewId) -> None:
    """Tell of something that happened and is over: an alert that is closed from the beginning."""
    _open(c, news, now_us, new_id, resolved_us=now_us)


def try_channel(c: Connection, channel: str, who: str, now_us: int, new_id: NewId) -> None:
    """Announce to one channel that it works, on the way that alerts take."""
    sentence = f"Sent from {who}: what you read here, Errata can tell you."
    news = News(key=trial_key(channel), kind="test", severity="info", title="A test", sentence=sentence)
    announce(c, news, now_us, new_id)


def trial_key(channel: str) -> str:
    """The key of an alert by which a channel is tried."""
    return f"test/{channel}"


def resolve_alert(c: Connection, key: str, why: str, now_us: int) -> bool:
    """Close the open alert of a condition, because of `why`; False where there is none."""
    return bool(_resolve(c, _is_open(key), why, now_us))


def resolve_alerts_of(c: Connection, model: str, kinds: Collection[AlertKind], why: str, now_us: int) -> int:
    """Close the open alerts of a model that are of `kinds`, because of `why`; return how many there were."""
    wanted = and_(_a.model == model, _a.kind.in_(kinds), _a.resolved_us.is_(None))
    return len(_resolve(c, wanted, why, now_us))


def list_open(c: Connection) -> list[Alert]:
    """The alerts that are open, the most severe first, and of these the latest."""
    found = [_to_alert(row) for row in c.execute(select(alerts).where(_a.resolved_us.is_(None))).mappings()]
    return sorted(
        found, key=lambda alert: (SEVERITIES.index(alert.severity), alert.opened_us, alert.id), reverse=True
    )


def list_alerts(c: Connection, *, model: str | None = None, limit: int = 100) -> list[Alert]:
    """Open and resolved alerts, the latest first."""
    wanted = select(alerts).order_by(_a.opened_us.desc(), _a.id.desc()).limit(limit)
    if model is not None:
        wanted = wanted.where(_a.model == model)
    return [_to_alert(row) for row in c.execute(wanted).mappings()]


def find_open(c: Connection, key: str) -> Alert | None:
    """The open alert of a condition, if there is one."""
    row = c.execute(select(alerts).where(_is_open(key))).mappings().one_or_none()
    return None if row is None else _to_alert(row)


def read_deliveries(c: Connection, alert_ids: Sequence[str]) -> list[Delivery]:
    """What was and is to be delivered of some alerts, the oldest news first."""
    wanted = select(alert_deliveries).where(is_one_of(c, _d.alert_id, sorted(alert_ids)))
    rows = c.execute(wanted.order_by(_d.stored_us, _d.channel, _d.alert_id)).mappings()
    return [Delivery(**row) for row in rows]


def count_waiting(c: Connection) -> dict[str, int]:
    """How many deliveries were tried and not sent, by channel."""
    failing = select(_d.channel, func.count().label("n")).where(_d.sent_us.is_(None), _d.attempts > 0)
    return {row.channel: row.n for row in c.execute(failing.group_by(_d.channel))}


def route(db: Database, receivers: Callable[[Alert], Iterable[str]], now_us: int, remind_us: int) -> int:
    """Make a delivery for each channel that `receivers` names, of each alert with news; return how many were made.

    News is an alert that was opened, became more severe, was resolved, or has been open for another `remind_us` (0:
    never). A channel that was not tried yet needs no second delivery: it will be told the alert as it is by then.
    """
    with db.write() as c:
        wanted = select(alerts).where(_a.next_us <= now_us).order_by(_a.opened_us, _a.id)
        n = 0
        for row in c.execute(wanted.with_for_update(skip_locked=True)).mappings().all():
            alert = _to_alert(row)
            due = dict.fromkeys(receivers(alert), now_us)
            # Locked, because one that is claimed at this moment tells the alert as it was.
            unsent = select(alert_deliveries).where(_d.alert_id == alert.id, _d.sent_us.is_(None))
            for waiting in c.execute(unsent.with_for_update()).all():
                if waiting.attempts == 0:
                    due.pop(waiting.channel, None)
                elif waiting.channel in due:
                    # Not before the one that is tried again, which says what came first.
                    due[waiting.channel] = max(due[waiting.channel], waiting.due_us)
            _put_deliveries(c, alert.id, due, now_us)
            n += len(due)
            is_over = alert.resolved_us is not None or not remind_us
            next_us = None if is_over else now_us + remind_us
            c.execute(alerts.update().where(_a.id == alert.id).values(told_us=now_us, next_us=next_us))
    return n


def claim_deliveries(
    db: Database, channel: str, now_us: int, retry_us: Callable[[int], int], *, only_urgent: bool
) -> list[tuple[Delivery, Alert]]:
    """The deliveries of a channel that are due, each with its alert as it is now.

    Unless they are marked they are due again, after the n-th attempt in `retry_us(n)`: so a process that dies while it
    sends loses nothing, and two of them do not send the same. With `only_urgent`, those that `is_urgent` names.
    """
    with db.write() as c:
        due = select(alert_deliveries).where(_d.channel == channel, _d.sent_us.is_(None), _d.due_us <= now_us)
        found = [
            Delivery(**row)
            for row in c.execute(due.with_for_update(skip_locked=True).order_by(_d.stored_us, _d.alert_id))
            .mappings()
            .all()
        ]
        of = select(alerts).where(is_one_of(c, _a.id, sorted({each.alert_id for each in found})))
        by_id = {alert.id: alert for alert in map(_to_alert, c.execute(of).mappings())}
        claimed = [
            (each, by_id[each.alert_id])
            for each in found
            if not only_urgent or is_urgent(by_id[each.alert_id])
        ]
        # Together again next time, or a later one would overtake an earlier one.
        attempts = 1 + max((each.attempts for each, _ in claimed), default=0)
        for each, _ in claimed:
            c.execute(
                alert_deliveries.update()
                .where(_is_delivery(each))
                .values(attempts=each.attempts + 1, due_us=now_us + retry_us(attempts))
            )
    return claimed


def is_urgent(alert: Alert) -> bool:
    """Whether quiet hours do not hold an alert back."""
    return alert.severity == "critical" or alert.kind == "test"


def mark_delivered(db: Database, deliveries: Sequence[Delivery], now_us: int) -> None:
    """Note that a channel has taken them."""
    _mark(db, deliveries, {"sent_us": now_us, "error": None})


def note_failure(db: Database, deliveries: Sequence[Delivery], error: str) -> None:
    """Note why they could not be sent."""
    _mark(db, deliveries, {"error": error})


def _mark(db: Database, deliveries: Sequence[Delivery], values: dict[str, Any]) -> None:
    with db.write() as c:
        for each in deliveries:
            c.execute(alert_deliveries.update().where(_is_delivery(each)).values(values))


def _open(c: Connection, news: News, now_us: int, new_id: NewId, resolved_us: int | None) -> bool:
    """Store a new alert, unless its condition has an open one; tell whether it was stored."""
    if len(news.key) > KEY_CHARACTERS:
        raise Malformed("bad_alert", f"the key of an alert is too long: {news.key}")
    row = asdict(news) | {
        "id": new_id(now_us),
        "opened_us": now_us,
        "last_seen_us": now_us,
        "resolved_us": resolved_us,
        "resolution": None,
        "told_us": None,
        "next_us": now_us,
    }
    insert_new(c, alerts, [row])
    stored = c.execute(select(alerts).where(_a.id == row["id"])).mappings().one_or_none()
    if stored is None:
        return False
    alert = _to_alert(stored)
    outbox.put(c, SIGNALS, alert.model or alert.key, ALERT_OPENED, asdict(alert), now_us, alert.id)
    return True


def _resolve(c: Connection, wanted: ColumnElement[bool], why: str, now_us: int) -> list[Alert]:
    resolved = []
    for row in c.execute(select(alerts).where(wanted).with_for_update()).mappings().all():
        values = {"resolved_us": max(now_us, row["opened_us"]), "resolution": why, "next_us": now_us}
        c.execute(alerts.update().where(_a.id == row["id"]).values(values))
        alert = _to_alert({**row, **values})
        event_id = str(uuid5(UUID(alert.id), "resolved"))
        outbox.put(c, SIGNALS, alert.model or alert.key, ALERT_RESOLVED, asdict(alert), now_us, event_id)
        resolved.append(alert)
    return resolved


def _put_deliveries(c: Connection, alert_id: str, due_us: dict[str, int], now_us: int) -> None:
    rows = [
        {"alert_id": alert_id, "channel": channel, "stored_us": now_us, "due_us": due}
        | {"attempts": 0, "sent_us": None, "error": None}
        for channel, due in due_us.items()
    ]
    if rows:
        insert_new(c, alert_deliveries, rows)


def _is_open(key: str) -> ColumnElement[bool]:
    return and_(_a.key == key, _a.resolved_us.is_(None))


def _is_delivery(delivery: Delivery) -> ColumnElement[bool]:
    return and_(
        _d.alert_id == delivery.alert_id,
        _d.channel == delivery.channel,
        _d.stored_us == delivery.stored_us,
    )


def _to_alert(row: Any) -> Alert:
    return Alert(**{name: row[name] for name in Alert.__slots__})
