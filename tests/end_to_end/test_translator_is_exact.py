"""Real translations through real Kafka, Faust and database: the stream's numbers are the file's, exactly."""

import os
import random
from fractions import Fraction
from pathlib import Path

import pytest

from errata.client import Client
from errata.command.processes import Children, errata_command, wait_until
from errata.settings import load_settings
from examples.translator.rows import read_rows
from examples.translator.service import MODEL, answer_row, show_row
from storage.dead_letters import count_by_reason
from storage.ledger import read_ledger_summary
from storage.verify import verify
from storage.windows import sum_windows

SETTINGS = Path(__file__).parents[2] / "examples" / "errata.toml"


@pytest.fixture
def environ(fresh_broker, database_url, db, tmp_path):
    return dict(os.environ) | {
        "ERRATA_SETTINGS": str(SETTINGS),
        "ERRATA_BROKER__BOOTSTRAP": fresh_broker,
        "ERRATA_DATABASE__URL": database_url,
        "ERRATA_ARTIFACTS__DIRECTORY": str(tmp_path / "artifacts"),
        "ERRATA_WORKER__METRICS_PORT": "0",
    }


@pytest.fixture
def children(tmp_path, environ):
    made = Children(tmp_path / "log", environ)
    yield made
    made.stop_all()


def test_edit_probability_and_mean_hter_equal_the_files(environ, children, db, tmp_path):
    rows = read_rows()
    settings = load_settings(SETTINGS, environ)
    children.start("worker", errata_command("worker"))
    rng = random.Random(1)
    client = Client.from_settings(
        settings, source="test", spool_directory=tmp_path / "spool", environ=environ
    )
    shown = [(row, show_row(client, row, rng)) for row in rows]
    # Answers come in another order than the predictions they are about, as they do in production.
    rng.shuffle(shown)
    for row, prediction_id in shown:
        answer_row(client, row, prediction_id, rng)
    client.close(timeout_seconds=60)
    sent = client.counters.as_dict()["sent"]

    def events_stored() -> int:
        with db.read() as connection:
            return sum(ledger.n for ledger in read_ledger_summary(connection))

    wait_until(lambda: events_stored() >= sent, 120, f"{sent} events", children)

    with db.read() as connection:
        (everything,) = [
            window
            for window in sum_windows(connection, model=MODEL, since_us=0, until_us=2**62)
            if window.slice == "all"
        ]
        assert count_by_reason(connection) == {}
    assert everything.n == len(rows)
    edited = sum(row.is_edited for row in rows)
    assert Fraction(everything.n_edit, everything.n) == Fraction(edited, len(rows))
    assert everything.n_accept == len(rows) - edited
    assert everything.n_distance == len(rows)
    assert Fraction(everything.distance_ppm, everything.n) == Fraction(
        sum(row.hter_ppm for row in rows), len(rows)
    )
    assert verify(db, settings.models).differences == []
