"""`make malformed`: EVENTS malformed events among good ones into PostgreSQL and SQLite, and some through a broker.

The mass is decoded and stored in this process, as a worker does it with what it has fetched; ten thousand go through
Tansu and `errata worker`. SEED makes another draw. Ends with 1 if anything is not as it was said beforehand.
"""

import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench.intake.servers import fresh_database, running_durable_postgres
from bench.malformed.trying import try_in_process, try_through_broker

_THROUGH_BROKER: Final = 10_000
_FAULTS: Final = ("dead_letters_missing", "wrong_reason", "bytes_missing", "neighbours_lost")


def main() -> int:
    """Print a line of JSON for each part, and their sum as the last line."""
    n_malformed, seed = int(os.environ.get("EVENTS") or 1_000_000), int(os.environ.get("SEED") or 1)
    parts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="errata-malformed-") as directory:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")}
        n_sent = min(n_malformed, _THROUGH_BROKER)
        parts["broker"] = try_through_broker(Path(directory), _free_port(), environ, n_sent, seed)
    with running_durable_postgres() as postgres_url:
        for kind in ("postgresql", "sqlite"):
            with fresh_database(kind, postgres_url) as url:
                now_us = time.time_ns() // 1000
                parts[kind] = try_in_process(url, n_malformed, seed, now_us, _tell)
    for name, part in parts.items():
        sys.stdout.write(json.dumps({name: part}) + "\n")
    total = {name: sum(part[name] for part in parts.values()) for name in ("events", "malformed", *_FAULTS)}
    total["differences"] = sum(len(part["differences"]) for part in parts.values())
    rates = {name: part["events_per_s"] for name, part in parts.items()}
    summary = {"seed": seed, "kinds": parts["broker"]["kinds"], **total, "events_per_s": rates}
    sys.stdout.write(json.dumps(summary) + "\n")
    return int(any(total[name] for name in (*_FAULTS, "differences")))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _tell(said: str) -> None:
    sys.stderr.write(said + "\n")


if __name__ == "__main__":
    sys.exit(main())
