"""The screen Intake: what came in, what of it could be used, and what could not."""

import streamlit as st

from dashboard import cached_reads as reads
from dashboard import frame, tables
from dashboard.wording import ago, full_moment, number, visible_bytes, without_markdown
from errata.settings import Settings
from storage.records import DeadLetter

LETTERS_SHOWN = 500


@frame.guarded
def show() -> None:
    """Counters that run, the ledger by partition, and dead letters one by one."""
    settings = reads.read_settings()
    frame.title(
        "Intake", "Every event is counted once: consumed = new + duplicate + dead-lettered, per partition."
    )
    _show_counters()
    _show_dead_letters(settings)


@st.fragment(run_every=5)
@frame.guarded
def _show_counters() -> None:
    partitions = reads.read_ledger_summary()
    if not partitions:
        frame.show_first_event()
        return
    now_us = reads.now_us()
    with st.container(horizontal=True):
        for label, value in tables.intake_totals(partitions).items():
            st.metric(label, number(value), border=True)
        st.metric("Feedback without prediction", number(reads.count_orphans()), border=True)
        st.metric("Last event stored", ago(max(part.stored_us for part in partitions), now_us), border=True)
    frame.show_table(tables.ledger_table(partitions, now_us))


def _show_dead_letters(settings: Settings) -> None:
    st.subheader("Dead letters", anchor=False)
    reasons = reads.count_dead_letters()
    if not reasons:
        frame.show_text("None: everything that came in could be used.")
        return
    names = {"any": f"any ({sum(reasons.values()):,})"} | {
        reason: f"{reason} ({count:,})"
        for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])
    }
    chosen = st.selectbox(
        "Reason",
        list(names),
        key="reason",
        bind="query-params",
        format_func=lambda name: names[name],
    )
    letters = reads.list_dead_letters(None if chosen in (None, "any") else chosen, LETTERS_SHOWN)
    places = [f"{letter.topic}/{letter.partition}/{letter.offset}/{letter.position}" for letter in letters]
    list_side, detail_side = st.columns([5, 4], gap="large")
    with list_side:
        table = tables.dead_letter_table(letters, reads.time_zone(settings))
        place = frame.choose_row(table, places, "dead-letters")
    with detail_side:
        if place is None:
            frame.show_text("Choose a dead letter on the left to see its bytes.")
        else:
            _show_letter(letters[places.index(place)], settings)


def _show_letter(letter: DeadLetter, settings: Settings) -> None:
    st.subheader(without_markdown(letter.reason), anchor=False)
    frame.show_text(letter.detail)
    stored = full_moment(letter.stored_us, reads.time_zone(settings))
    frame.show_caption(
        f"{letter.topic}, partition {letter.partition}, offset {letter.offset}, position {letter.position};"
        f" stored {stored}; {'sent again' if letter.replayed_us else 'not sent again'}"
    )
    st.code(visible_bytes(letter.raw) or "(no bytes)", language=None, wrap_lines=True)
    frame.show_text("When the cause is mended, send them again:")
    st.code(f"errata dead-letters replay --reason {letter.reason}", language=None)
