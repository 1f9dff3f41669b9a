from random import Random

import pytest

from bench.chaos.corpus import ELEMENTS, RECORDS, Spoiled
from errata.wire import BATCH_TYPE, STRUCTURED_TYPE, encode_event
from streams.decoding import decode_run
from streams.driver import FetchedRecord, FetchedRun
from tests.builders import START_US, a_voc_event


def reasons(value: bytes, content_type: str) -> dict[int, str]:
    record = FetchedRecord(0, 0, b"any", value, (("content-type", content_type.encode()),))
    arrival = decode_run(FetchedRun("any", 0, 0, 1, (record,), ""), START_US)
    return {letter.position: letter.reason for letter in arrival.dead}


def test_there_are_many_kinds_and_each_is_another_one():
    names = [spoiled.name for spoiled in (*ELEMENTS, *RECORDS)]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize("spoiled", ELEMENTS, ids=lambda spoiled: spoiled.name)
def test_an_element_is_refused_for_its_reason_alone_and_among_good_ones(spoiled: Spoiled):
    raw, good = spoiled.make(Random(1)), encode_event(a_voc_event())
    assert reasons(raw, STRUCTURED_TYPE) == {0: spoiled.reason}
    assert reasons(b"[" + b",".join([good, raw, good]) + b"]", BATCH_TYPE) == {1: spoiled.reason}


@pytest.mark.parametrize("spoiled", RECORDS, ids=lambda spoiled: spoiled.name)
def test_a_record_is_refused_for_its_reason(spoiled: Spoiled):
    assert reasons(spoiled.make(Random(1)), spoiled.content_type) == {0: spoiled.reason}
