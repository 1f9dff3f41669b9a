from dataclasses import replace

import pytest

from errata.errors import Stop, Unavailable
from streams.api_keys import KeyRing, make_key
from tests.records import make_api_key

DAY_US = 86_400_000_000
TEXT, KEY = make_api_key()


class Keys:
    """A database of keys, and a clock."""

    def __init__(self):
        self.keys = [KEY]
        self.error = None
        self.noted = []
        self.seconds = 0.0

    def read(self):
        if self.error:
            raise self.error
        return self.keys


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
def ring(keys):
    ring = KeyRing(keys.read, keys.noted.append, outage_seconds=60.0, monotonic=lambda: keys.seconds)
    ring.refresh()
    return ring


def find(ring, text=TEXT, now_us=0):
    return ring.find(f"Bearer {text}", now_us)


def test_a_key_has_a_form_that_scanners_of_secrets_find_and_256_random_bits():
    asked = []
    made = make_key(lambda n: asked.append(n) or b"\xab" * n)
    assert made.text == f"errata_{'ab' * 6}_{'ab' * 32}"
    assert asked == [6, 32]


def test_neither_the_key_nor_its_hash_is_shown_when_it_is_printed():
    made = make_key(lambda n: b"\xab" * n)
    assert repr(made) == "NewKey(id='abababababab')"
    assert KEY.hash not in repr(KEY)


def test_the_secret_is_not_in_what_is_stored():
    secret = TEXT.rpartition("_")[2]
    assert not [value for value in (KEY.id, KEY.source, KEY.hash) if secret in value]


def test_a_key_is_found(ring):
    assert find(ring) == KEY


def test_a_key_is_found_until_the_moment_it_expires(keys, ring):
    keys.keys = [replace(KEY, expires_us=100)]
    ring.refresh()
    assert find(ring, now_us=99)
    assert find(ring, now_us=100) is None


def test_a_revoked_key_is_found_until_the_keys_are_read_again(keys, ring):
    keys.keys = [replace(KEY, revoked_us=1)]
    assert find(ring)
    ring.refresh()
    assert find(ring) is None


def test_a_new_key_is_found_when_the_keys_were_read_again(keys, ring):
    text, key = make_api_key(2)
    keys.keys = [KEY, key]
    assert find(ring, text) is None
    ring.refresh()
    assert find(ring, text) == key


def test_known_keys_go_on_working_while_the_database_is_away_but_not_for_ever(keys, ring):
    keys.error = Unavailable("away")
    keys.seconds = 60.0
    ring.refresh()
    assert find(ring)
    keys.seconds = 60.5
    with pytest.raises(Unavailable):
        find(ring)
    keys.error = None
    ring.refresh()
    assert find(ring)


def test_a_reading_counts_from_its_beginning(keys, ring):
    def read_slowly():
        keys.seconds = 30.0
        return [KEY]

    slow = KeyRing(read_slowly, keys.noted.append, outage_seconds=60.0, monotonic=lambda: keys.seconds)
    slow.refresh()
    keys.seconds = 61.0
    with pytest.raises(Unavailable):
        find(slow)


def test_before_the_keys_were_read_nobody_is_judged(keys):
    unread = KeyRing(keys.read, keys.noted.append, outage_seconds=60.0, monotonic=lambda: 0.0)
    with pytest.raises(Unavailable):
        find(unread)


def test_a_database_without_the_table_stops_the_intake(keys, ring):
    keys.error = Stop("run errata migrate")
    with pytest.raises(Stop):
        ring.refresh()


def test_the_day_of_use_is_noted_once(keys, ring):
    find(ring, now_us=3 * DAY_US + 5)
    find(ring, now_us=3 * DAY_US + 6)
    ring.refresh()
    keys.keys = [replace(KEY, last_used_us=3 * DAY_US)]
    ring.refresh()
    ring.refresh()
    assert keys.noted == [{}, {KEY.id: 3 * DAY_US}, {}, {}]


def test_a_refused_key_is_not_used(keys, ring):
    find(ring, TEXT[:-1] + "f")
    ring.refresh()
    assert keys.noted == [{}, {}]
