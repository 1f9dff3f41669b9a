"""The demo in the terminal: what happened, as sentences, and the numbers as they are now."""

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from errata.command.demo_numbers import DemoNumbers


class View:
    """Sentences with their second; on a terminal also a table that is redrawn, elsewhere a line now and then."""

    def __init__(self, *, is_live: bool, started: float) -> None:
        self.started = started
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, refresh_per_second=4) if is_live else None
        self._last_line = started
        if self._live is not None:
            self._live.start()

    def say(self, sentence: str) -> None:
        """Tell that something happened."""
        self._console.print(f"[dim]{time.monotonic() - self.started:5.0f} s[/dim]  {sentence}")

    def show(self, numbers: DemoNumbers) -> None:
        """Show the numbers as they are now."""
        if self._live is not None:
            self._live.update(Group(_table(numbers), Text("Ctrl-C stops everything.", style="dim")))
        elif time.monotonic() - self._last_line >= 15:
            self._last_line = time.monotonic()
            self.say(_line(numbers))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
        sys.stderr.flush()


def _table(numbers: DemoNumbers) -> Table:
    table = Table(title="card-reader", title_justify="left")
    for heading in ("", "predictions", "edited", "correction rate"):
        table.add_column(heading, justify="left" if not heading else "right")
    rates = numbers.correction_rate()
    for label, name, n, edits in (
        ("version 1, old camera", "before", numbers.n_before, numbers.edits_before),
        ("version 1, new camera", "drifted", numbers.n_drifted, numbers.edits_drifted),
        ("new version, new camera", "after", numbers.n_after, numbers.edits_after),
    ):
        rate = rates[name]
        table.add_row(label, f"{n:,}", f"{edits:,}", "" if rate is None else f"{rate:.1%}")
    table.caption = f"{numbers.events:,} events stored, {numbers.dead_letters} dead letters; run: " + (
        numbers.steps[-1] if numbers.steps else "none yet"
    )
    return table


def _line(numbers: DemoNumbers) -> str:
    rates = ", ".join(
        f"{name} {rate:.1%}" for name, rate in numbers.correction_rate().items() if rate is not None
    )
    return f"{numbers.events:,} events; correction rate: {rates or 'no number yet'}"
