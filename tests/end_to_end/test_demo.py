"""The demo as its users run it: the loop closes, and what it says was read back from the database."""

import json
import os
import subprocess

import pytest

from errata.command.processes import errata_command


@pytest.mark.timeout(600)
def test_the_headless_demo_closes_the_loop(tmp_path):
    done = subprocess.run(
        errata_command("demo", "--headless", "--directory", str(tmp_path / "demo")),
        capture_output=True,
        text=True,
        timeout=560,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-1000:]
    last = json.loads(done.stdout.splitlines()[-1])
    assert set(last) == {
        "loop_closed", "correction_rate", "signal_after_events", "run", "verdict", "events", "dead_letters", "seconds"
    }  # fmt: skip
    assert last["loop_closed"] is True
    assert last["verdict"] == "promote"
    rate = last["correction_rate"]
    assert rate["drifted"] > 2 * rate["before"]
    assert rate["after"] < rate["drifted"] / 2
    assert last["dead_letters"] == 0
    assert last["events"] > 5000
    assert last["seconds"] < 300
