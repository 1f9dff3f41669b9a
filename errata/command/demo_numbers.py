"""What the demo reads back from the database, all the time and for its last line."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from errata.settings import Detector

if TYPE_CHECKING:
    from storage.database import Database
    from storage.records import Run, Signal

MODEL = "card-reader"
FIRST_VERSION = "1"


@dataclass(frozen=True, slots=True)
class DemoNumbers:
    """One look at the loop. Rates are edits per prediction of the windows counted so far."""

    events: int
    dead_letters: int
    n_before: int
    edits_before: int
    n_drifted: int
    edits_drifted: int
    n_after: int
    edits_after: int
    n_after_answered: int
    reference_complete: bool
    signal: "Signal | None"
    signal_after_events: int | None
    run: "Run | None"
    steps: tuple[str, ...]

    def has_step(self, step: str) -> bool:
        """Whether the run that the signal opened has taken this arrow."""
        return step in self.steps

    def correction_rate(self) -> dict[str, float | None]:
        """Version 1 with the old camera, version 1 with the new one, and the released version with the new one."""
        return {
            "before": self.edits_before / self.n_before if self.n_before else None,
            "drifted": self.edits_drifted / self.n_drifted if self.n_drifted else None,
            "after": self.edits_after / self.n_after if self.n_after else None,
        }


def read_numbers(database: "Database", detector: Detector, now_us: int, answered_us: int) -> DemoNumbers:
    """Look once; predictions older than `answered_us` count as answered by most customers."""
    from storage.dead_letters import count_by_reason
    from storage.ledger import read_ledger_summary
    from storage.predictions import count_predictions
    from storage.runs import list_runs, read_steps
    from storage.signals import read_horizons, read_signals
    from storage.windows import sum_windows

    with database.read() as connection:
        ledger = read_ledger_summary(connection)
        windows = sum_windows(connection, model=MODEL, since_us=0, until_us=now_us + 60_000_000)
        counts = {
            (window.version == FIRST_VERSION, window.slice): (window.n, window.n_edit) for window in windows
        }
        horizons = read_horizons(connection, MODEL, FIRST_VERSION, detector.horizons_us)
        signals = read_signals(connection, model=MODEL, limit=100)
        opened = [signal for signal in signals if signal.decision == "opened"]
        signal = opened[-1] if opened else None
        runs = list_runs(connection, model=MODEL)
        run = runs[-1] if runs else None
        before, edits_before = counts.get((True, "camera=v1"), (0, 0))
        drifted, edits_drifted = counts.get((True, "camera=v2"), (0, 0))
        after, edits_after = counts.get((False, "camera=v2"), (0, 0))
        return DemoNumbers(
            events=sum(row.n for row in ledger),
            dead_letters=sum(count_by_reason(connection).values()),
            n_before=before,
            edits_before=edits_before,
            n_drifted=drifted,
            edits_drifted=edits_drifted,
            n_after=after,
            edits_after=edits_after,
            n_after_answered=count_predictions(
                connection, model=MODEL, not_version=FIRST_VERSION, until_us=now_us - answered_us
            ),
            reference_complete=any(
                "all" in states and states["all"].ceiling is not None for states in horizons.values()
            ),
            signal=signal,
            signal_after_events=None
            if signal is None
            else count_predictions(connection, model=MODEL, slice="camera=v2", until_us=signal.time_us),
            run=run,
            steps=tuple(step.step for step in read_steps(connection, run.id)) if run else (),
        )
