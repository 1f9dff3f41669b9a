"""A short campaign of each kind; `make chaos` and `make chaos-model` run long ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.end_to_end.history import IntakeHistory

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)
def test_nothing_is_lost_doubled_or_miscounted_in_a_short_campaign(tmp_path):
    """Both databases, with kills, a pause longer than the session, and a restored backup."""
    arguments = ["--kills", "10", "--pauses", "1", "--restores", "1", "--seed", "11", "--at-once", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.chaos", *arguments, "--directory", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stderr[-6000:] + done.stdout[-3000:]
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["kills"] >= 10
    assert last["pauses"] == last["restores"] == 1
    assert last["sent"] > 2000
    assert last["control_lost"] + last["control_double"] > 0
    assert (tmp_path / "schedule-11.json").exists()


IntakeHistory.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestIntakeHistory = IntakeHistory.TestCase
