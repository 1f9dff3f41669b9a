"""What `errata report` prints: one row per model, version and slice."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from errata.command.session import for_terminal

if TYPE_CHECKING:
    from storage.database import Database

_WIDE = 240


def report_rows(
    database: "Database", *, model: str | None, now_us: int, span_us: int
) -> list[dict[str, Any]]:
    """The online numbers of the last `span_us`, every one with its n and interval."""
    from quality.rates import summarise
    from storage.windows import contribution_of, list_models, sum_windows

    rows = []
    with database.read() as connection:
        for name in [model] if model else list_models(connection):
            for window in sum_windows(connection, model=name, since_us=now_us - span_us, until_us=now_us):
                numbers = summarise(contribution_of(window), span_seconds=span_us / 1_000_000)
                place = {"model": name, "version": window.version, "slice": window.slice, "n": window.n}
                rows.append(place | asdict(numbers))
    return rows


def report_table(rows: list[dict[str, Any]]) -> None:
    """Print `rows` as a table for people."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "model",
        "version",
        "slice",
        "n",
        "edited",
        "95 %",
        "distance",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "per second",
        box=SIMPLE_HEAD,
    )
    for row in rows:
        rate, distance, served = row["edit_rate"], row["distance"], row["served_us"]
        table.add_row(
            *(Text(for_terminal(row[name])) for name in ("model", "version", "slice")),
            f"{row['n']:,}",
            _percent(rate["value"]),
            f"{_percent(rate['low'])} – {_percent(rate['high'])}",
            _percent(distance["value"]),
            *(_milliseconds(served[quantile]["value"]) for quantile in ("p50", "p95", "p99")),
            f"{row['qps']['value']:.2f}",
        )
    # In a file or a pipe nothing has to be broken into lines.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _milliseconds(value_us: int | None) -> str:
    return "" if value_us is None else f"{value_us / 1000:.1f}"
