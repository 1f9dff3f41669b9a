"""How things are said: numbers with their unit, times in the reader's zone, the loop in a sentence."""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from errata.events import encode_json
from storage.records import Batch, Delivery, Run, RunStep, Signal, Step

#: Between a number and its unit: a space at which no line breaks.
NBSP = "\u00a0"
#: Nothing to the eye, and the end of a word to Markdown.
WORD_JOINER = "\u2060"
#: What stands where nothing was measured.
NOTHING = "–"

#: The arrows of the loop in their order, and what each one means.
STEPS: dict[Step, str] = {
    "opened": "Run opened",
    "ordered": "Labels ordered",
    "labelled": "Labels accepted",
    "requested": "Training requested",
    "frozen": "Dataset frozen",
    "trained": "Candidate trained",
    "scored": "Scorecards measured",
    "judged": "Verdict",
    "released": "Released",
}


_UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")
#: Where GitHub's Markdown sees a web or mail address, escaped or not.
_LINK = re.compile(r":/|www\.|@.", re.IGNORECASE)
_VERDICT = re.compile(r"^(?:Promote|Keep) \S+: ")


def local_time(time_us: int, zone: ZoneInfo) -> datetime:
    """The moment as the reader's wall clock shows it, exact to the microsecond."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return (epoch + timedelta(microseconds=time_us)).astimezone(zone)


def moment(time_us: int, zone: ZoneInfo, now_us: int) -> str:
    """`14:02` today, `23 Nov 14:02` this year, `23 Nov 2025 14:02` otherwise."""
    then, now = local_time(time_us, zone), local_time(now_us, zone)
    if then.date() == now.date():
        return f"{then:%H:%M}"
    if then.year == now.year:
        return f"{then.day} {then:%b %H:%M}"
    return f"{then.day} {then:%b %Y %H:%M}"


def full_moment(time_us: int, zone: ZoneInfo) -> str:
    """`2026-11-23 14:02:07`: for tables and files, where it sorts."""
    return f"{local_time(time_us, zone):%Y-%m-%d %H:%M:%S}"


def ago(time_us: int, now_us: int) -> str:
    """`12 s ago`, `3 min ago`, `5 h ago`, `2 days ago`; `now` below a second and for clocks that differ."""
    elapsed = now_us - time_us
    return "now" if elapsed < 1_000_000 else f"{span(elapsed)} ago"


def span(length_us: int) -> str:
    """A length of time in its one natural unit: `12 s`, `3 min`, `5 h`, `2 days`."""
    seconds = length_us // 1_000_000
    if seconds < 60:
        return f"{seconds}{NBSP}s"
    if seconds < 3600:
        return f"{seconds // 60}{NBSP}min"
    if seconds < 2 * 86_400:
        return f"{seconds // 3600}{NBSP}h"
    return f"{seconds // 86_400}{NBSP}days"


def tell_delivery(delivery: Delivery, now_us: int) -> str:
    """What became of news on its way to a channel."""
    if delivery.sent_us is not None:
        return f"told {ago(delivery.sent_us, now_us)}"
    if not delivery.attempts:
        return "waits"
    times = "once" if delivery.attempts == 1 else f"{delivery.attempts} times"
    return f"not taken, tried {times}: {delivery.error or 'no answer'}"


def duration(length_us: float | None) -> str:
    """A latency with three figures: `840 µs`, `84.2 ms`, `1.24 s`."""
    if length_us is None:
        return NOTHING
    for unit_us, unit in ((1_000_000, "s"), (1000, "ms")):
        if length_us >= unit_us:
            return f"{_three_figures(length_us / unit_us)}{NBSP}{unit}"
    return f"{length_us:.0f}{NBSP}µs"


def percent(share: float | None) -> str:
    """`38 %`, `5.6 %`, `0.12 %`, `<0.01 %`: two figures, but no more than two decimals."""
    if share is None:
        return NOTHING
    value = 100 * share
    if 0 < value < 0.005:
        return f"<0.01{NBSP}%"
    decimals = 0 if value >= 10 or value == 0 else 1 if value >= 1 else 2
    return f"{value:.{decimals}f}{NBSP}%"


def percent_range(interval: tuple[float, float]) -> str:
    """`4.9–6.4 %`."""
    low, high = (percent(end).removesuffix(f"{NBSP}%") for end in interval)
    return f"{low}–{high}{NBSP}%"


def number(value: float | None) -> str:
    """A count with thousands separators, or a rate with three figures."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return _three_figures(value)


def cost(unit_price: str, quantity: int, currency: str) -> str:
    """`0.05 USD × 300 = 15.00 USD`, exact in decimals."""
    total = Decimal(unit_price) * quantity
    return f"{unit_price} {currency} × {quantity:,} = {total:,.2f} {currency}"


def shorten(text: str, length: int) -> str:
    """The beginning of a text, with … where something is left out."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def short_id(identifier: str) -> str:
    """The last four digits of a UUID, by which people speak of it; its first digits are the time."""
    return identifier[-4:]


def compact_json(value: Any) -> str:
    """A value as a person reads it in a table: a string without quotes, else JSON; Korean text as it is."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else encode_json(value).decode("utf-8")


def in_one_line(text: str) -> str:
    """`text` with its line breaks and runs of spaces as one space each."""
    return re.sub(r"[ \t\r\n\f\v]+", " ", text).strip(" ")


def without_markdown(text: str) -> str:
    """`text` such that Markdown shows it as it is: no link, no picture, no HTML, no formula becomes alive."""
    kept_apart = _LINK.sub(lambda found: found[0][:-1] + WORD_JOINER + found[0][-1], in_one_line(text))
    return "".join(f"\\{sign}" if sign in string.punctuation else sign for sign in kept_apart)


def visible_bytes(raw: bytes) -> str:
    r"""Bytes for the eye: UTF-8 as text, anything that is not text or is invisible as `\x00`."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(
        sign if sign == "\n" or sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


def with_local_times(text: str, zone: ZoneInfo, now_us: int) -> str:
    """`text` with each time that a process wrote in UTC (`2026-11-23T05:02:07Z`) as the reader's clock shows it."""

    def as_local(found: re.Match[str]) -> str:
        return moment(int(datetime.fromisoformat(found[0]).timestamp() * 1_000_000), zone, now_us)

    return _UTC_TIME.sub(as_local, text)


def describe_verdict(reason: str) -> str:
    """The reason of a verdict without the verdict before it: `Promote 2: on 178 …` becomes `On 178 …`."""
    said = _VERDICT.sub("", reason)
    return said[:1].upper() + said[1:]


def describe_evidence(step: RunStep) -> str:
    """The evidence of one arrow in a line; ids, hashes and nested values are left to the full view."""
    known = {name: value for name, value in step.evidence.items() if value is not None}
    sentence = _SENTENCES.get(step.step)
    if sentence is not None and sentence[0] <= known.keys():
        return sentence[1](known)
    said = []
    for name, value in known.items():
        if name.endswith(("_us", "id", "sha256", "hash")):
            continue
        if isinstance(value, (dict, list)):
            said.append(f"{name.replace('_', ' ')}: {len(value)}")
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else compact_json(value)
            said.append(f"{name.replace('_', ' ')}: {shown if ' ' in shown else shorten(shown, 25)}")
    return ", ".join(said)


def describe_loop(
    champion: str | None,
    signals: Sequence[Signal],
    runs: Sequence[Run],
    batch: Batch | None,
    zone: ZoneInfo,
    now_us: int,
) -> list[str]:
    """What the loop is doing now in a sentence, and what explains it in further ones.

    `signals` are the model's, latest first, with that which opened the latest run; `runs` its runs, latest
    first; `batch` is what the latest run waits for.
    """
    run = runs[0] if runs else None
    if run is not None and run.decided_us is None and run.status in ("waiting", "requested", "training"):
        return [f"{_describe_cause(run, signals, zone, now_us)} {_describe_wait(run, batch)}"]
    decided_us = run.decided_us or run.opened_us if run is not None else 0
    unanswered = [
        signal for signal in signals if signal.time_us > decided_us and signal.decision == "suppressed"
    ]
    said = _describe_end(run, zone, now_us) if run is not None else []
    if unanswered:
        said.append(_describe_unanswered(unanswered, run is not None, zone, now_us))
    # A warning that knows no level is never taken back: it is a mark in the charts, not how things are.
    latest = next((signal for signal in signals if signal.rule != "past"), None)
    if not unanswered and latest is not None and latest.decision == "warned" and latest.time_us > decided_us:
        said.append(
            f"{_describe_signal(latest, zone, now_us)}. It is a warning; more evidence makes an alarm."
        )
    if said:
        return said
    if champion is None:
        return ["No version is released yet; the loop starts with the first release."]
    return [f"No signal so far: version {champion} is watched, and corrections stay within what is allowed."]


def _describe_cause(run: Run, signals: Sequence[Signal], zone: ZoneInfo, now_us: int) -> str:
    cause = next((signal for signal in signals if signal.id == run.signal_id), None)
    if cause is not None:
        return f"{_describe_signal(cause, zone, now_us)};"
    reason = with_local_times(run.reason.rstrip("."), zone, now_us)
    return f"Asked for at {moment(run.opened_us, zone, now_us)}: {reason};"


def _describe_unanswered(signals: Sequence[Signal], after_run: bool, zone: ZoneInfo, now_us: int) -> str:
    latest = _describe_signal(signals[0], zone, now_us)
    if after_run:
        count = "a" if len(signals) == 1 else f"{len(signals):,} signals; the latest:"
        latest = f"Since then {count} {latest[0].lower()}{latest[1:]}"
    why = re.split(r"(?<=\.) ", signals[0].reason)[-1]
    return f"{latest}. No run was opened: {with_local_times(why, zone, now_us)}"


def _describe_signal(signal: Signal, zone: ZoneInfo, now_us: int) -> str:
    if signal.rule == "schedule":
        reason = with_local_times(signal.reason.rstrip("."), zone, now_us)
        return f"Scheduled at {moment(signal.time_us, zone, now_us)}: {reason}"
    rate = signal.n_corrections / signal.n_events if signal.n_events else None
    sliced = "" if signal.slice == "all" else f" for {signal.slice}"
    return (
        f"Signal at {moment(signal.time_us, zone, now_us)}: correction rate{sliced} {percent(rate)}"
        f" where {percent(signal.ceiling)} was allowed"
    )


def _describe_wait(run: Run, batch: Batch | None) -> str:
    name = f"run {short_id(run.id)}"
    if run.status == "training":
        return f"{name} trains a candidate against version {run.champion}."
    if run.status == "requested":
        return f"{name} has its labels and waits for a trainer."
    if batch is None:
        return f"{name} lets corrections arrive before it orders labels."
    if batch.status == "delivered":
        return f"{name} has {batch.n_labelled:,} labels delivered, which wait for acceptance."
    if batch.status == "rejected":
        return f"{name} had its labels rejected: {batch.reason}"
    return f"{name} waits for {batch.quantity:,} labels, {batch.n_labelled:,} are done."


def _describe_end(run: Run, zone: ZoneInfo, now_us: int) -> list[str]:
    when = moment(run.decided_us or run.opened_us, zone, now_us)
    name = f"Run {short_id(run.id)}"
    if run.status == "promoted":
        result = f"{name} ended at {when}: version {run.candidate} was promoted"
    elif run.status == "failed":
        result = f"{name} failed at {when}"
    else:
        result = f"{name} ended at {when}: version {run.champion} was kept"
    return [f"{result}.", describe_verdict(run.verdict_reason)] if run.verdict_reason else [f"{result}."]


def _three_figures(value: float) -> str:
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def _say_cost(evidence: Mapping[str, Any]) -> str:
    price, currency = evidence.get("cost"), evidence.get("currency")
    return "" if price is None else f" for {price}" + (f" {currency}" if currency else "")


def _say_opened(evidence: Mapping[str, Any]) -> str:
    n, k = evidence["n_events"], evidence["n_corrections"]
    ceiling = evidence.get("ceiling")
    allowed = f", where {percent(ceiling)} was allowed" if ceiling is not None else ""
    return f"{k:,} of {n:,} predictions were corrected{allowed}"


def _say_ordered(evidence: Mapping[str, Any]) -> str:
    parts = evidence.get("parts")
    composed = (
        ": " + ", ".join(f"{count:,} {part}" for part, count in sorted(parts.items(), key=lambda kv: -kv[1]))
        if isinstance(parts, Mapping)
        else ""
    )
    return f"{evidence['quantity']:,} predictions{_say_cost(evidence)}{composed}"


def _say_frozen(evidence: Mapping[str, Any]) -> str:
    return f"{evidence['training']:,} examples to learn from, {evidence['evaluation']:,} to be judged by"


def _say_trained(evidence: Mapping[str, Any]) -> str:
    return f"{evidence['steps']:,} steps in {evidence['seconds']:.0f}{NBSP}s on {evidence['device']}"


def _say_scored(evidence: Mapping[str, Any]) -> str:
    champion, candidate = evidence["champion_wrong"], evidence["candidate_wrong"]
    return f"of {evidence['n']:,} frozen examples the champion is wrong on {champion:,}, the candidate on {candidate:,}"


#: How the evidence of an arrow is said, where it has what the sentence needs.
_SENTENCES: Mapping[Step, tuple[set[str], Callable[[Mapping[str, Any]], str]]] = {
    "opened": ({"n_events", "n_corrections"}, _say_opened),
    "ordered": ({"quantity"}, _say_ordered),
    "labelled": (
        {"training", "evaluation"},
        lambda known: (
            f"{known['training']:,} to learn from, {known['evaluation']:,} to be judged by,{_say_cost(known)}"
        ),
    ),
    "requested": ({"run_id"}, lambda _known: "told to the trainers"),
    "frozen": ({"training", "evaluation"}, _say_frozen),
    "trained": ({"steps", "seconds", "device"}, _say_trained),
    "scored": ({"n", "champion_wrong", "candidate_wrong"}, _say_scored),
    "judged": ({"verdict"}, lambda known: f"{known['verdict']}, for the reason above"),
    "released": (
        {"version", "instead_of", "who"},
        lambda known: f"version {known['version']} instead of {known['instead_of']}, by {known['who']}",
    ),
}
