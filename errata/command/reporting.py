"""What `errata report` prints: one row per model, version and slice, and what is asked of each model."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from errata.command.session import for_terminal
from errata.settings import Model, Settings

if TYPE_CHECKING:
    from rich.console import Console

    from quality.data_standing import Watched
    from quality.maturity import AttributionWindow, Delays
    from quality.rates import Number
    from storage.audits import AuditDrift, AuditedError
    from storage.database import Database
    from storage.maturity import Corrections
    from storage.reliability import FoundReliability
    from storage.sheets import Sheet

_WIDE = 240
_HOUR_US = 3_600_000_000
#: The spans over which requirements are checked, and how they are called.
_SHEET_SPANS_US = {"hour": _HOUR_US, "day": 24 * _HOUR_US}


@dataclass(frozen=True, slots=True)
class Report:
    """The online numbers of a span, and the requirement sheets over the last hour and day."""

    rows: list[dict[str, Any]]
    #: By model and version.
    corrections: "dict[tuple[str, str], Corrections]"
    sheets: "list[Sheet]"
    #: By model and version: of those that are served.
    audits: "dict[tuple[str, str], AuditedError]"
    #: By model: confidence beside outcome.
    reliability: "dict[str, FoundReliability]"
    #: By model and version, of the champions: whether audits find more errors than is usual.
    audit_drift: "dict[tuple[str, str], AuditDrift]"
    #: By model and version: of the champions, all that can be watched for data drift.
    watched: "dict[tuple[str, str], list[Watched]]"
    #: By model: from which age on outcomes are final.
    attribution: "dict[str, AttributionWindow]"
    #: Where each slice of the champions stands, by every horizon.
    standings: list[dict[str, Any]]

    @property
    def fails(self) -> bool:
        """Whether a requirement is surely not met."""
        return any(checked.judgement == "fail" for sheet in self.sheets for checked in sheet.checked)


def read_report(
    database: "Database", settings: Settings, *, model: str | None, now_us: int, span_us: int
) -> Report:
    """Read what is reported of one model, or of all."""
    from errata.command.slices import read_standings
    from quality.data_standing import stand_all
    from quality.maturity import describe_window
    from storage.audits import read_audit_drift, read_audited_error
    from storage.data_shifts import read_data_drift_states
    from storage.maturity import read_corrections, read_delays
    from storage.releases import champion
    from storage.reliability import read_reliability
    from storage.sheets import find_served
    from storage.windows import list_models

    with database.read() as connection:
        models = [model] if model else list_models(connection)
    rows: list[dict[str, Any]] = []
    corrections: dict[tuple[str, str], Corrections] = {}
    sheets: list[Sheet] = []
    audits: dict[tuple[str, str], AuditedError] = {}
    reliability: dict[str, FoundReliability] = {}
    audit_drift: dict[tuple[str, str], AuditDrift] = {}
    watched: dict[tuple[str, str], list[Watched]] = {}
    attribution: dict[str, AttributionWindow] = {}
    for name in models:
        known = settings.models.get(name, Model())
        horizon_us = known.detector.horizons_us[0]
        with database.read() as connection:
            given_us = known.attribution_window_us
            delays = read_delays(
                connection, model=name, now_us=now_us, horizon_us=horizon_us, given_us=given_us
            )
            attribution[name] = describe_window(delays, given_us)
            found = read_corrections(
                connection, model=name, since_us=now_us - span_us, now_us=now_us, delays=delays
            )
            reliability[name] = read_reliability(
                connection, model=name, since_us=now_us - span_us, until_us=now_us
            )
            served = find_served(connection, name)
            if served is not None:
                audits[name, served] = read_audited_error(
                    connection, model=name, version=served, task=known.task, since_us=now_us - span_us
                )
            release = champion(connection, name)
            if release is not None:
                states = read_data_drift_states(connection, name, release.version)
                watched[name, release.version] = stand_all(states, known.data_drift)
                audit_drift[name, release.version] = read_audit_drift(
                    connection, model=name, version=release.version, settings=known
                )
        corrections |= {(name, version): each for version, each in found.items()}
        rows += _read_rows(database, name, delays, now_us, span_us)
        sheets += _read_sheets(database, name, known, delays, now_us)
    standings = read_standings(database, settings, model=model, now_us=now_us, span_us=span_us)
    return Report(
        rows, corrections, sheets, audits, reliability, audit_drift, watched, attribution, standings
    )


def report_json(report: Report) -> dict[str, Any]:
    """The report for programs."""
    return {
        "numbers": report.rows,
        "corrections": [
            {"model": model, "version": version, **asdict(found)}
            for (model, version), found in report.corrections.items()
        ],
        "attribution": [{"model": model, **asdict(each)} for model, each in report.attribution.items()],
        "audits": [
            {"model": model, "version": version, **asdict(found)}
            for (model, version), found in report.audits.items()
        ],
        "audit_drift": [
            {"model": model, "version": version, **asdict(found)}
            for (model, version), found in report.audit_drift.items()
        ],
        "slices": report.standings,
        "calibration": [
            {"model": model, "version": version, "slice": name, "since_us": found.since_us, **asdict(each)}
            for model, found in report.reliability.items()
            for (version, name), each in found.by_slice.items()
        ],
        "data_drift": [
            {"model": model, "version": version, **asdict(each)}
            for (model, version), found in report.watched.items()
            for each in found
        ],
        "requirements": [
            {
                "model": sheet.model,
                "version": sheet.version,
                "span": _span_name(sheet.span_us),
                "requirement": checked.requirement.name,
                "bound": checked.requirement.bound,
                **{name: value for name, value in asdict(checked).items() if name != "requirement"},
            }
            for sheet in report.sheets
            for checked in sheet.checked
        ],
    }


def print_report(report: Report, settings: Settings) -> None:
    """Print the report for people."""
    from rich.console import Console
    from rich.text import Text

    # In a file or a pipe nothing has to be broken into lines.
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    _print_rows(console, report.rows)
    _print_corrections(console, report.corrections)
    for model, window in report.attribution.items():
        console.print(Text(for_terminal(f"{model}, attribution window: {window.said}")))
    _print_reliability(console, report.reliability)
    _print_audits(console, report.audits, report.audit_drift)
    _print_sheets(console, report.sheets, settings)
    _print_watched(console, report.watched)


def _read_rows(
    database: "Database", model: str, delays: "Delays | None", now_us: int, span_us: int
) -> list[dict[str, Any]]:
    """Every number with its n, interval, maturity and freshness."""
    from quality.rates import summarise
    from storage.maturity import read_exposures, read_newest
    from storage.windows import contribution_of, read_spans, sum_windows

    since_us = now_us - span_us
    with database.read() as connection:
        windows = sum_windows(connection, model=model, since_us=since_us, until_us=now_us)
        exposures = (
            read_exposures(
                connection, model=model, since_us=since_us, until_us=now_us, now_us=now_us, delays=delays
            )
            if delays is not None
            else {}
        )
        spans = read_spans(connection, model=model, since_us=since_us, until_us=now_us)
        newest_us = {
            version: read_newest(connection, model=model, version=version, minute_us=last_us)
            for version, (_, last_us) in spans.items()
        }
    rows = []
    for window in windows:
        newest = newest_us.get(window.version)
        exposure = exposures.get((window.version, window.slice))
        numbers = summarise(
            contribution_of(window),
            span_seconds=span_us / 1_000_000,
            maturity=exposure / window.n if exposure is not None and window.n else None,
            age_us=None if newest is None else max(now_us - newest, 0),
        )
        place = {"model": model, "version": window.version, "slice": window.slice, "n": window.n}
        rows.append(place | asdict(numbers))
    return rows


def _read_sheets(
    database: "Database", name: str, model: Model, delays: "Delays | None", now_us: int
) -> "list[Sheet]":
    from quality.requirements import list_requirements
    from storage.sheets import find_served, read_sheet

    if not list_requirements(model.requirements):
        return []
    with database.read() as connection:
        version = find_served(connection, name)
        if version is None:
            return []
        return [
            read_sheet(
                connection,
                model=name,
                version=version,
                settings=model,
                delays=delays,
                now_us=now_us,
                span_us=span_us,
            )
            for span_us in _SHEET_SPANS_US.values()
        ]


def _print_rows(console: "Console", rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
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
        "maturity",
        "newest",
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
            _percent(rate["maturity"]),
            _age(rate["age_us"]),
        )
    console.print(table)


def _print_corrections(console: "Console", corrections: "dict[tuple[str, str], Corrections]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if not corrections:
        return
    table = Table(
        "model",
        "version",
        "corrected so far",
        "fresh rate (provisional)",
        "matured rate",
        "matured after",
        "maturity",
        "newest",
        box=SIMPLE_HEAD,
    )
    for (model, version), found in corrections.items():
        table.add_row(
            *(Text(for_terminal(text)) for text in (model, version)),
            *(_say_number(number) for number in (found.so_far, found.fresh, found.matured)),
            _age(found.settled_us),
            _percent(found.fresh.maturity),
            _age(found.fresh.age_us),
        )
    console.print(table)


def _print_reliability(console: "Console", reliability: "dict[str, FoundReliability]") -> None:
    """Say for each version what its confidences promised and what came of it; slices are in the JSON."""
    from rich.text import Text

    for model, found in reliability.items():
        for (version, name), each in found.by_slice.items():
            if name != "all":
                continue
            of_latest = f" (the latest {each.accuracy.n:,})" if found.since_us is not None else ""
            said = (
                f"{model} {version}, of answered predictions{of_latest}: right {_say_number(each.accuracy)}; "
                f"its confidence promised {each.expected:.1%}, off by {each.calibration_error:.1%} on average; "
                f"Brier score {each.brier:.3f}"
            )
            console.print(Text(for_terminal(said)))


def _print_audits(
    console: "Console",
    audits: "dict[tuple[str, str], AuditedError]",
    audit_drift: "dict[tuple[str, str], AuditDrift]",
) -> None:
    from rich.text import Text

    for (model, version), found in audits.items():
        console.print(Text(for_terminal(f"{model} {version}, audited: {found.sentence}")))
        if found.label_free is not None and found.label_free.value is not None:
            said = f"{found.label_free.value:.1%} wrong by confidence alone, n {found.label_free.n:,}"
            console.print(
                Text(for_terminal(f"{model} {version}, {said}: assumes that the model has not changed."))
            )
    for (model, version), drift in audit_drift.items():
        console.print(Text(for_terminal(f"{model} {version}, by audits: {drift.said}")))


def _say_number(number: "Number") -> str:
    if number.value is None or number.low is None or number.high is None:
        return ""
    return f"{number.value:.1%} ({number.low:.1%} – {number.high:.1%}), n {number.n:,}"


def _print_sheets(console: "Console", sheets: "Sequence[Sheet]", settings: Settings) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if not sheets:
        return
    table = Table(
        "model", "version", "last", "judgement", "minutes", "maturity", "requirement", box=SIMPLE_HEAD
    )
    for sheet in sheets:
        for checked in sheet.checked:
            table.add_row(
                *(Text(for_terminal(text)) for text in (sheet.model, sheet.version)),
                _span_name(sheet.span_us),
                checked.judgement,
                f"{checked.n_minutes_met:,} of {checked.n_minutes:,}" if checked.n_minutes else "",
                _percent(checked.number.maturity),
                Text(checked.sentence),
            )
    console.print(table)
    for model in dict.fromkeys(sheet.model for sheet in sheets):
        wanted = settings.models[model].requirements
        served = " ".join(
            part for part in (wanted.serving_mode, f"on {wanted.device}" if wanted.device else None) if part
        )
        if served:
            console.print(Text(for_terminal(f"{model} is served {served}.")))


def _print_watched(console: "Console", watched: "dict[tuple[str, str], list[Watched]]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if not watched:
        return
    table = Table("model", "version", "data drift", "n", "where it stands", box=SIMPLE_HEAD)
    for (model, version), found in watched.items():
        for each in found:
            cells = (model, version, each.watched, f"{each.n:,}", each.said)
            table.add_row(*(Text(for_terminal(cell)) for cell in cells))
    console.print(table)


def _span_name(span_us: int) -> str:
    return next(name for name, length_us in _SHEET_SPANS_US.items() if length_us == span_us)


def _age(age_us: int | None) -> str:
    if age_us is None:
        return ""
    seconds = age_us // 1_000_000
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _milliseconds(value_us: int | None) -> str:
    return "" if value_us is None else f"{value_us / 1000:.1f}"
