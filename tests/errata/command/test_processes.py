"""Children are started, watched and stopped together, and nothing else is."""

import signal
import sys
import threading
import time

import pytest

from errata.command.processes import Children, raising_on_sigterm, wait_until
from errata.errors import Stop

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def children(tmp_path):
    made = Children(tmp_path, {})
    yield made
    made.stop_all()


def test_all_children_are_stopped(children):
    started = [children.start(f"sleep-{number}", SLEEP) for number in range(2)]
    children.check()
    children.stop_all()
    assert all(child.process.poll() is not None for child in started)


def test_a_child_that_does_not_listen_is_ended_by_force(children):
    child = children.start("deaf", DEAF, patience_seconds=0.2)
    wait_until(lambda: "up" in child.log.read_text(), 10, "the child")
    children.stop_all()
    assert child.process.returncode == -9


def test_a_child_that_ended_is_reported_with_the_end_of_its_log(children):
    child = children.start("broken", [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"])
    child.process.wait()
    with pytest.raises(Stop, match=r"broken ended with status 3(.|\n)*no such thing"):
        children.check()


def test_waiting_in_vain_says_for_what():
    with pytest.raises(Stop, match="in vain for the sun"):
        wait_until(lambda: False, 0.1, "the sun")


def test_whoever_asks_twice_does_not_wait_for_the_deaf(children):
    deaf = children.start("deaf", DEAF, patience_seconds=60)
    polite = children.start("polite", SLEEP)
    wait_until(lambda: "up" in deaf.log.read_text() and "up" in polite.log.read_text(), 10, "the children")
    again = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
    again.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        children.stop_all()
    again.join()
    assert time.monotonic() - started < 20
    assert (polite.process.returncode, deaf.process.returncode) == (-15, -9)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_is_an_interrupt_within_and_only_there(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), raising_on_sigterm():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raising_on_sigterm():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
