"""`make test` leaves no test out, and passes only if every test passed."""

import asyncio
import sys

import pytest

from scripts.run_tests import HALVES, ROOT, run_side_by_side


def test_every_file_of_tests_is_in_one_half():
    first, second = HALVES
    left_out = [each.removeprefix("--ignore=") for each in second[1:]]
    assert second[0] == "tests"
    assert list(first) == left_out
    assert all(next((ROOT / each).rglob("test_*.py"), None) for each in first)


@pytest.mark.parametrize("ends", ["sys.exit(1)", "import os; os.kill(os.getpid(), 9)"])
def test_a_half_that_does_not_end_well_is_told(ends: str):
    commands = [[sys.executable, "-c", each] for each in ("pass", f"import sys; {ends}")]
    well, badly = asyncio.run(run_side_by_side(commands))
    assert well == 0
    assert badly > 0


def test_the_lines_of_both_are_printed_with_their_number(capsys: pytest.CaptureFixture[str]):
    commands = [[sys.executable, "-c", f"print({each!r})"] for each in ("passed", "x" * 100_000)]
    asyncio.run(run_side_by_side(commands))
    assert sorted(capsys.readouterr().out.splitlines()) == ["1: passed", "2: " + "x" * 100_000]
