import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.spool import Spool, sift

EVERYTHING = {"limit": 10_000, "limit_bytes": 10**9}

entries = st.lists(st.binary(max_size=50), max_size=20)


def drain(spool, limit=3):
    """All entries of `spool`, read and forgotten a few at a time."""
    found = []
    while some := spool.read(limit, 10**9):
        found += some
        spool.forget(some)
    return found


@pytest.fixture
def open_spool(tmp_path):
    opened = []

    def open_one(**given):
        opened.append(Spool(tmp_path, **given))
        return opened[-1]

    yield open_one
    for spool in opened:
        spool.close()


@given(chunks=st.lists(entries, max_size=6), file_bytes=st.integers(1, 300))
def test_what_is_appended_is_read_in_order_across_files(tmp_path_factory, chunks, file_bytes):
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(directory, file_bytes=file_bytes)
    for chunk in chunks:
        spool.append(chunk)
    assert drain(spool) == [entry for chunk in chunks for entry in chunk]
    assert spool.n_bytes == 0
    assert list(directory.iterdir()) == []
    spool.close()


def test_what_is_not_forgotten_is_read_again(open_spool):
    spool = open_spool()
    spool.append([b"1", b"2", b"3"])
    assert spool.read(2, 100) == [b"1", b"2"]
    assert spool.read(2, 100) == [b"1", b"2"]
    spool.forget([b"1", b"2"])
    assert spool.read(2, 100) == [b"3"]


def test_reading_stops_at_the_byte_limit_but_gives_at_least_one(open_spool):
    spool = open_spool()
    spool.append([b"12345", b"6789", b"0"])
    assert spool.read(10, 1) == [b"12345"]
    assert spool.read(10, 6) == [b"12345", b"6789"]


def test_appending_goes_on_while_reading(open_spool):
    spool = open_spool()
    spool.append([b"1"])
    assert drain(spool) == [b"1"]
    spool.append([b"2"])
    assert drain(spool) == [b"2"]


@given(chunk=st.lists(st.binary(min_size=1, max_size=50), min_size=1), data=st.data())
def test_a_torn_tail_is_ignored_and_what_is_before_it_is_whole(tmp_path_factory, chunk, data):
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(directory)
    spool.append(chunk)
    spool.close()
    (path,) = directory.iterdir()
    cut = data.draw(st.integers(0, path.stat().st_size))
    os.truncate(path, cut)
    sizes = [8 + len(entry) for entry in chunk]
    whole = [entry for place, entry in enumerate(chunk) if sum(sizes[: place + 1]) <= cut]
    again = Spool(directory)
    assert drain(again) == whole
    again.close()


def test_what_a_kill_cut_off_is_set_aside_and_told_once(tmp_path):
    spool = Spool(tmp_path)
    spool.append([b"first", b"second"])
    spool.close()
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - 1)
    torn = []
    again = Spool(tmp_path, on_torn=torn.append)
    assert drain(again) == [b"first"]
    assert drain(again) == []
    again.close()
    assert [file.suffix for file in torn] == [".torn"]
    assert torn[0].read_bytes().endswith(b"secon")
    assert list(tmp_path.iterdir()) == torn
    last = Spool(tmp_path, on_torn=torn.append)
    assert drain(last) == []
    assert len(torn) == 1


def test_a_file_that_was_read_to_its_end_is_not_torn(tmp_path):
    spool = Spool(tmp_path)
    spool.append([b"first"])
    spool.close()
    torn = []
    again = Spool(tmp_path, on_torn=torn.append)
    assert drain(again) == [b"first"]
    assert torn == []
    again.close()


def test_a_flipped_bit_is_told_from_an_entry(tmp_path):
    spool = Spool(tmp_path)
    spool.append([b"first", b"second"])
    spool.close()
    (path,) = tmp_path.iterdir()
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    again = Spool(tmp_path)
    assert drain(again) == [b"first"]
    again.close()


def test_files_of_a_living_owner_are_left_alone_and_those_of_a_dead_one_adopted(open_spool):
    living, other = open_spool(), open_spool()
    living.append([b"1"])
    assert other.adopt() == 0
    assert other.read(**EVERYTHING) == []
    living.close()
    assert other.adopt() == 1
    assert drain(other) == [b"1"]


def test_adopted_entries_come_before_those_of_the_process(open_spool):
    first, second = open_spool(), open_spool()
    first.append([b"old"])
    second.append([b"new"])
    first.close()
    second.adopt()
    assert drain(second) == [b"old", b"new"]


def test_a_full_disk_is_an_error_that_leaves_the_spool_whole(open_spool, monkeypatch):
    spool = open_spool()
    spool.append([b"1"])
    real = os.write

    def write_half(descriptor, chunk):
        if len(chunk) < 5:
            raise OSError(28, "No space left on device")
        return real(descriptor, chunk[: len(chunk) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space"):
        spool.append([b"2", b"3"])
    monkeypatch.undo()
    spool.append([b"4"])
    assert drain(spool) == [b"1", b"4"]


WRITER = """
import sys
from pathlib import Path
from errata.spool import Spool, sift
spool = Spool(Path(sys.argv[1]), file_bytes=1000)
for number in range(10**9):
    spool.append([b"%d" % number])
    print(number, flush=True)
"""


def test_a_process_killed_in_the_middle_loses_nothing_that_it_appended(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    for _ in range(300):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    said = 300 + len(writer.stdout.readlines())
    writer.stdout.close()
    writer.wait()
    spool = Spool(tmp_path)
    found = drain(spool, limit=100)
    spool.close()
    assert found[:said] == [b"%d" % number for number in range(said)]
    assert len(found) - said in (0, 1)


def test_what_is_not_to_be_kept_is_removed_from_files_without_an_owner(tmp_path, open_spool):
    left = Spool(tmp_path, file_bytes=10)
    left.append([b"one", b"a secret"])
    left.append([b"two"])
    left.close()
    (tmp_path / "1.torn").write_bytes(b"half a secre")
    (tmp_path / "2.torn").write_bytes(b"half a word")
    assert sift(tmp_path, lambda entry: b"secre" not in entry) == (2, 0)
    assert not (tmp_path / "1.torn").exists()
    assert (tmp_path / "2.torn").exists()
    assert drain(open_spool()) == [b"one", b"two"]


def test_what_a_kill_cut_off_is_removed_with_its_file(tmp_path):
    left = Spool(tmp_path)
    left.append([b"one", b"a secret"])
    left.close()
    (file,) = tmp_path.glob("*.spool")
    file.write_bytes(file.read_bytes()[:-1])
    assert sift(tmp_path, lambda entry: b"secre" not in entry) == (1, 0)
    assert b"secre" not in file.read_bytes()


def test_files_of_a_living_process_are_left_alone(tmp_path, open_spool):
    living = open_spool()
    living.append([b"a secret"])
    assert sift(tmp_path, lambda entry: False) == (0, 1)
    assert drain(living) == [b"a secret"]
