import asyncio
import gzip
import tracemalloc
from functools import partial

import aiokafka
import cramjam
import pytest
from aiokafka.consumer import fetcher
from aiokafka.record._crecords import DefaultRecordBatchBuilder
from kafka import KafkaProducer

from errata.settings import Broker
from errata.topics import VOC, ensure_topics
from errata.wire import RECORD_BYTES, Refused, split_record
from streams import decompression
from streams.decompression import limit_decompression

LIMIT = 6_000_000

#: What Kafka calls them.
CODECS = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}


@pytest.fixture(autouse=True)
def limited(monkeypatch):
    """The limit holds for a test; aiokafka is as it was afterwards."""
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    for reader in decompression._READERS:
        for name in ("gzip_decode", "lz4_decode", "zstd_decode", "snappy_decode"):
            if hasattr(reader, name):
                monkeypatch.setattr(reader, name, getattr(reader, name))
    limit_decompression(LIMIT)


def batch_of(*values, offset=0, compression=1):
    """The bytes of one batch of records."""
    builder = DefaultRecordBatchBuilder(2, compression, False, -1, -1, -1, 100_000_000)
    for number, value in enumerate(values):
        builder.append(number, 1, b"key", value, [])
    data = bytearray(builder.build())
    data[:8] = offset.to_bytes(8, "big")
    return bytes(data)


def read(data, fetch_offset=0):
    """The records that aiokafka's fetcher makes of an answer."""
    tp = aiokafka.TopicPartition("t", 0)
    records = fetcher.PartitionRecords(tp, fetcher.MemoryRecords(data), [], fetch_offset, None, None, True, 1)
    return list(records), records.next_fetch_offset


@pytest.mark.parametrize("compression", [0, *CODECS], ids=["none", *CODECS.values()])
def test_records_within_the_limit_come_as_they_are(compression):
    records, next_offset = read(batch_of(b"one", b"two" * 100_000, compression=compression))
    assert [(each.offset, each.key, each.value) for each in records] == [
        (0, b"key", b"one"),
        (1, b"key", b"two" * 100_000),
    ]
    assert next_offset == 2


@pytest.mark.parametrize("compression", CODECS, ids=CODECS.values())
def test_a_bomb_becomes_one_record_that_is_too_large_and_reading_goes_on_after_it(compression):
    bomb = batch_of(b"x", b" " * 50_000_000, b"y", offset=10, compression=compression)
    assert len(bomb) < 3_000_000
    records, next_offset = read(batch_of(b"a", offset=9) + bomb + batch_of(b"z", offset=13), fetch_offset=9)
    assert [each.offset for each in records] == [9, 12, 13]
    assert (records[0].value, records[2].value) == (b"a", b"z")
    refused = split_record([], records[1].value)
    assert isinstance(refused, Refused)
    assert (refused.reason, len(refused.raw)) == ("too_large", 65_536)
    assert next_offset == 14


def test_a_bomb_takes_little_more_memory_than_the_limit():
    bomb = batch_of(b" " * 90_000_000)
    tracemalloc.start()
    read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * LIMIT + 2 * RECORD_BYTES


def test_reading_that_begins_within_a_bomb_finds_its_record_all_the_same():
    bomb = batch_of(b"x", b" " * 50_000_000, b"y", offset=10)
    assert [each.offset for each in read(bomb, fetch_offset=11)[0]] == [12]


@pytest.mark.parametrize("name", ["lz4", "zstd", "snappy"])
def test_what_is_broken_is_set_aside_with_what_it_was(name):
    decode = (
        decompression._unsnap
        if name == "snappy"
        else partial(decompression._decompress, getattr(cramjam, name))
    )
    whole = bytes(
        cramjam.snappy.compress_raw(b"x" * 9999)
        if name == "snappy"
        else getattr(cramjam, name).compress(b"x" * 9999)
    )
    assert decode(whole, LIMIT) == b"x" * 9999
    for broken in (b"neither", whole[: len(whole) // 2]):
        with pytest.raises(decompression._Unreadable) as caught:
            decode(broken, LIMIT)
        assert caught.value.value == broken


def test_java_writes_snappy_in_blocks():
    blocks = [bytes(cramjam.snappy.compress_raw(each)) for each in (b"a" * 100, b"b" * 50)]
    written = b"\x82SNAPPY\0" + bytes(8) + b"".join(len(each).to_bytes(4, "big") + each for each in blocks)
    assert decompression._unsnap(written, 150) == b"a" * 100 + b"b" * 50
    with pytest.raises(decompression._Unreadable, match="grow beyond 149 bytes"):
        decompression._unsnap(written, 149)


def test_a_codec_that_nobody_knows_makes_one_dead_letter():
    data = bytearray(batch_of(b"one", b"two"))
    # The attributes of a batch are the two bytes from 21 on; the checksum is not looked at here.
    data[22] = 5
    tp = aiokafka.TopicPartition("t", 0)
    records = list(
        fetcher.PartitionRecords(tp, fetcher.MemoryRecords(bytes(data)), [], 0, None, None, False, 1)
    )
    assert [(each.offset, each.value) for each in records] == [(1, b"")]


@pytest.mark.parametrize("compressed", [b"no gzip", gzip.compress(b"x" * 1000)[:-4]])
def test_what_is_no_gzip_is_set_aside_too(compressed, caplog):
    with pytest.raises(decompression._Unreadable) as caught:
        decompression._gunzip(compressed, LIMIT)
    assert caught.value.value == compressed


def test_several_gzip_members_are_one_content():
    assert decompression._gunzip(gzip.compress(b"a") + gzip.compress(b"b"), LIMIT) == b"ab"


def test_through_the_broker_what_comes_after_a_bomb_is_read(fresh_broker):
    ensure_topics(Broker(bootstrap=fresh_broker, partitions=1))
    producer = KafkaProducer(
        bootstrap_servers=fresh_broker, compression_type="gzip", max_request_size=20_000_000
    )
    for value in (b"before", b" " * 10_000_000, b"after"):
        producer.send(VOC, value)
        producer.flush()
    producer.close()

    async def consume():
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=fresh_broker, auto_offset_reset="earliest")
        await consumer.start()
        try:
            tp = aiokafka.TopicPartition(VOC, 0)
            consumer.assign([tp])
            return [await asyncio.wait_for(consumer.getone(), 20) for _ in range(3)]
        finally:
            await consumer.stop()

    found = asyncio.run(consume())
    assert [each.offset for each in found] == [0, 1, 2]
    assert [len(each.value) for each in found] == [6, RECORD_BYTES + 1, 5]
