"""What `errata report --slices` prints: which slices of each champion are surely worse, and where detectors stand."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from errata.command.session import for_terminal
from errata.settings import Settings

if TYPE_CHECKING:
    from storage.database import Database

_WIDE = 240


def read_standings(
    database: "Database", settings: Settings, *, model: str | None, now_us: int, span_us: int
) -> list[dict[str, Any]]:
    """Where the slices of each champion stand, from the predictions of the last `span_us`."""
    from quality.standing import stand
    from storage.releases import champion
    from storage.signals import read_horizons
    from storage.windows import sum_windows

    rows = []
    with database.read() as connection:
        for name in [model] if model else sorted(settings.models):
            release = champion(connection, name)
            if release is None:
                continue
            counts = {
                window.slice: (window.n, window.n_edit + window.n_reject)
                for window in sum_windows(connection, model=name, since_us=now_us - span_us, until_us=now_us)
                if window.version == release.version
            }
            detector = settings.models[name].detector
            states = read_horizons(connection, name, release.version, detector.horizons_us)
            place = {"model": name, "version": release.version}
            found = stand(counts, states, detector)
            rows += [place | asdict(standing) for standing in found]
    return rows


def print_standings(rows: list[dict[str, Any]]) -> None:
    """Print the rows of `read_standings` for people."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = ("model", "version", "slice", "n", "corrected", "95 %", "surely worse", "detector")
    table = Table(*columns, box=SIMPLE_HEAD)
    for row in rows:
        cells = (
            row["model"],
            row["version"],
            row["slice"],
            f"{row['n']:,}",
            f"{row['k'] / row['n']:.1%}",
            f"{row['low']:.1%} – {row['high']:.1%}",
            "yes" if row["is_worse"] else "",
            row["said"],
        )
        table.add_row(*(Text(for_terminal(cell)) for cell in cells))
    # In a file or a pipe nothing has to be broken into lines.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)
