import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record._crc32c import crc as crc_of_kafka_python

from errata.checksum import crc32c


def test_it_is_the_checksum_of_the_standard():
    # RFC 3720, appendix B.4.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=300))
def test_short_texts_have_the_checksum_of_kafka_python(data):
    assert crc32c(data) == crc_of_kafka_python(data)


@given(st.randoms(use_true_random=False), st.integers(0, 20_000))
def test_long_texts_have_the_checksum_of_kafka_python(chance, length):
    data = chance.randbytes(length)
    assert crc32c(data) == crc_of_kafka_python(data)


@pytest.mark.parametrize("scale", [1, 2, 4, 8, 64])
def test_lengths_about_a_multiple_of_the_polynomials_degree_are_folded_whole(scale):
    for length in range(scale * 6777 // 8 - 3, scale * 6777 // 8 + 4):
        data = b"\x01" + bytes(length - 2) + b"\x80"
        assert crc32c(data) == crc_of_kafka_python(data)
