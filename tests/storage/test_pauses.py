"""A flooded partition is paused until a person lets it go on, who then takes the flood as it is."""

import json
from collections import Counter

import pytest

from errata.identity import new_id
from errata.topics import ALERT_OPENED, ALERT_RESOLVED, INTAKE_PAUSED, SIGNALS
from storage import outbox
from storage.alerts import list_open
from storage.database import Database
from storage.dead_letters import put_dead_letter
from storage.errors import NotFound
from storage.pauses import list_paused, pause_flooded, resume
from tests.builders import START_US, a_dead_letter

TOPIC = "errata.predictions"
SPAN_US = 600_000_000


def flood(db: Database, now_us: int, partition: int = 0) -> bool:
    counts = {"n": 120, "n_dead": 100, "span_us": SPAN_US}
    return pause_flooded(db, TOPIC, partition, **counts, now_us=START_US + now_us, new_id=new_id)


def paused(db: Database) -> list[int]:
    with db.read() as c:
        return [each.partition for each in list_paused(c)]


def test_it_is_paused_with_a_sentence_and_one_alarm_for_everyone(db: Database) -> None:
    with db.write() as c:
        for offset, reason in enumerate(["broken_json", "bad_id", "bad_id"]):
            put_dead_letter(c, a_dead_letter(offset, reason=reason))
    assert flood(db, 0)
    assert flood(db, 1)
    with db.read() as c:
        (pause,) = list_paused(c)
        (alarm,) = [each for each in outbox.read_unsent(c, limit=10) if each.type == INTAKE_PAUSED]
        (alert,) = list_open(c)
    assert pause.reason.startswith(
        "100 of the last 120 events of errata.predictions/0 were dead letters, most of them bad_id: it is not read"
    )
    assert pause.paused_us == START_US
    assert (alarm.topic, alarm.key, alarm.type) == (SIGNALS, "errata.predictions/0", INTAKE_PAUSED)
    assert json.loads(alarm.data)["reason"] == pause.reason
    assert (alert.severity, alert.sentence) == ("critical", pause.reason)


def test_what_was_resumed_is_not_paused_again_before_the_flood_is_over(db: Database) -> None:
    flood(db, 0)
    assert [each.partition for each in resume(db, START_US + 1)] == [0]
    # As long as it goes on, however long that is.
    assert not any(flood(db, now_us) for now_us in range(2, 5 * SPAN_US, SPAN_US // 2))
    assert paused(db) == []


def test_a_new_flood_is_a_new_alarm(db: Database) -> None:
    flood(db, 0)
    resume(db, START_US + 1)
    assert flood(db, 1 + SPAN_US)
    assert paused(db) == [0]
    with db.read() as c:
        told = Counter(message.type for message in outbox.read_unsent(c, limit=10))
    assert told == {INTAKE_PAUSED: 2, ALERT_OPENED: 2, ALERT_RESOLVED: 1}


def test_one_of_several_is_resumed(db: Database) -> None:
    flood(db, 0, partition=0)
    flood(db, 0, partition=1)
    resume(db, START_US, where=(TOPIC, 1))
    assert paused(db) == [0]
    with pytest.raises(NotFound, match=r"paused partition errata\.predictions/1"):
        resume(db, START_US, where=(TOPIC, 1))
