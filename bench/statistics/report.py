"""The laboratory's findings as a page: docs/statistics.md is written by `make bench-statistics`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Found = Mapping[str, Any]


#: River's detectors of streams of 0 and 1 (bench/statistics/baselines.py), the slowest first.
RIVER = ("HDDM_A", "DDM", "Page-Hinkley", "ADWIN")
#: The section that `make replay-data` writes (bench/replay/).
REPLAYED = "## Real data through the pipeline"


def write_report(found: Found, path: Path) -> None:
    """Write the page; what `make replay-data` wrote stays."""
    page = render(found)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if f"\n{REPLAYED}\n" in before:
        page = replace_section(page, REPLAYED + before.partition(f"\n{REPLAYED}")[2])
    path.write_text(page, encoding="utf-8")


def replace_section(page: str, section: str) -> str:
    """The page with this section in place of the one that has its heading, or at the end."""
    heading = section.partition("\n")[0]
    head, found, rest = page.partition(f"\n{heading}\n")
    if not found:
        return f"{page.rstrip()}\n\n{section.rstrip()}\n"
    _, after, following = rest.partition("\n## ")
    return f"{head}\n{section.rstrip()}\n" + (f"\n## {following}" if after else "")


def render(found: Found) -> str:
    """The page, of everything that `python -m bench.statistics` prints."""
    return "\n".join(
        [
            _head(found),
            _levels(found),
            _traps(found),
            _data_drift(
                {kind: found[kind] for kind in ("numbers", "outputs", "embeddings")}, found["windows"]
            ),
            _intervals(found["intervals"]),
            _fresh(found["fresh"], found["late_labels"]),
            _audits(found["audits"]),
            _audit_drift(found["audit_drift"]),
            _residuals(found["residuals"], found["performance"]),
            _costs(found["costs"]),
            _real(found["real"]),
        ]
    )


def _head(found: Found) -> str:
    return f"""# Numbers one can act on: what was measured

Written by `make bench-statistics` (bench/statistics/) in one run of {found["minutes"]:g} minutes in {found["workers"]} processes:
seed {found["seed"]}, scale {found["scale"]:g}. Every stream is simulated, so its truth is known, unless it is called real.
One setting for all base rates: one false alarm is allowed in a million events.

Workers run the e-SR with a level at each horizon and slice, which share what is allowed with the detector of audits: with
four horizons each alarms at five times the level here. Without a level it only warns; session means are a setting; and an alarm names
a worse model or harder inputs by a test of its own ([operations.md](operations.md#when-the-rate-of-corrections-drifts)).
"""  # noqa: E501


def _levels(found: Found) -> str:
    ours = {f"e-SR, level {form}": found[form] for form in ("known", "unknown")}
    theirs = {f"{name} (river)": found[name] for name in RIVER}
    rows = [
        (name, each["false_alarms_per_million"], each["delay_events"])
        for name, each in {**ours, **theirs}.items()
    ]
    bases, rises = list(rows[0][1]), list(rows[0][2])
    table = _table(
        ["detector", *(f"false at {base}" for base in bases), *rises],
        (
            [name, *(_number(false[base]) for base in bases), *(_delay(seen[rise]) for rise in rises)]
            for name, false, seen in rows
        ),
    )
    return f"""## False alarms and delays

False alarms per million events of streams that do not change, by their rate; and the median number of events from a
jump to the first alarm after it (in brackets the share of streams that never alarmed).

{table}"""


def _traps(found: Found) -> str:
    table = _table(
        ["case", "false alarms a million"],
        [
            *([f"season, {name}", _number(each)] for name, each in found["seasons"].items()),
            *([f"season, {name} (river)", _number(found[name]["season"])] for name in RIVER),
            *([f"sessions, {name}", _number(each)] for name, each in found["sessions"].items()),
        ],
    )
    return f"""## What breaks detectors

A day that swings by 30 %, and ten predictions a session whose outcomes go together (intraclass correlation 0.2).

{table}"""


def _data_drift(data_drift: Found, windows: Found) -> str:
    tests = list(next(iter(windows.values())))
    seen = _table(
        ["watched", "tolerance", "false alarms a million", "streams a change", "median delays in events"],
        (
            [
                watched,
                f"{each['tolerance']:g}",
                f"{_number(each['false_alarms_per_million'])} (in {each['null_events']:,})",
                each["streams"],
                ", ".join(f"{name}: {_delay(delay)}" for name, delay in each["delay_events"].items()),
            ]
            for watched, found in data_drift.items()
            for each in found
        ),
    )
    numbers = data_drift["numbers"]
    swings = _table(
        ["tolerance", *(f"swings by {swing}" for swing in numbers[0]["swings"])],
        ([f"{each['tolerance']:g}", *map(_number, each["swings"].values())] for each in numbers),
    )
    table = _table(
        ["window", *tests],
        ([name, *(_flagged(each[test]) for test in tests)] for name, each in windows.items()),
    )
    return f"""## Data drift

What a model is given and answers, without feedback; a reference of 2,000 values. Numbers (confidence, length, latency)
by the conformal detector; ten outputs and a rest by bets on their places; embeddings of 384 dimensions by the betting
classifier, each with the one 10,000 before. In brackets the share of streams without an alarm. The second tolerance
is the default.

{seen}
Alarms a million values where the mean of a number swings by day, in standard deviations, at 20,000 values a day:

{swings}
Evidently's tests of windows of a fixed size beside a reference of 5,000 values, each at its own threshold (the default
is the normed Wasserstein distance at this size): the share of windows flagged, and what that makes of false alarms a
million values.

{table}"""


def _intervals(intervals: Found) -> str:
    table = _table(
        ["rate", "ever missed", "Wilson's ever missed", "width beside Wilson's, at most"],
        (
            [
                rate,
                f"{each['ever_missed']:.1%}",
                f"{each['wilson_ever_missed']:.0%}",
                each["width_beside_wilson"],
            ]
            for rate, each in intervals.items()
        ),
    )
    return f"""## Intervals under constant looking

400 looks between 100 and a million events: the share of streams whose interval missed the truth at any of them.

{table}"""


def _fresh(fresh: Found, late_labels: Found) -> str:
    ways = ("fresh_rate", "edits_of_predictions", "edits_of_feedback")
    table = _table(
        ["last", *(way.replace("_", " ") for way in ways)],
        ([name, *(f"{each[way]:+.2f}" for way in ways)] for name, each in fresh.items()),
    )
    seen = ", ".join(f"{hours} h where outcomes are {name}" for name, hours in late_labels.items())
    return f"""## Before feedback is in

Bias of the rate of the last hours, in percentage points; the truth is 5 %.

{table}
A drift from 5 to 8 % at 2,000 predictions an hour is seen after {seen}.
"""


def _audits(audits: Found) -> str:
    biases = ", ".join(f"{name} {bias:+.2f}" for name, bias in audits["bias_points"].items())
    table = _table(
        [
            "audits are drawn",
            "one is worth labels",
            "as simulated",
            "interval missed",
            "interval's width, points",
        ],
        (
            [
                way,
                each["effective_labels"],
                each["effective_labels_simulated"],
                f"{each['interval_missed']:.1%}",
                f"{each['interval_width_points']:.1f}",
            ]
            for way, each in audits["ways"].items()
        ),
    )
    return f"""## The truth behind the volunteers

20,000 predictions, 4.76 % of them wrong; 35 % of the wrong ones are corrected, 6 % of the right ones are accepted, and
as many as 2 % of all are audited, of those that nobody corrected; {audits["worlds"]:,} times.
Bias in percentage points: {biases}.

{table}"""


def _audit_drift(audit_drift: Found) -> str:
    alarms = _table(
        ["level", "false alarms a million predictions"],
        ([form, _number(each)] for form, each in audit_drift["false_alarms_per_million"].items()),
    )
    delays = _table(
        ["what happened", "median delay in predictions"],
        ([name, _delay(each)] for name, each in audit_drift["delays"].items()),
    )
    judgements = _table(
        ["what happened", "agreed", "did not agree", "labels that it took"],
        (
            [name, f"{each['agree']:.0%}", f"{each['disagree']:.0%}", f"{each['median_labels']:,.0f}"]
            for name, each in audit_drift["judgements"].items()
        ),
    )
    return f"""## When audits find more errors

Batches of 100 audits, each drawn from 5,000 predictions (2 %) that nobody corrected; 5 % are wrong, of which 35 % are
corrected. Learnt is the level from 1,000 labels, in streams of half a million; {audit_drift["null_events"]:,} predictions
without a change at each level, and {audit_drift["streams"]:,} streams with one (in brackets the share without an alarm in a million).

{alarms}
{delays}
What audits say of an alarm of corrections, after up to ten batches since the change; what is usual was learnt from
1,000 labels.

{judgements}"""  # noqa: E501


def _residuals(residuals: Found, performance: Found) -> str:
    table = _table(
        [
            "what happened",
            "edit rate",
            "residual",
            "the estimate without labels is off by",
            "CBPE (NannyML)",
            "it alerts",
        ],
        (
            [
                name,
                _share(each["rate"]),
                _share(each["residual"]),
                f"{each['estimate_without_labels_points']:+.2f} points",
                f"{performance[name]['off_by_points']:+.2f} points",
                f"{performance[name]['alerts']:.0%}",
            ]
            for name, each in residuals.items()
        ),
    )
    return f"""## A worse model or harder inputs

The share of streams with an alarm within 20,000 events, and its median delay in events. NannyML's CBPE sees the same
streams, in chunks of 5,000: how far off its estimate is, and the share of chunks that it alerts of.

{table}"""


def _costs(costs: Found) -> str:
    replay = "gives the same bits" if costs["replay_is_identical"] else "DIFFERS"
    spent = costs["us_per_event"]
    ways = {name: each for name, each in spent.items() if isinstance(each, Mapping)}
    columns = list(next(iter(ways.values())))
    table = _table(
        ["taken in", *columns], ([name, *(each[column] for column in columns)] for name, each in ways.items())
    )
    return f"""## Cost

Microseconds of a processor an event, for 1,000 slices in steps of 1,000 events, each event in three of them. All that
watches corrections is the detector with a ceiling at four horizons and the one without a level. A backlog is 60 steps;
minute by minute, states are read and written at each. The evidence with a ceiling alone, from arrays to arrays, is
{spent["evidence alone"]}.

{table}
A replay {replay}.
"""


def _real(real: Found) -> str:
    if "skipped" in real:
        return f"## Real data\n\nNot run: {real['skipped']}.\n"
    forecasts, digits, translations = real["forecasts"], real["digits"], real["translations"]
    table = _table(
        ["league", "n", "accuracy", "interval", "direct", "Brier score"],
        (
            [name, each["n"], each["accuracy"], _between(each["interval"]), each["direct"], each["brier"]]
            for name, each in forecasts["by_league"].items()
        ),
    )
    return f"""## Real data

FiveThirtyEight's forecasts (CC BY 4.0), as the windows count them and by a direct computation.

{table}
The error of the later half, estimated without its labels, is \
{forecasts["error_estimated_without_labels"]:.1%}; it was \
{forecasts["error_of_the_second_half"]:.1%}.
In {forecasts["shuffled_events"]:,} events of shuffled copies there were \
{forecasts["alarms_in_shuffled_copies"]} alarms.

MNIST ({digits["n"]:,} predictions, cleanlab/label-errors, Apache-2.0): {digits["error_rate"]:.2%} wrong.
With 5 % audited the estimate is off by {digits["bias_points"]:+.3f} points on average (standard error \
{digits["standard_error_points"]:.2f}), \
and its interval held in {digits["interval_held"]:.1%}.

Translations ({translations["n"]:,}, MLQE-PE, CC0): edited {translations["edit_share"]:.2%} (direct \
{translations["edit_share_direct"]:.2%}), mean distance
{translations["mean_distance"]} (direct {translations["mean_distance_direct"]}; interval \
{_between(translations["interval"])}).
"""


def render_replayed(found: Found) -> str:
    """The section that says what `make replay-data` found, in both databases."""
    some = next(iter(found.values()))
    n_events = sum(some["events"].values())
    differ = sum(len(each["differences"]) for each in found.values())
    databases = " and ".join(_NAMES[kind] for kind in found)
    rows = [
        [
            model if row["slice"] == "all" else f"{model}, {row['slice']}",
            f"{row['n']:,}",
            f"{row['edit_rate']:.2%}",
            f"{row['edit_rate_interval'][0]:.2%} to {row['edit_rate_interval'][1]:.2%}",
            *(
                "" if value is None else shown.format(value)
                for value, shown in (
                    (row["distance"], "{:.4f}"),
                    (row["promised"], "{:.2%}"),
                    (row["brier"], "{:.4f}"),
                    (row["calibration_error"], "{:.2%}"),
                )
            ),
        ]
        for model, figures in some["figures"].items()
        for row in figures
    ]
    columns = ["model", "n", "edited", "95 %", "distance", "right, as promised", "Brier score", "off by"]
    return f"""{REPLAYED}

Written by `make replay-data` (bench/replay/): {n_events:,} events of public files. Translations went through the
client, a broker and a worker; forecasts with outcomes, labels and their human reviews, receipts with their transcripts
and {some["events"][_REVIEWS]:,} film reviews through the transaction of the intake, at the times of the files,
predictions and feedback in any order. Then `errata report --json` was compared with a direct computation from the
rows, in exact fractions: counts, rates, sums of distances, accuracy, the accuracy that confidence promised and the
Brier score of {some["slices_compared"]} slices, in {databases}. Differences: {differ}.

{_table(columns, rows)}
Sources: FiveThirtyEight (CC BY 4.0), cleanlab/label-errors (Apache-2.0), ICDAR 2019 post-OCR, MLQE-PE and NSMC (CC0).
"""


#: How the film reviews are called (bench/replay/files.py).
_REVIEWS = "nsmc_raw_2015-04_to_2015-08.csv.gz"
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _between(bounds: Sequence[float]) -> str:
    return f"{bounds[0]} to {bounds[1]}"


def _delay(delay: Found) -> str:
    median = delay["median"]
    never = f" ({delay['missed']:.0%})" if delay["missed"] else ""
    return f"{'missed' if median is None else f'{median:,.0f}'}{never}"


def _flagged(each: Found) -> str:
    made = each["per_million"]
    return f"{each['flagged']:.0%}" + ("" if made is None else f" ({made:,} a million)")


def _share(each: Found) -> str:
    after = "" if each["delay_events"] is None else f" after {each['delay_events']:,.0f}"
    return f"{each['alarmed']:.0%}{after}"
