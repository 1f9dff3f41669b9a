"""Records become tables (pandas) that are read, with every number said in words. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from dashboard.wording import (
    NBSP,
    NOTHING,
    ago,
    compact_json,
    cost,
    describe_verdict,
    duration,
    full_moment,
    in_one_line,
    number,
    percent,
    percent_range,
    short_id,
    span,
    tell_delivery,
    with_local_times,
)
from errata.settings import Channel
from quality import histogram
from quality.data_standing import Watched, call
from quality.distances import PPM
from quality.intervals import rate_interval, rate_intervals
from quality.rates import Latency, Number, Numbers, summarise
from quality.requirements import MATURE, Checked, Requirement, Unit
from quality.standing import Standing
from quality.windows import MINUTE_US
from storage.audits import AuditedError
from storage.ledger import PartitionIntake
from storage.maturity import Corrections
from storage.records import (
    Alert,
    Batch,
    BatchItem,
    Case,
    DeadLetter,
    Delivery,
    Example,
    Prediction,
    Release,
    Scorecard,
    Voc,
    Window,
)
from storage.windows import contribution_of

#: Versions that are set side by side; older ones are chosen one by one.
VERSIONS_SHOWN: Final = 4


def numbers_of(window: Window, first_us: int, last_us: int) -> Numbers:
    """What people read of a sum of windows; QPS is over the minutes from the first to the last."""
    return summarise(contribution_of(window), (last_us + MINUTE_US - first_us) / 1_000_000)


def correction_rate(window: Window) -> Number:
    """The share of predictions that were edited or rejected, which is what the drift detector watches."""
    n, k = window.n, window.n_edit + window.n_reject
    return Number(k / n, n, *rate_interval(n, k)) if n else Number(None, 0)


def online_table(numbers: Numbers, corrected: Number) -> pd.DataFrame:
    """The online numbers of one version: measure, value, interval, n."""
    rows = [
        _share_row("Corrected (edit or reject)", corrected),
        _share_row("Edited", numbers.edit_rate),
        _share_row("Accepted", numbers.accept_rate),
        _share_row("Rejected", numbers.reject_rate),
        _share_row("Mean edit distance", numbers.distance),
        *_latency_rows("Latency served", numbers.served_us),
        *_latency_rows("Latency shown", numbers.shown_us),
        ("Predictions per second", number(numbers.qps.value), "counted", number(numbers.qps.n)),
    ]
    return pd.DataFrame(rows, columns=["Measure", "Value", "95 % interval", "n"])


def version_table(numbers: Mapping[str, tuple[Numbers, Number]], champion: str | None) -> pd.DataFrame:
    """The versions of a model side by side: what `numbers_of` and `correction_rate` say of each."""
    return pd.DataFrame(
        [
            {
                "Version": f"{version}, champion" if version == champion else version,
                "Predictions": number(corrected.n),
                "Corrected": _with_interval(corrected, with_n=False),
                "Mean edit distance": _with_interval(found.distance),
                "Served p50 / p95 / p99": _quantiles(found.served_us),
                "Shown p50 / p95 / p99": _quantiles(found.shown_us),
                "Per second": number(found.qps.value),
            }
            for version, (found, corrected) in numbers.items()
        ]
    )


def sheet_table(hour: Sequence[Checked], day: Sequence[Checked]) -> pd.DataFrame:
    """The requirements of a model with what was measured in the last hour and day, and whether that is enough."""
    return pd.DataFrame(
        [
            {
                "Requirement": of_day.requirement.measure.title,
                "Asked for": _asked(of_day.requirement),
                "Last hour": _measured(of_hour),
                "Met in the hour?": _JUDGEMENTS[of_hour.judgement],
                "Last 24 h": _measured(of_day),
                "Met in the day?": _JUDGEMENTS[of_day.judgement],
                "Minutes that met it": (
                    f"{of_day.n_minutes_met:,} of {of_day.n_minutes:,}" if of_day.n_minutes else NOTHING
                ),
            }
            for of_hour, of_day in zip(hour, day, strict=True)
        ]
    )


#: A judgement as the answer to whether a requirement is met.
_JUDGEMENTS: Final[Mapping[str, str]] = {
    "pass": "yes",
    "fail": "no",
    "not enough evidence": "not enough evidence",
}


def _measured(checked: Checked) -> str:
    """`2.5 % (0.15–10 %, n 120; 40 % of the feedback is in)`."""
    found, unit = checked.number, checked.requirement.measure.unit
    if found.value is None:
        return "nothing observed"
    aside = interval_and_n(found)
    if unit == "latency" and found.low is not None:
        aside = f"{duration(found.low)} – {duration(found.high)}, n{NBSP}{found.n:,}"
    elif unit == "per second":
        aside = f"the busiest minute, n{NBSP}{found.n:,}"
    if found.maturity is not None and found.maturity < MATURE:
        aside += f"; {percent(found.maturity)} of the feedback is in"
    return f"{_with_unit(found.value, unit)} ({aside})"


def _asked(requirement: Requirement) -> str:
    side = "at most" if requirement.measure.is_at_most else "at least"
    return f"{side} {_with_unit(requirement.bound, requirement.measure.unit)}"


def _with_unit(value: float, unit: Unit) -> str:
    return {"share": percent, "latency": duration, "per second": number}[unit](value)


def correction_table(corrections: Mapping[str, Corrections], now_us: int) -> pd.DataFrame:
    """The correction rate of each version: so far, fresh and matured, each with its n and interval."""
    return pd.DataFrame(
        [
            {
                "Version": version,
                "Corrected so far": _with_interval(found.so_far),
                "Fresh rate (provisional)": _with_interval(found.fresh),
                "Matured rate": _with_interval(found.matured),
                "Feedback that is in": percent(found.fresh.maturity),
                "Newest prediction": (
                    NOTHING if found.fresh.age_us is None else ago(now_us - found.fresh.age_us, now_us)
                ),
            }
            for version, found in corrections.items()
        ]
    )


def audit_table(found: AuditedError) -> pd.DataFrame:
    """What is wrong, by users, by audits and by confidence: measure, value, interval, n, what it takes for granted."""
    rows = []
    for name, share, assumed in (
        ("Edited", found.edited, "only what is edited is wrong"),
        ("Silence = accept", found.silence_is_consent, "whoever says nothing is content"),
        ("Of those who answered", found.of_answers, "whoever answers is like everybody"),
    ):
        if share is not None:
            rows.append((*_share_row(name, share), assumed))
    if found.audited is not None and found.audited.rate is not None:
        audited = found.audited
        bounds = percent_range((audited.low, audited.high))
        n = f"{audited.n:,}, {audited.n_audited:,} audited"
        rows.append(("Audited", percent(audited.rate), bounds, n, "corrections and labels are right"))
    if found.label_free is not None and found.label_free.value is not None:
        rows.append(
            (
                "By confidence alone",
                percent(found.label_free.value),
                "not an observation",
                number(found.label_free.n),
                "assumes that the model has not changed",
            )
        )
    return pd.DataFrame(rows, columns=["Wrong", "Value", "95 % interval", "n", "What it takes for granted"])


def slice_table(windows: Sequence[Window]) -> pd.DataFrame:
    """One row per slice and version, the largest slice first; shares are numbers, so that the reader can sort."""
    weights = Counter[str]()
    for row in windows:
        weights[row.slice] += row.n
    rows = sorted(
        (row for row in windows if row.n), key=lambda row: (-weights[row.slice], row.slice, row.version)
    )
    n = np.array([row.n for row in rows], dtype=np.int64)
    k = np.array([row.n_edit + row.n_reject for row in rows], dtype=np.int64)
    low, high = rate_intervals(n, k)
    return pd.DataFrame(
        {
            "Slice": [row.slice for row in rows],
            "Version": [row.version for row in rows],
            "Predictions": n,
            "Corrected": k / np.maximum(n, 1),
            "from": low,
            "to": high,
            "Mean edit distance": [
                row.distance_ppm / PPM / row.n_distance if row.n_distance else None for row in rows
            ],
            "Served p50, ms": [milliseconds(row.served, 0.5) for row in rows],
            "Served p95, ms": [milliseconds(row.served, 0.95) for row in rows],
        }
    )


def standing_table(standings: Sequence[Standing], zone: ZoneInfo, now_us: int) -> pd.DataFrame:
    """Where slices stand, one a row, in the order in which they are given."""
    return pd.DataFrame(
        [
            {
                "Slice": each.slice,
                "Predictions": number(each.n),
                "Corrected": f"{percent(each.k / each.n)}, {percent_range((each.low, each.high))}",
                "Surely worse": "yes" if each.is_worse else "",
                "Detector": with_local_times(each.said, zone, now_us),
            }
            for each in standings
        ]
    )


def watched_table(watched: Sequence[Watched], zone: ZoneInfo, now_us: int) -> pd.DataFrame:
    """Where what is watched for data drift stands, one a row, in the order in which it is given."""
    return pd.DataFrame(
        [
            {
                "Watched": call(each.watched),
                "Values": number(each.n),
                "Moved": "yes" if each.stage == "moved" else "no" if each.stage == "calm" else NOTHING,
                "Where it stands": with_local_times(each.said, zone, now_us),
            }
            for each in watched
        ]
    )


def joint_table(standings: Sequence[Standing]) -> pd.DataFrame:
    """Joint slices, one a row, in the order in which they are given; no detector watches them."""
    return pd.DataFrame(
        [
            {
                "Slice": each.slice,
                "Predictions": number(each.n),
                "Corrected": f"{percent(each.k / each.n)}, {percent_range((each.low, each.high))}",
                "Surely worse": "yes" if each.is_worse else "",
            }
            for each in standings
        ]
    )


def scorecard_table(cards: Sequence[Scorecard], champion: str, candidate: str | None) -> pd.DataFrame:
    """The scorecards of champion and candidate side by side, one measure per row."""
    names = {champion: f"Version {champion}, champion"}
    if candidate is not None:
        names[candidate] = f"Version {candidate}, candidate"
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for card in cards:
        if card.version in names and card.n:
            for measure, value in _measures(card):
                rows.setdefault((measure, number(card.n)), {})[names[card.version]] = value
    order = {measure: place for place, measure in enumerate(_MEASURES)}
    return pd.DataFrame(
        [
            {"Measure": measure, "n": n, **{name: row.get(name, NOTHING) for name in names.values()}}
            for (measure, n), row in sorted(rows.items(), key=lambda item: (order[item[0][0]], item[0][1]))
        ],
        columns=["Measure", "n", *names.values()],
    )


def held_table(held: Sequence[Mapping[str, str]], champion: str, candidate: str | None) -> pd.DataFrame:
    """What frozen examples say about the requirements: the evidence of the step `scored`."""
    rows = [
        (version, _JUDGEMENTS.get(each[who], each[who]), each[f"{who}_said"])
        for each in held
        for who, version in (
            ("champion", f"{champion}, champion"),
            ("candidate", f"{candidate or NOTHING}, candidate"),
        )
    ]
    return pd.DataFrame(rows, columns=["Version", "Met?", "Requirement"])


#: What a scorecard shows, in this order.
_MEASURES: Final = (
    "Wrong, before the change",
    "Wrong, after the change",
    "Wrong, all",
    "Mean edit distance",
    "Latency p50",
    "Latency p95",
    "Examples per second, batched",
)


def _measures(card: Scorecard) -> list[tuple[str, str]]:
    if card.part != "all":
        return [(f"Wrong, {card.part} the change", _with_interval(wrong_rate(card), with_n=False))]
    return [
        ("Wrong, all", _with_interval(wrong_rate(card), with_n=False)),
        ("Mean edit distance", percent(card.distance_ppm / PPM / card.n)),
        ("Latency p50", duration(card.latency_us_p50)),
        ("Latency p95", duration(card.latency_us_p95)),
        ("Examples per second, batched", number(card.per_second)),
    ]


def case_table(case: Case, example: Example | None) -> pd.DataFrame:
    """The label and both answers, one field per column; an answer that differs from the label is marked."""
    answers = [("Champion", case.champion_output), ("Candidate", case.candidate_output)]
    label = example.label if example is not None else None
    fields = _fields_of([label, case.champion_output, case.candidate_output])
    rows = [] if example is None else [("Label", *(compact_json(_field(label, name)) for name in fields))]
    for who, answer in answers:
        shown = []
        for name in fields:
            said = compact_json(_field(answer, name))
            wrong = example is not None and _field(answer, name) != _field(label, name)
            shown.append(f"≠ {said}" if wrong else said)
        rows.append((who, *shown))
    return pd.DataFrame(rows, columns=["", *(name or "Answer" for name in fields)])


def group_quotes(vocs: Sequence[Voc]) -> list[tuple[Voc, int]]:
    """The latest comment of each wording and how many have it, the most frequent first; `vocs` is latest first."""
    latest: dict[str, Voc] = {}
    counts = Counter[str]()
    for voc in vocs:
        wording = in_one_line(voc.text)
        latest.setdefault(wording, voc)
        counts[wording] += 1
    return [(latest[wording], count) for wording, count in counts.most_common()]


def interval_and_n(share: Number) -> str:
    """`4.9–6.4 %, n 1,234`: what stands beside a share."""
    if share.low is None or share.high is None:
        return f"n{NBSP}{share.n:,}"
    return f"{percent_range((share.low, share.high))}, n{NBSP}{share.n:,}"


def answer_table(prediction: Prediction) -> pd.DataFrame:
    """What was shown and, where the user edited it, what it was corrected to; one field per column."""
    said = [("Shown", prediction.output)]
    if prediction.action == "edit":
        said.append(("Corrected", prediction.corrected))
    fields = _fields_of([value for _, value in said])
    rows = [(who, *(compact_json(_field(value, name)) for name in fields)) for who, value in said]
    return pd.DataFrame(rows, columns=["", *(name or "Answer" for name in fields)])


def label_table(item: BatchItem, prediction: Prediction | None) -> pd.DataFrame:
    """What was shown for an item, what the user made of it, and its label, which marks the others wrong by ≠."""
    said = []
    if prediction is not None:
        said.append(("Shown", prediction.output))
        if prediction.action == "edit":
            said.append(("Corrected", prediction.corrected))
    fields = _fields_of([value for _, value in said] + [item.label])
    rows = []
    for who, value in said:
        cells = []
        for name in fields:
            wrong = item.label is not None and _field(value, name) != _field(item.label, name)
            cells.append(
                f"≠ {compact_json(_field(value, name))}" if wrong else compact_json(_field(value, name))
            )
        rows.append((who, *cells))
    rows.append(("Label", *(compact_json(_field(item.label, name)) for name in fields)))
    return pd.DataFrame(rows, columns=["", *(name or "Answer" for name in fields)])


def _fields_of(values: Sequence[Any]) -> list[str]:
    """The fields of objects, in the order of their first appearance; one without a name where not all are objects."""
    objects = [value for value in values if isinstance(value, Mapping)]
    if not objects or any(value is not None and not isinstance(value, Mapping) for value in values):
        return [""]
    return list(dict.fromkeys(name for value in objects for name in value))


def _field(value: Any, name: str) -> Any:
    return value.get(name) if name and isinstance(value, Mapping) else value


def offline_table(cards: Sequence[Scorecard]) -> pd.DataFrame:
    """The scorecards of one version: measure, value, interval, n."""
    by_part = {card.part: card for card in cards}
    rows = []
    for part, name in (
        ("all", "Wrong, all"),
        ("before", "Wrong, before the change"),
        ("after", "Wrong, after it"),
    ):
        if part in by_part and by_part[part].n:
            rows.append(_share_row(name, wrong_rate(by_part[part])))
    whole = by_part.get("all") or (cards[0] if cards else None)
    if whole is not None and whole.n:
        rows.append(
            ("Mean edit distance", percent(whole.distance_ppm / PPM / whole.n), NOTHING, number(whole.n))
        )
        rows.append(("Latency p50", duration(whole.latency_us_p50), NOTHING, number(whole.n)))
        rows.append(("Latency p95", duration(whole.latency_us_p95), NOTHING, number(whole.n)))
        rows.append(("Examples per second, batched", number(whole.per_second), NOTHING, number(whole.n)))
    return pd.DataFrame(rows, columns=["Measure", "Value", "95 % interval", "n"])


def wrong_rate(card: Scorecard) -> Number:
    """The share of frozen examples answered wrongly."""
    if not card.n:
        return Number(None, 0)
    return Number(card.n_wrong / card.n, card.n, *rate_interval(card.n, card.n_wrong))


def release_table(releases: Sequence[Release], zone: ZoneInfo) -> pd.DataFrame:
    """Releases, in the given order."""
    return pd.DataFrame(
        {
            "Time": [full_moment(release.time_us, zone) for release in releases],
            "Version": [release.version for release in releases],
            "Action": [release.action for release in releases],
            "By": [release.who for release in releases],
            "Why": [describe_verdict(release.reason) for release in releases],
        }
    )


def voc_table(vocs: Sequence[Voc], now_us: int) -> pd.DataFrame:
    """The inbox; line breaks become spaces, the detail has the whole text."""
    return pd.DataFrame(
        {
            "When": [ago(voc.time_us, now_us) for voc in vocs],
            "Rating": pd.array([voc.rating for voc in vocs], dtype="Int64"),
            "Status": [voc.status for voc in vocs],
            "Said": [in_one_line(voc.text) for voc in vocs],
            "Model": [voc.model or NOTHING for voc in vocs],
        }
    )


def batch_table(batches: Sequence[Batch], zone: ZoneInfo) -> pd.DataFrame:
    """Batches, in the given order."""
    return pd.DataFrame(
        {
            "Batch": [short_id(batch.id) for batch in batches],
            "Model": [batch.model for batch in batches],
            "Status": [batch.status for batch in batches],
            "Labelled": [f"{batch.n_labelled:,} of {batch.quantity:,}" for batch in batches],
            "Cost": [cost(batch.unit_price, batch.quantity, batch.currency) for batch in batches],
            "Guide": [batch.guide_version for batch in batches],
            "Run": [short_id(batch.run_id) if batch.run_id else NOTHING for batch in batches],
            "Created": [full_moment(batch.created_us, zone) for batch in batches],
        }
    )


def part_table(items: Sequence[BatchItem]) -> pd.DataFrame:
    """What a batch is composed of: items, labelled and flagged ones by part."""
    wanted, labelled, flagged = Counter[str](), Counter[str](), Counter[str]()
    for item in items:
        wanted[item.part] += 1
        labelled[item.part] += item.labeled_us is not None
        flagged[item.part] += bool(item.flags)
    return pd.DataFrame(
        [
            (part, number(count), percent(count / len(items)), number(labelled[part]), number(flagged[part]))
            for part, count in wanted.most_common()
        ],
        columns=["Part", "Items", "Share", "Labelled", "Flagged"],
    )


def item_table(items: Sequence[BatchItem]) -> pd.DataFrame:
    """The items of a batch with the reasons why each was chosen."""
    return pd.DataFrame(
        {
            "Prediction": [short_id(item.prediction_id) for item in items],
            "Part": [item.part for item in items],
            "Why": ["; ".join(reason.rstrip(".") for reason in item.reasons) for item in items],
            "Score": [item.score for item in items],
            "Flags": [", ".join(item.flags) for item in items],
        }
    )


def ledger_table(partitions: Sequence[PartitionIntake], now_us: int) -> pd.DataFrame:
    """The ledger by partition; in each row consumed = new + duplicate + dead-lettered."""
    return pd.DataFrame(
        {
            "Topic": [part.topic for part in partitions],
            "Partition": [str(part.partition) for part in partitions],
            "Consumed": [number(part.n) for part in partitions],
            "New": [number(part.n_new) for part in partitions],
            "Duplicate": [number(part.n_duplicate) for part in partitions],
            "Dead-lettered": [number(part.n_dead) for part in partitions],
            "Next offset": [number(part.next_offset) for part in partitions],
            "Last stored": [ago(part.stored_us, now_us) for part in partitions],
        }
    )


def intake_totals(partitions: Sequence[PartitionIntake]) -> dict[str, int]:
    """The ledger over all partitions."""
    return {
        "Events consumed": sum(part.n for part in partitions),
        "New": sum(part.n_new for part in partitions),
        "Duplicate": sum(part.n_duplicate for part in partitions),
        "Dead-lettered": sum(part.n_dead for part in partitions),
    }


def dead_letter_table(letters: Sequence[DeadLetter], zone: ZoneInfo) -> pd.DataFrame:
    """Dead letters, in the given order."""
    return pd.DataFrame(
        {
            "Reason": [letter.reason for letter in letters],
            "Detail": [letter.detail for letter in letters],
            "Topic": [letter.topic for letter in letters],
            "Partition": [letter.partition for letter in letters],
            "Offset": [letter.offset for letter in letters],
            "Position": [letter.position for letter in letters],
            "Stored": [full_moment(letter.stored_us, zone) for letter in letters],
        }
    )


def alert_table(alerts: Sequence[Alert], zone: ZoneInfo) -> pd.DataFrame:
    """Alerts, in the given order."""
    return pd.DataFrame(
        {
            "Opened": [full_moment(alert.opened_us, zone) for alert in alerts],
            "Lasted": [
                span(alert.resolved_us - alert.opened_us) if alert.resolved_us is not None else "open"
                for alert in alerts
            ],
            "Severity": [alert.severity for alert in alerts],
            "Alert": [alert.title for alert in alerts],
            "Model": [alert.model or NOTHING for alert in alerts],
        }
    )


def delivery_table(deliveries: Sequence[Delivery], zone: ZoneInfo, now_us: int) -> pd.DataFrame:
    """Whom an alert was told to, in the given order."""
    return pd.DataFrame(
        {
            "Channel": [each.channel for each in deliveries],
            "Since": [full_moment(each.stored_us, zone) for each in deliveries],
            "Became": [tell_delivery(each, now_us) for each in deliveries],
        }
    )


def channel_table(channels: Mapping[str, Channel]) -> pd.DataFrame:
    """What each channel wants to hear, and when; never where it leads, which is a secret."""
    return pd.DataFrame(
        {
            "Channel": list(channels),
            "Severity": [f"{each.severity} or worse" for each in channels.values()],
            "Kinds": [", ".join(each.kinds) or "all" for each in channels.values()],
            "Models": [", ".join(each.models) or "all" for each in channels.values()],
            "Quiet hours": [
                f"{each.quiet_hours} {each.time_zone}" if each.quiet_hours else NOTHING
                for each in channels.values()
            ],
        }
    )


def _share_row(name: str, share: Number) -> tuple[str, str, str, str]:
    interval = (
        percent_range((share.low, share.high))
        if share.low is not None and share.high is not None
        else NOTHING
    )
    return name, percent(share.value), interval, number(share.n)


def _latency_rows(name: str, latency: Latency) -> list[tuple[str, str, str, str]]:
    rows = []
    for quantile in ("p50", "p95", "p99"):
        found: Number = getattr(latency, quantile)
        interval = f"{duration(found.low)} – {duration(found.high)}" if found.low is not None else NOTHING
        rows.append((f"{name} {quantile}", duration(found.value), interval, number(found.n)))
    return rows


def _with_interval(share: Number, *, with_n: bool = True) -> str:
    if share.value is None or share.low is None or share.high is None:
        return NOTHING
    count = f", n{NBSP}{share.n:,}" if with_n else ""
    return f"{percent(share.value)} ({percent_range((share.low, share.high))}{count})"


def _quantiles(latency: Latency) -> str:
    if latency.p50.value is None:
        return NOTHING
    return " / ".join(duration(found.value) for found in (latency.p50, latency.p95, latency.p99))


def milliseconds(data: bytes, q: float) -> float | None:
    """The quantile of a histogram of microseconds, in ms; None if it is empty."""
    value_us = histogram.quantile_us(data, q)
    return None if value_us is None else value_us / 1000
