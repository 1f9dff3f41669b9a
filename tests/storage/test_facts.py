"""Facts: events with their values left as they came."""

from hypothesis import given

from errata.events import Event
from errata.wire import decode_event, encode_event
from storage.facts import encode_fact, fact_of, read_facts
from tests.errata.strategies import events


@given(events)
def test_a_fact_is_the_event_however_it_is_made(event: Event) -> None:
    assert decode_event(encode_fact(fact_of(event))) == event
    (fact,) = read_facts(b"[" + encode_event(event) + b"]")
    assert decode_event(encode_fact(fact)) == event
    assert fact_of(event).time_us == event.time_us
