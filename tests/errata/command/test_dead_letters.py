"""Dead letters are listed, shown, and sent again once they can be used."""

import pytest
from kafka import KafkaConsumer, TopicPartition

from errata.settings import Broker
from errata.topics import PREDICTIONS, ensure_topics
from errata.wire import BATCH_TYPE, encode_event
from storage.dead_letters import list_dead_letters, put_dead_letter
from tests.builders import a_dead_letter, a_prediction_event


def test_they_are_listed_with_place_reason_and_detail(errata, seeded):
    answer = errata("dead-letters", "list")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == seeded.n_dead
    assert "errata.predictions/1/5001/0  missing_field  data.output is missing" in answer.out


def test_json_has_the_bytes_as_text(errata, seeded):
    letters = errata("dead-letters", "list", "--json", "--reason", "not_json").json()
    assert [letter["raw"] for letter in letters] == ["\0\\xffnot json 결"]


def test_one_is_shown_with_its_bytes_but_cannot_run_the_terminal(errata, seeded, database):
    with database.write() as c:
        put_dead_letter(c, a_dead_letter(9, raw=b"\x1b[2J\xff\n{", detail="byte \x1b is odd"))
    answer = errata("dead-letters", "show", "errata.predictions/0/9/0")
    assert answer.out == "broken_json: byte \\x1b is odd\n\\x1b[2J\\xff\n{\n"


@pytest.mark.parametrize(
    "where", ["errata.predictions", "t/0/1", "t/a/0/0", "t/0/²/0", "t/0/99999999999999999999/0"]
)
def test_a_place_that_is_none_is_refused(errata, seeded, where):
    answer = errata("dead-letters", "show", where)
    assert (answer.code, answer.out) == (2, "")
    assert "TOPIC/PARTITION/OFFSET/POSITION" in answer.err


def test_a_place_without_a_dead_letter_is_named(errata, seeded):
    answer = errata("dead-letters", "show", "errata.predictions/0/77/0")
    assert (answer.code, answer.err) == (2, "errata: there is no dead letter errata.predictions 0 77 0\n")


def test_without_a_broker_nothing_is_marked(errata, seeded, database):
    fill(database)
    answer = errata("dead-letters", "replay")
    assert answer.code == 3
    assert "no Kafka broker accepts connections at 127.0.0.1" in answer.err
    assert len(answer.err.splitlines()) == 1
    with database.read() as c:
        assert all(letter.replayed_us is None for letter in list_dead_letters(c))


def fill(database):
    """Two dead letters that can be used by now, one of them refused whole, and one of a model nobody knows."""
    batch = b"[" + b",".join(encode_event(a_prediction_event(number)) for number in (2, 3)) + b"]"
    with database.write() as c:
        for letter in (
            a_dead_letter(
                20, raw=encode_event(a_prediction_event(1, time_us=1_700_000_000_000_000)), stored_us=1
            ),
            a_dead_letter(21, raw=batch.replace(b"2026-11-23", b"2025-11-23"), stored_us=2),
            a_dead_letter(
                22, raw=encode_event(a_prediction_event(4, model="newcomer")), reason="unknown_model"
            ),
            a_dead_letter(23, raw=encode_event(a_prediction_event(5, time_us=4_000_000_000_000_000))),
        ):
            put_dead_letter(c, letter)


def read_all(bootstrap, count):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    try:
        consumer.assign([TopicPartition(PREDICTIONS, number) for number in range(4)])
        return [next(consumer) for _ in range(count)]
    finally:
        consumer.close()


def test_what_can_be_used_is_sent_once_and_the_rest_stays(
    errata, seeded, database, fresh_broker, monkeypatch
):
    fill(database)
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    ensure_topics(Broker(bootstrap=fresh_broker))
    assert errata("dead-letters", "replay", "--limit", "1").out.startswith("1 dead letters sent again")
    n_kept = seeded.n_dead + 2
    assert errata("dead-letters", "replay").out == (
        f"1 dead letters sent again, {n_kept} can't be used yet and stay\n"
    )
    assert errata("dead-letters", "replay").out == (
        f"0 dead letters sent again, {n_kept} can't be used yet and stay\n"
    )
    records = read_all(fresh_broker, 2)
    by_type = {dict(record.headers)["content-type"].decode(): record.value for record in records}
    assert by_type[BATCH_TYPE].startswith(b"[")
    with database.read() as c:
        marked = {letter.offset for letter in list_dead_letters(c) if letter.replayed_us is not None}
    assert marked == {20, 21}


def test_many_that_were_sent_before_do_not_hide_one_that_waits(
    errata, seeded, database, fresh_broker, monkeypatch
):
    monkeypatch.setenv("ERRATA_BROKER__BOOTSTRAP", fresh_broker)
    with database.write() as c:
        for offset in range(5):
            raw = encode_event(a_prediction_event(offset + 1, time_us=1_700_000_000_000_000))
            put_dead_letter(c, a_dead_letter(offset, raw=raw, stored_us=10 - offset))
    for _ in range(5):
        assert errata("dead-letters", "replay", "--limit", "1").out.startswith("1 dead letters sent again")
    assert errata("dead-letters", "replay", "--limit", "1").out.startswith("0 dead letters sent again")
