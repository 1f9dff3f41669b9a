"""`make replay-data`: the files in DATA through the pipeline, into SQLite and PostgreSQL.

Ends with 1 where a figure differs, prints JSON as its last line and, unless DATA are the
excerpts, writes its section of docs/statistics.md.
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
from bench.replay.running import replay
from bench.statistics.report import render_replayed, replace_section

_ROOT: Final = Path(__file__).parents[2]
_EXCERPTS: Final = _ROOT / "tests" / "bench" / "replay" / "excerpts"


def main() -> int:
    """Replay into both databases."""
    data = Path(os.environ.get("DATA") or _EXCERPTS)
    found: dict[str, Any] = {}
    with running_durable_postgres() as postgres_url:
        for kind in ("sqlite", "postgresql"):
            with (
                tempfile.TemporaryDirectory(prefix="errata-replay-") as directory,
                fresh_database(kind, postgres_url) as url,
            ):
                found[kind] = replay(
                    data, url, Path(directory), os.environ, port=_free_port(), now_us=time.time_ns() // 1000
                )
            sys.stderr.write(f"{kind}: {found[kind]['differences'] or 'no difference'}\n")
    if data != _EXCERPTS:
        page = _ROOT / "docs" / "statistics.md"
        text = page.read_text(encoding="utf-8")
        page.write_text(replace_section(text, render_replayed(found)), encoding="utf-8")
    sys.stdout.write(json.dumps(found) + "\n")
    return int(any(each["differences"] for each in found.values()))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
