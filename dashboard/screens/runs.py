"""The screen Runs: every retraining from the signal to the release, with its evidence."""

import streamlit as st

from dashboard import cached_reads as reads
from dashboard import frame, tables
from dashboard.cached_reads import Change
from dashboard.wording import (
    STEPS,
    compact_json,
    describe_evidence,
    describe_verdict,
    full_moment,
    percent,
    short_id,
    shorten,
    span,
    with_local_times,
)
from errata.settings import Settings
from storage.records import Case, Example, Run, RunStep, Signal

CASES_SHOWN = 6


@frame.guarded
def show() -> None:
    """The runs of a model; the chosen one arrow by arrow, its scorecards, its cases, and the releases."""
    settings = reads.read_settings()
    frame.title("Runs", "Every retraining: why it was opened, what it measured, and what was decided.")
    with frame.choosers():
        model = frame.choose_model()
        if model is None:
            return
        runs = reads.list_runs(model)
        run = _choose_run(runs, settings) if runs else None
    if run is not None:
        _show_run(run, settings)
    else:
        st.info("No run was opened yet. A signal opens one by itself; by hand:")
        st.code(f"errata retrain {model}", language=None)
    _show_releases(model, settings)


def _choose_run(runs: list[Run], settings: Settings) -> Run:
    zone = reads.time_zone(settings)
    names = {
        run.id: f"{short_id(run.id)}, {run.status}, opened {full_moment(run.opened_us, zone)}" for run in runs
    }
    chosen = st.selectbox(
        "Run",
        list(names),
        key="run",
        bind="query-params",
        format_func=lambda run_id: names[run_id],
        width=400,
    )
    return next((run for run in runs if run.id == chosen), runs[0])


def _show_run(run: Run, settings: Settings) -> None:
    st.subheader("Verdict", anchor=False)
    if run.verdict_reason:
        verdict = {"promote": "Promote", "keep": "Keep"}.get(run.verdict or "", run.status.capitalize())
        version = f" {run.candidate}" if run.verdict == "promote" and run.candidate else ""
        frame.show_text(f"{verdict}{version}: {describe_verdict(run.verdict_reason)}")
    else:
        frame.show_text(f"None yet; the run is {run.status}.")
    steps = reads.read_steps(run.id)
    _show_timeline(run, reads.get_signal(run.signal_id), steps, settings)
    _show_scorecards(run)
    _show_held(run, steps)
    _show_cases(run)


def _show_timeline(run: Run, signal: Signal | None, steps: list[RunStep], settings: Settings) -> None:
    st.subheader("From signal to release", anchor=False)
    taken, zone = {step.step: step for step in steps}, reads.time_zone(settings)
    previous_us = None
    if signal is not None and signal.rule == "schedule":
        _show_arrow("Scheduled", signal.time_us, None, signal.reason, settings)
        previous_us = signal.time_us
    elif signal is not None:
        rate = percent(signal.n_corrections / max(signal.n_events, 1))
        sliced = "" if signal.slice == "all" else f" with {signal.slice}"
        since = f" since {full_moment(signal.change_us, zone)[11:]}" if signal.change_us is not None else ""
        reason = (
            f"correction rate {rate} of {signal.n_events:,} predictions{sliced}{since},"
            f" {percent(signal.ceiling)} was allowed"
        )
        _show_arrow("Signal", signal.time_us, None, reason, settings)
        previous_us = signal.time_us
    for name, meaning in STEPS.items():
        step = taken.get(name)
        if step is None:
            _show_arrow(meaning, None, None, "", settings)
            continue
        said = describe_evidence(step)
        if name == "opened":
            said = "by the signal" if signal is not None else with_local_times(run.reason, zone, step.time_us)
        _show_arrow(meaning, step.time_us, previous_us, said, settings)
        previous_us = step.time_us
    with st.expander("All evidence"):
        st.json({STEPS[step.step]: step.evidence for step in steps}, expanded=True)


def _show_arrow(
    name: str, time_us: int | None, previous_us: int | None, said: str, settings: Settings
) -> None:
    name_side, time_side, text_side = st.columns([3, 5, 10], gap="small")
    if time_us is None:
        name_side.caption(name)
        time_side.caption("not yet")
        return
    after = f", {span(time_us - previous_us)} later" if previous_us is not None else ""
    name_side.text(name)
    time_side.text(f"{full_moment(time_us, reads.time_zone(settings))}{after}")
    text_side.text(said)


def _show_scorecards(run: Run) -> None:
    cards = reads.read_scorecards(run_id=run.id)
    st.subheader("Scorecards on the same frozen examples", anchor=False)
    if not cards:
        frame.show_text("Not measured yet.")
        return
    frame.show_table(tables.scorecard_table(cards, run.champion, run.candidate))


def _show_held(run: Run, steps: list[RunStep]) -> None:
    held = next((step.evidence.get("requirements") for step in steps if step.step == "scored"), None)
    if held:
        st.subheader("Requirements, as far as frozen examples tell", anchor=False)
        frame.show_table(tables.held_table(held, run.champion, run.candidate))


def _show_cases(run: Run) -> None:
    counts = reads.count_cases(run.id)
    st.subheader("Case by case", anchor=False)
    if not counts:
        frame.show_text("Not compared yet.")
        return
    frame.show_text(
        f"The candidate fixes {counts['fixed']:,} and breaks {counts['broken']:,}; "
        f"{counts['still_wrong']:,} stay wrong, {counts['still_right']:,} stay right."
    )
    fixed_side, broken_side = st.columns(2, gap="large")
    with fixed_side:
        _show_case_list(run, "fixed", counts["fixed"])
    with broken_side:
        _show_case_list(run, "broken", counts["broken"])


def _show_case_list(run: Run, change: Change, count: int) -> None:
    st.subheader(f"{change.capitalize()}: {count:,}", anchor=False)
    for case, example in reads.read_cases(run.id, change, run.model, CASES_SHOWN):
        show_case(case, example)
    if count > CASES_SHOWN:
        frame.show_caption(f"The {CASES_SHOWN} that changed most of {count:,}.")


def show_case(case: Case, example: Example | None) -> None:
    """One frozen example: the input, the trusted label, and both answers."""
    with st.container(border=True):
        if example is not None and not frame.show_picture(example.input):
            frame.show_text(shorten(compact_json(example.input), 400))
        frame.show_table(tables.case_table(case, example))


def _show_releases(model: str, settings: Settings) -> None:
    st.subheader("Releases", anchor=False)
    releases = reads.list_releases(model)
    if not releases:
        frame.show_text("No version is released yet.")
        return
    frame.show_table(tables.release_table(releases, reads.time_zone(settings)))
