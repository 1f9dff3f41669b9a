"""What `errata report --slices` prints: which slices of each champion are surely worse, and where detectors stand."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from errata.command.session import for_terminal
from errata.settings import Model, Settings

if TYPE_CHECKING:
    from storage.database import Database
    from storage.joint_slices import JointCounts

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
            detector = settings.models.get(name, Model()).detector
            states = read_horizons(connection, name, release.version, detector.horizons_us)
            place = {"model": name, "version": release.version}
            found = stand(counts, states, detector)
            rows += [place | asdict(standing) for standing in found]
    return rows


#: Of the joint slices of a champion so many are told, those to look at first.
JOINT_TOLD = 200


def read_joint_slices(
    database: "Database",
    settings: Settings,
    *,
    model: str | None,
    tags: list[str],
    now_us: int,
    span_us: int,
) -> list[dict[str, Any]]:
    """The joint slices of some tags of what each model serves: n, corrections, interval, and which are surely worse."""
    from quality.standing import stand
    from storage.joint_slices import read_joint_counts
    from storage.sheets import find_served

    found = []
    with database.read() as connection:
        for name in [model] if model else sorted(settings.models):
            version = find_served(connection, name)
            if version is None:
                continue
            joint = read_joint_counts(
                connection,
                model=name,
                version=version,
                tags=tags,
                since_us=now_us - span_us,
                until_us=now_us,
            )
            standings = stand(joint.counts, {}, settings.models[name].detector)
            found.append(
                {
                    "model": name,
                    "version": version,
                    "tags": tags,
                    "n_outside": joint.n_outside,
                    "read_since_us": joint.since_us,
                    "n_slices": max(len(standings) - 1, 0),
                    "slices": [
                        {
                            field: getattr(each, field)
                            for field in ("slice", "n", "k", "low", "high", "is_worse")
                        }
                        for each in standings[: JOINT_TOLD + 1]
                    ],
                    "said": say_joint(joint, tags, len(standings) - 1, JOINT_TOLD),
                }
            )
    return found


def say_joint(joint: "JointCounts", tags: list[str], n_slices: int, n_told: int) -> str:
    """What the joint slices leave out, in sentences; empty where they leave nothing out."""
    from errata.wire import format_time

    said = []
    if n_slices < 1:
        said.append(f"No prediction has {' and '.join(tags)} together.")
    elif joint.n_outside:
        said.append(
            f"{joint.n_outside:,} predictions lack one of {', '.join(tags)} and are in the whole alone."
        )
    if joint.since_us is not None:
        n = joint.counts["all"][0]
        said.append(f"The latest {n:,} predictions were read, those since {format_time(joint.since_us)}.")
    if n_slices > n_told:
        said.append(f"The {n_told:,} of {n_slices:,} joint slices to look at first; all were searched.")
    return " ".join(said)


def print_joint_slices(found: list[dict[str, Any]]) -> None:
    """Print what `read_joint_slices` found for people."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    for each in found:
        table = Table("model", "version", "slice", "n", "corrected", "95 %", "surely worse", box=SIMPLE_HEAD)
        for row in each["slices"]:
            cells = (
                each["model"],
                each["version"],
                row["slice"],
                f"{row['n']:,}",
                f"{row['k'] / row['n']:.1%}",
                f"{row['low']:.1%} – {row['high']:.1%}",
                "yes" if row["is_worse"] else "",
            )
            table.add_row(*(Text(for_terminal(cell)) for cell in cells))
        console.print(table)
        if each["said"]:
            console.print(Text(for_terminal(each["said"])))


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
