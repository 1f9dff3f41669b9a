import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.redaction import Redaction, hide_patterns
from errata.settings import Alerts, Broker, Channel, Database, Settings

KEY = f"errata_{'ab' * 6}_{'cd' * 32}"


def knowing(*, broker="", url="sqlite:///x"):
    redaction = Redaction()
    redaction.learn(Settings(broker=Broker(password=broker), database=Database(url=url)))
    return redaction


@given(password=st.text(min_size=4, max_size=40), before=st.text(max_size=9), after=st.text(max_size=9))
def test_a_password_is_never_left_in_text_whatever_is_in_it(password, before, after):
    redaction = knowing(broker=password)
    for written in (password, json.dumps(password)[1:-1], repr(password)[1:-1]):
        assert redaction.hide(f"<{written}>") == "<***>"
        assert password not in redaction.hide(f"{before}{written}{after}").replace("***", "")


@pytest.mark.parametrize("written", ["p%40ss%2Fword", "p@ss/word"])
def test_the_password_of_a_url_is_hidden_as_it_is_written_and_as_it_is_meant(written):
    redaction = knowing(url="postgresql+psycopg://errata:p%40ss%2Fword@127.0.0.1/errata")
    assert redaction.hide(f"failed for {written}!") == "failed for ***!"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"no key {KEY}.", "no key errata_abababababab_***."),
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer errata_abababababab_***"),
        ("authorization: bearer eyJhbGci.x", "authorization: bearer ***"),
        ("at postgresql+psycopg://u:p@ss@db:5432/x failed", "at postgresql+psycopg://u:***@db:5432/x failed"),
        ("at https://db:5432/x?y=a@b and kafka:9092", "at https://db:5432/x?y=a@b and kafka:9092"),
        ("errata keys create", "errata keys create"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(text, left):
    assert hide_patterns(text) == left


def test_a_trace_holds_no_secret():
    redaction = knowing(broker="canary")
    try:
        raise ValueError("canary")
    except ValueError as error:
        trace = redaction.hide("".join(traceback.format_exception(error)))
    assert "ValueError: ***" in trace


def test_too_short_a_password_would_hide_every_other_word():
    assert knowing(broker="abc").hide("abc") == "abc"


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
            ["T1JJ3T3L2", "TIiajkdnlazkcOXrIdevi7FQ"],
        ),
        ("mailtos://oncall:s3cr@smtp.example.com?to=a@example.com", ["s3cr"]),
        (
            "jsons://hooks.example.com/alerts/0123456789abcdef?+X-Token=fedcba98",
            ["0123456789abcdef", "fedcba98"],
        ),
        (
            "tgram://123456789:abcdefg_hijklmnop/12315544/",
            ["123456789:abcdefg_hijklmnop", "abcdefg_hijklmnop"],
        ),
    ],
)
def test_the_url_of_a_channel_is_hidden_whole_and_in_parts(url, secrets):
    redaction = Redaction()
    redaction.learn(Settings(alerts=Alerts(channels={"chat": Channel(url=url)})))
    assert redaction.hide(f"Could not load {url}") == f"Could not load {url.partition('://')[0]}://***"
    for secret in secrets:
        assert secret not in redaction.hide(f"at {secret}!")
    for word in ("general", "example.com", "alerts"):
        assert redaction.hide(word) == word
