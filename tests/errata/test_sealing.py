"""What is sealed is read by the clients of others."""

import zlib

from aiokafka.record.memory_records import MemoryRecords as MemoryRecordsOfAiokafka
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecords

from errata.sealing import seal

values = st.lists(st.binary(max_size=300), min_size=1, max_size=200)
headers = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=200)), max_size=3)


@given(values, headers, st.integers(0, 2**41))
def test_kafka_python_reads_what_is_sealed(given_values, given_headers, now_ms):
    (batch,) = list(read_batches(seal(given_values, given_headers, now_ms)))
    assert batch.validate_crc()
    assert (batch.magic, batch.producer_id, batch.base_offset) == (2, -1, 0)
    records = list(batch)
    assert [record.value for record in records] == given_values
    assert [record.offset for record in records] == list(range(len(given_values)))
    assert all((r.key, r.timestamp, list(r.headers)) == (None, now_ms, given_headers) for r in records)


def read_batches(sealed):
    rest = MemoryRecords(sealed)
    while rest.has_next():
        yield rest.next_batch()


@given(values, headers)
def test_aiokafka_reads_what_is_sealed(given_values, given_headers):
    batch = MemoryRecordsOfAiokafka(seal(given_values, given_headers, 5)).next_batch()
    assert batch.validate_crc()
    assert [record.value for record in batch] == given_values


def test_a_large_record_is_compressed_and_read_whole():
    value = b'{"model":"card-reader"}' * 100_000
    sealed = seal([value, value], [("content-type", b"x")], 1)
    assert len(sealed) < len(value) / 50
    (batch,) = list(read_batches(sealed))
    assert [zlib.crc32(record.value) for record in batch] == [zlib.crc32(value)] * 2
