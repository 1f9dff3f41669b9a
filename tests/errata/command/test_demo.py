"""How the demo starts: clean, beside nobody, and never over files that are not its own."""

import os
import socket

import pytest

from errata.command.demo import MARKER, demo_environ, free_port, start_clean
from errata.errors import Stop


def test_the_first_demo_makes_its_directory(tmp_path):
    said = start_clean(tmp_path / "demo")
    assert (tmp_path / "demo" / MARKER).read_text() == str(os.getpid())
    assert "earlier" not in said


def test_a_second_demo_starts_clean_and_says_so(tmp_path):
    start_clean(tmp_path)
    (tmp_path / MARKER).write_text("")
    (tmp_path / "errata.db").write_text("old")
    assert "earlier demo are removed" in start_clean(tmp_path)
    assert not (tmp_path / "errata.db").exists()


def test_a_demo_that_runs_is_not_disturbed(tmp_path):
    start_clean(tmp_path)
    (tmp_path / MARKER).write_text(str(os.getppid()))
    with pytest.raises(Stop, match="another demo"):
        start_clean(tmp_path)


def test_foreign_files_are_never_removed(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(Stop, match="choose another --directory"):
        start_clean(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_what_the_caller_set_stays(tmp_path):
    environ = demo_environ(
        tmp_path, tmp_path / "errata.toml", {"ERRATA_DATABASE__URL": "postgresql+psycopg://x/y"}
    )
    assert environ["ERRATA_DATABASE__URL"] == "postgresql+psycopg://x/y"
    assert environ["ERRATA_BROKER__BOOTSTRAP"].startswith("127.0.0.1:")


def test_a_port_in_use_is_not_taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert free_port(taken) != taken
