"""`errata keys`: a key is shown once, listed without its secret, and revoked."""

import re

import pytest

from errata.command.session import now_us
from storage.api_keys import list_api_keys
from storage.database import Database
from streams.api_keys import KeyRing


def ring_of(database: Database) -> KeyRing:
    def read():
        with database.read() as c:
            return list_api_keys(c)

    ring = KeyRing(read, lambda _: None, outage_seconds=60, monotonic=lambda: 0.0)
    ring.refresh()
    return ring


def test_a_key_that_was_made_is_good_until_it_is_revoked(errata, database):
    made = errata("keys", "create", "--source", "shop/checkout", "--model", "card-reader")
    text = made.out.strip()
    assert (made.code, bool(re.fullmatch(r"errata_[0-9a-f]{12}_[0-9a-f]{64}", text))) == (0, True)
    found = ring_of(database).find(f"Bearer {text}", now_us())
    assert (found.source, found.models) == ("shop/checkout", ("card-reader",))
    revoked = errata("keys", "revoke", found.id)
    assert revoked.code == 0
    assert "in 5 s at the latest" in revoked.out
    assert ring_of(database).find(f"Bearer {text}", now_us()) is None


def test_two_keys_are_never_the_same(errata, database):
    texts = {errata("keys", "create", "--source", "shop").out for _ in range(3)}
    assert len(texts) == 3


def test_keys_are_listed_without_their_secrets_and_hashes(errata, database):
    text = errata("keys", "create", "--source", "shop", "--expires", "2999-12-31").out.strip()
    listed, [as_json] = errata("keys", "list"), errata("keys", "list", "--json").json()
    assert "good until 2999-12-31  never used  shop: every model" in listed.out
    assert as_json["id"] == text.split("_")[1]
    assert (as_json["source"], as_json["models"], as_json["revoked_us"]) == ("shop", None, None)
    with database.read() as c:
        [stored] = list_api_keys(c)
    for printed in (listed.out, repr(as_json)):
        assert text.rpartition("_")[2] not in printed
        assert stored.hash not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--source", ""), "--source"),
        (("create", "--source", "shop", "--expires", "2020-01-01"), "--expires"),
        (("create", "--source", "shop", "--model", "card-raeder"), "did you mean card-reader"),
        (("create",), "--source"),
        (("revoke", "0" * 12), "there is no key 000000000000"),
    ],
)
def test_what_cannot_be_is_refused_with_the_fix(errata, database, arguments, said):
    answer = errata("keys", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
