"""The ledger is summed by partition, and in every row consumed = new + duplicate + dead-lettered."""

from storage.database import Database
from storage.ledger import read_ledger_summary
from storage.records import DeadLetter
from tests.builders import START_US, a_voc_event, an_arrival
from tests.storage.conftest import Apply


def test_nothing_was_consumed_at_first(db: Database) -> None:
    with db.read() as c:
        assert read_ledger_summary(c) == []


def test_each_partition_says_what_became_of_its_events(db: Database, apply_to: Apply) -> None:
    letter = DeadLetter(
        topic="errata.voc", partition=0, offset=2, position=0, reason="not_json", detail="it is not", raw=b"{"
    )
    apply_to(an_arrival([a_voc_event(1), a_voc_event(2)], topic="errata.voc"))
    apply_to(an_arrival([a_voc_event(2)], topic="errata.voc", first_offset=2, dead=[letter]))
    with db.read() as c:
        [part] = read_ledger_summary(c)
    assert (part.topic, part.partition) == ("errata.voc", 0)
    assert (part.n, part.n_new, part.n_duplicate, part.n_dead) == (4, 2, 1, 1)
    assert part.stored_us == START_US
    assert part.next_offset >= 3
