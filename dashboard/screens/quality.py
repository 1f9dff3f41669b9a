"""The first screen, Quality: offline and online, in numbers and in words, per model and version."""

import streamlit as st

from dashboard import cached_reads as reads
from dashboard import charts, frame, tables
from dashboard.cached_reads import Change, Inbox, VersionSum
from dashboard.screens import runs
from dashboard.screens import voc as voc_screen
from dashboard.wording import (
    NOTHING,
    ago,
    describe_loop,
    duration,
    moment,
    number,
    percent,
    short_id,
    shorten,
    with_local_times,
    without_markdown,
)
from errata.settings import Detector, Model, Settings
from quality.data_standing import NO_RUN, call, stand_all
from quality.requirements import list_requirements
from quality.standing import stand
from quality.windows import ALL, DAY_US, HOUR_US, MINUTE_US
from storage.records import Run, Scorecard
from storage.slices import OTHER

CASES_SHOWN = 1
SLICES_SHOWN = 8
#: What the chooser of two tags shows until somebody chooses.
NO_TAG = "none"
QUOTES_SHOWN = 5
#: Of so many of the latest comments, those that say the same are counted together.
QUOTES_READ = 200


@frame.guarded
def show() -> None:
    """What the loop does now; the four numbers to know; the 2x2 of the chosen version; versions side by side."""
    settings = reads.read_settings()
    frame.title("Quality", "Is it good enough, before release and in the service, in numbers and in words?")
    with frame.choosers():
        model = frame.choose_model()
        if model is None:
            return
        span_us = frame.choose_span()
        versions = reads.list_versions(model)
        champion = next((release.version for release in reads.list_releases(model)[:1]), None)
        version = _choose_version(versions, champion) if versions else None
    _show_loop(model)
    if version is None:
        frame.show_first_event()
        return
    _show_headlines(model, version, span_us, settings)
    _show_sheet(model, settings)
    since_us, until_us = frame.since_until(span_us)
    sums = reads.sum_versions(model, since_us, until_us)
    _show_square(model, version, sums.get(version), since_us, settings)
    _show_audited(model, version, since_us, settings)
    _show_slices(model, version, since_us, until_us, settings)
    _show_data_drift(model, version, settings)
    st.subheader("Versions side by side", anchor=False)
    shown = [name for name in versions if name in sums][: tables.VERSIONS_SHOWN]
    frame.show_table(
        tables.version_table(
            {
                name: (tables.numbers_of(*sums[name]), tables.correction_rate(sums[name].window))
                for name in shown
            },
            champion,
        )
    )
    if not list_requirements(settings.models.get(model, Model()).requirements):
        frame.show_caption(
            f"Nothing is required of this model yet: [models.{model}.requirements] in errata.toml says what is."
        )


@st.fragment(run_every=10)
@frame.guarded
def _show_loop(model: str) -> None:
    settings = reads.read_settings()
    champion = next((release.version for release in reads.list_releases(model)[:1]), None)
    model_runs = reads.list_runs(model, limit=5)
    signals = reads.read_signals(model)
    batch = None
    if model_runs:
        cause = reads.get_signal(model_runs[0].signal_id)
        signals = signals if cause is None or cause in signals else [*signals, cause]
        batch = next((batch for batch in reads.list_batches(model) if batch.run_id == model_runs[0].id), None)
    now, *details = describe_loop(
        champion, signals, model_runs, batch, reads.time_zone(settings), reads.now_us()
    )
    with st.container(border=True):
        frame.show_text(now)
        for detail in details:
            frame.show_caption(detail)


def _choose_version(versions: list[str], champion: str | None) -> str:
    chosen = st.segmented_control(
        "Version",
        versions,
        default=versions[0],
        key="version",
        bind="query-params",
        required=True,
        width="content",
        format_func=lambda name: without_markdown(f"{name} (champion)" if name == champion else name),
    )
    return chosen or versions[0]


@st.fragment(run_every=15)
@frame.guarded
def _show_headlines(model: str, version: str, span_us: int, settings: Settings) -> None:
    """One number of each kind with what it is compared with: offline, online, as fast as shown, in words."""
    since_us, until_us = frame.since_until(span_us)
    sums = reads.sum_versions(model, since_us, until_us)
    found = sums.get(version)
    cards, run = _latest_cards(model, version)
    with st.container(horizontal=True):
        _show_headline("Wrong offline", *_offline_headline(cards, run, version))
        _show_headline("Corrected online", *_online_headline(sums, version))
        _show_headline("Shown, p95", *_latency_headline(found))
        _show_headline("VOC rating", *_voice_headline(model, since_us))
    if sums:
        _show_course(model, min(found.first_us for found in sums.values()), until_us, settings)


def _show_course(model: str, first_us: int, until_us: int, settings: Settings) -> None:
    """The correction rate of all versions since the first prediction, with the moments that explain it."""
    zone, now_us = reads.time_zone(settings), reads.now_us()
    width_us = charts.bucket_width_us(until_us - first_us)
    windows = reads.read_windows(model, "all", first_us - first_us % width_us, until_us, width_us)
    signals = reads.read_signals(model)
    since_us = charts.drawn_since_us(windows, first_us - width_us, until_us, width_us)
    marks = charts.marks_of(reads.list_releases(model), signals, since_us, until_us, zone)
    allowed = next((signal.ceiling for signal in signals if signal.slice == "all" and signal.ceiling), None)
    table = charts.over_time(windows, width_us, zone, now_us)
    axis = charts.axis_of(since_us, until_us, zone)
    st.altair_chart(charts.rate_chart(table, marks, axis, allowed, height=charts.LOW))


def _show_headline(label: str, value: str, said: str) -> None:
    with st.container(border=True, height="stretch"):
        st.metric(label, value)
        frame.show_caption(said)


def _offline_headline(cards: list[Scorecard], run: Run | None, version: str) -> tuple[str, str]:
    whole = next((card for card in cards if card.part == "all"), None)
    if whole is None or run is None:
        return NOTHING, "not measured yet"
    other = run.champion if version == run.candidate else run.candidate
    against = next(
        (
            f"; version {card.version}: {percent(tables.wrong_rate(card).value)}"
            for card in reads.read_scorecards(run_id=run.id)
            if card.version == other and card.part == "all" and card.n
        ),
        "",
    )
    wrong = tables.wrong_rate(whole)
    return percent(wrong.value), f"{tables.interval_and_n(wrong)}{against}"


def _online_headline(sums: dict[str, VersionSum], version: str) -> tuple[str, str]:
    if version not in sums:
        return NOTHING, "no predictions in this time"
    rate = tables.correction_rate(sums[version].window)
    others = [other for other in sums if other != version]
    against = ""
    if others:
        latest = max(others, key=lambda other: sums[other].last_us)
        against = f"; version {latest}: {percent(tables.correction_rate(sums[latest].window).value)}"
    return percent(rate.value), f"{tables.interval_and_n(rate)}{against}"


def _latency_headline(found: VersionSum | None) -> tuple[str, str]:
    if found is None:
        return NOTHING, "no predictions in this time"
    numbers = tables.numbers_of(*found)
    shown, served = numbers.shown_us.p95, numbers.served_us.p95
    return duration(
        shown.value
    ), f"n {number(shown.n)}; served: {duration(served.value)}, n {number(served.n)}"


def _voice_headline(model: str, since_us: int) -> tuple[str, str]:
    summary = reads.summarise_voc(model, since_us)
    if not summary.n:
        return NOTHING, "no comment in this time"
    rating = f"{summary.mean_rating:.1f} of 10" if summary.mean_rating is not None else "not rated"
    return rating, f"{number(summary.n)} comments, {number(summary.n_new)} not looked at"


def _show_square(
    model: str, version: str, found: VersionSum | None, since_us: int, settings: Settings
) -> None:
    cards, run = _latest_cards(model, version)
    offline_numbers, online_numbers = st.columns(2, border=True)
    offline_words, online_words = st.columns(2, border=True)
    with offline_numbers:
        _show_offline_numbers(cards, run, settings)
    with online_numbers:
        _show_online_numbers(model, found, settings)
    with offline_words:
        _show_offline_words(run, version)
    with online_words:
        _show_online_words(model, since_us)


@frame.guarded
def _show_slices(model: str, version: str, since_us: int, until_us: int, settings: Settings) -> None:
    """Which slices are surely worse than the whole, and how near each detector is to an alarm."""
    counts = {
        window.slice: (window.n, window.n_edit + window.n_reject)
        for window in reads.sum_windows(model, since_us, until_us)
        if window.version == version
    }
    detector = settings.models[model].detector if model in settings.models else Detector()
    standings = stand(counts, reads.read_horizons(model, version), detector)
    if not standings:
        return
    st.subheader("Slices", anchor=False)
    worse = [f"{each.slice} ({percent(each.k / each.n)})" for each in standings if each.is_worse]
    if worse:
        frame.show_text(f"Surely corrected more often than the whole: {', '.join(worse[:SLICES_SHOWN])}.")
    else:
        frame.show_text("No slice is surely corrected more often than the whole.")
    zone, now_us = reads.time_zone(settings), reads.now_us()
    frame.show_table(tables.standing_table(standings[:SLICES_SHOWN], zone, now_us))
    if len(standings) > SLICES_SHOWN:
        frame.show_caption(
            f"The {SLICES_SHOWN} of {len(standings):,} to look at first; errata report --slices has all."
        )
    tags = sorted({name.partition("=")[0] for name in counts if "=" in name} - {OTHER})
    if len(tags) > 1:
        _show_joint(model, version, tags, since_us, until_us, detector)


def _show_joint(
    model: str, version: str, tags: list[str], since_us: int, until_us: int, detector: Detector
) -> None:
    """Two tags together, as the reader chooses them: what is wrong may be wrong only where they meet."""
    with frame.choosers():
        first = st.selectbox("Two tags together", [NO_TAG, *tags], key="tag", bind="query-params", width=220)
        if first == NO_TAG:
            return
        others = [tag for tag in tags if tag != first]
        second = st.selectbox("and", others, key="other_tag", bind="query-params", width=220)
    joint = reads.read_joint_counts(model, version, (first, second or others[0]), since_us, until_us)
    standings = stand(joint.counts, {}, detector)
    if len(standings) < 2:
        frame.show_text(f"No prediction has {first} and {second} together.")
        return
    worse = [each.slice for each in standings if each.is_worse]
    frame.show_text(
        f"Surely corrected more often than the whole: {', '.join(worse[:SLICES_SHOWN])}."
        if worse
        else "No pair is surely corrected more often than the whole."
    )
    frame.show_table(tables.joint_table(standings[:SLICES_SHOWN]))
    left_out = []
    if len(standings) > SLICES_SHOWN:
        left_out.append(f"the {SLICES_SHOWN} of {len(standings):,} rows to look at first are shown")
    if joint.n_outside:
        left_out.append(f"{joint.n_outside:,} predictions lack one of the two tags")
    if joint.since_us is not None:
        left_out.append(f"only the latest {joint.counts[ALL][0]:,} predictions were read")
    if left_out:
        said = "; ".join(left_out)
        frame.show_caption(f"{said[0].upper()}{said[1:]}.")


@frame.guarded
def _show_data_drift(model: str, version: str, settings: Settings) -> None:
    """Whether what the version is given and answers is still like its first predictions."""
    st.subheader("What it is given and answers", anchor=False)
    watched = stand_all(
        reads.read_data_drift_states(model, version), settings.models.get(model, Model()).data_drift
    )
    moved = [call(each.watched) for each in watched if each.stage == "moved"]
    if moved:
        frame.show_text(f"No longer like this version's first predictions: {', '.join(moved)}. {NO_RUN}")
    elif any(each.stage == "calm" for each in watched):
        frame.show_text("Still like this version's first predictions, as far as it can be told.")
    elif any(each.n for each in watched):
        frame.show_text("What is usual is still being learnt, from this version's first predictions.")
    else:
        frame.show_text("No prediction of this version was looked at yet, or nothing is to be watched.")
        return
    frame.show_table(tables.watched_table(watched, reads.time_zone(settings), reads.now_us()))


def _show_sheet(model: str, settings: Settings) -> None:
    """What is asked of the model, and whether the champion has shown it in the last hour and day."""
    sheets = reads.read_sheets(model, (HOUR_US, DAY_US))
    if not sheets:
        return
    hour, day = sheets
    st.subheader("Requirements", anchor=False)
    wanted = settings.models[model].requirements
    served = [wanted.serving_mode or "", f"on {wanted.device}" if wanted.device else ""]
    how = f", served {' '.join(filter(None, served))}" if any(served) else ""
    ages_us = [checked.number.age_us for checked in day.checked if checked.number.age_us is not None]
    newest = f"; the newest prediction {ago(0, ages_us[0])}" if ages_us else ""
    frame.show_caption(
        f"Version {day.version}{how}; yes and no are said when a whole 95 % interval says so{newest}"
    )
    frame.show_table(tables.sheet_table(hour.checked, day.checked))
    since_us, until_us = frame.since_until(DAY_US)
    windows = [
        window
        for window in reads.read_windows(model, "all", since_us, until_us, MINUTE_US)
        if window.version == day.version
    ]
    if not windows:
        return
    zone = reads.time_zone(settings)
    since_us = charts.drawn_since_us(windows, since_us, until_us, MINUTE_US)
    width_us = charts.bucket_width_us(until_us - since_us)
    strips = charts.met_over_time(windows, [checked.requirement for checked in day.checked], width_us, zone)
    if not strips.empty:
        st.altair_chart(charts.met_chart(strips, charts.axis_of(since_us, until_us, zone)))


@frame.guarded
def _show_audited(model: str, version: str, since_us: int, settings: Settings) -> None:
    """What audits found behind what users said, and what taking their word gets wrong."""
    st.subheader("The truth behind the volunteers", anchor=False)
    found = reads.read_audited_error(model, version, since_us)
    frame.show_text(found.sentence)
    zone, now_us = reads.time_zone(settings), reads.now_us()
    frame.show_text(with_local_times(reads.read_audit_drift(model, version).said, zone, now_us))
    table = tables.audit_table(found)
    if not table.empty:
        frame.show_table(table)
    if found.audited is None or found.since_us is None or found.until_us is None or found.batch_id is None:
        return
    flagged = (
        f"; {found.n_flagged:,} could not be labelled and are taken for not drawn" if found.n_flagged else ""
    )
    frame.show_caption(
        f"Of the predictions that batch {short_id(found.batch_id)} was drawn from, "
        f"{moment(found.since_us, zone, now_us)} to {moment(found.until_us, zone, now_us)}; "
        f"by confidence: of the chosen time{flagged}"
    )


def _latest_cards(model: str, version: str) -> tuple[list[Scorecard], Run | None]:
    """The scorecards of a version from the latest run that measured it."""
    cards = reads.read_scorecards(model=model, version=version)
    if not cards:
        return [], None
    run = next((run for run in reads.list_runs(model) if run.id == cards[-1].run_id), None)
    return [card for card in cards if card.run_id == cards[-1].run_id], run


def _show_offline_numbers(cards: list[Scorecard], run: Run | None, settings: Settings) -> None:
    st.subheader("Offline, in numbers", anchor=False)
    if not cards or run is None:
        frame.show_text("This version was not measured on frozen examples yet; a run does that.")
        return
    zone, now_us = reads.time_zone(settings), reads.now_us()
    when = moment(run.decided_us or run.opened_us, zone, now_us)
    frame.show_caption(f"Frozen examples of run {short_id(run.id)}, {when}")
    frame.show_table(tables.offline_table(cards))


def _show_online_numbers(model: str, found: VersionSum | None, settings: Settings) -> None:
    st.subheader("Online, in numbers", anchor=False)
    if found is None:
        frame.show_text("No predictions of this version in the chosen time.")
        return
    zone, now_us = reads.time_zone(settings), reads.now_us()
    data_to = f"{moment(found.last_us, zone, now_us)} ({ago(found.last_us, now_us)})"
    frame.show_caption(f"Data to {data_to}; the latest can still be corrected")
    frame.show_table(tables.online_table(tables.numbers_of(*found), tables.correction_rate(found.window)))
    frame.show_caption(
        f"Attribution window (after it an outcome is final): {reads.describe_window(model).said}"
    )


def _show_offline_words(run: Run | None, version: str) -> None:
    st.subheader("Offline, in words", anchor=False)
    counts = reads.count_cases(run.id) if run is not None else {}
    if run is None or not counts:
        frame.show_text("No case by case comparison of this version yet.")
        return
    against = f"version {run.champion}" if version == run.candidate else f"candidate {run.candidate}"
    frame.show_text(
        f"Against {against}: the candidate fixes {counts['fixed']:,} and breaks {counts['broken']:,}."
    )
    st.page_link(
        st.Page(runs.show, title="Runs", url_path="runs"),
        label=f"All cases of run {short_id(run.id)}",
        query_params={"model": run.model, "run": run.id},
    )
    changes: tuple[Change, ...] = ("fixed", "broken")
    for change in changes:
        for case, example in reads.read_cases(run.id, change, run.model, CASES_SHOWN):
            frame.show_caption(change.capitalize())
            runs.show_case(case, example)


def _show_online_words(model: str, since_us: int) -> None:
    st.subheader("Online, in words", anchor=False)
    summary = reads.summarise_voc(model, since_us)
    if not summary.n:
        frame.show_text("No customer said anything about this model in the chosen time.")
        return
    rated = (
        f"mean rating {summary.mean_rating:.1f} of 10 (n {summary.n_rated:,})"
        if summary.mean_rating is not None
        else "none rated"
    )
    frame.show_text(f"{number(summary.n)} comments, {number(summary.n_new)} not looked at; {rated}.")
    now_us = reads.now_us()
    for voc, count in tables.group_quotes(reads.read_voc(Inbox(model=model), QUOTES_READ, since_us=since_us))[
        :QUOTES_SHOWN
    ]:
        with st.container(border=True):
            frame.show_text(shorten(voc.text, 200))
            said = [
                f"{count:,} times, the latest {ago(voc.time_us, now_us)}"
                if count > 1
                else ago(voc.time_us, now_us),
                f"rated {voc.rating}" if voc.rating is not None else "",
                voc.channel,
            ]
            frame.show_caption(" · ".join(part for part in said if part))
    st.page_link(
        st.Page(voc_screen.show, title="VOC", url_path="voc"),
        label="All comments on this model",
        query_params={"voc_model": model},
    )
