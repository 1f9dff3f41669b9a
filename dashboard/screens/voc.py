"""The screen VOC: an inbox of what customers said, each comment with the prediction it is about."""

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard import cached_reads as reads
from dashboard import frame, tables
from dashboard.cached_reads import Inbox
from dashboard.export import voc_csv
from dashboard.wording import ago, full_moment, percent, without_markdown
from errata.settings import Settings
from storage.records import Prediction, Voc

_FIRST_VOC = 'client.voc(text="숫자 8이 자꾸 3으로 읽혀요", rating=2, prediction_id=prediction_id)'
PAGE_SIZE = 50
EXPORT_AT_MOST = 10_000
_COLUMNS: dict[str, Any] = {
    "When": st.column_config.TextColumn(width=78),
    "Rating": st.column_config.NumberColumn(width=55),
    "Status": st.column_config.TextColumn(width=66),
    "Said": st.column_config.TextColumn(width=255),
    "Model": st.column_config.TextColumn(width=84),
}
STATUSES = ("new", "triaged", "resolved", "declined")
RATINGS: dict[str, tuple[int, int] | None] = {"any": None, "1–3": (1, 3), "4–6": (4, 6), "7–10": (7, 10)}


@frame.guarded
def show() -> None:
    """List on the left, the chosen comment on the right; rows change only when the reader asks for it."""
    settings = reads.read_settings()
    frame.title("VOC", "What customers say, the prediction it is about, and what was done about it.")
    if not reads.count_voc(Inbox()):
        st.info("No customer has said anything yet.")
        frame.show_text(
            "A service sends a comment like this; name the prediction it is about if it is known:"
        )
        st.code(_FIRST_VOC, language="python")
        return
    inbox = _choose_inbox()
    vocs = _list_shown(inbox)
    list_side, detail_side = st.columns([8, 5], gap="medium")
    with list_side:
        _show_list(inbox, vocs, settings)
    with detail_side:
        _show_chosen(vocs, settings)


def _choose_inbox() -> Inbox:
    search_side, status_side, model_side, rating_side = st.columns([3, 2, 2, 1.5])
    search = search_side.text_input(
        "Search", key="q", bind="query-params", placeholder="part of a word, such as 결제", max_chars=100
    )
    status = status_side.selectbox("Status", ["any", *STATUSES], key="status", bind="query-params")
    model = model_side.selectbox("Model", ["any", *reads.list_models()], key="voc_model", bind="query-params")
    rating = rating_side.selectbox("Rating", list(RATINGS), key="rating", bind="query-params")
    return Inbox(
        model=None if model in (None, "any") else model,
        status=None if status in (None, "any") else status,
        search=(search or "").strip(),
        ratings=RATINGS[rating or "any"],
    )


def _list_shown(inbox: Inbox) -> list[Voc]:
    """The rows of this session, read once per filter and page: they stand still under the hand."""
    if st.session_state.get("voc_inbox") != inbox:
        st.session_state.update(voc_inbox=inbox, voc_rows=None)
        st.session_state.pop("voc_page", None)
    if st.session_state.get("voc_rows") is None:
        _read_rows(inbox)
    rows: list[Voc] = st.session_state["voc_rows"]
    return rows


def _read_rows(inbox: Inbox) -> None:
    page = st.session_state.get("voc_page", 1)
    st.session_state["voc_rows"] = reads.read_voc(inbox, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE)
    st.session_state["voc_count"] = reads.count_voc(inbox)


def _show_list(inbox: Inbox, vocs: list[Voc], settings: Settings) -> None:
    _offer_refresh(inbox)
    if not vocs:
        st.info("No comment fits these filters.")
        return
    zone = reads.time_zone(settings)
    table = tables.voc_table(vocs, reads.now_us())
    if chosen := frame.choose_row(table, [voc.id for voc in vocs], "voc-list", 560, _COLUMNS):
        st.session_state["voc_chosen"] = chosen
        st.query_params["id"] = chosen
    count = st.session_state["voc_count"]
    pages = -(-count // PAGE_SIZE)
    if pages > 1:
        st.pagination(pages, key="voc_page", on_change=_read_rows, args=(inbox,))
    page = st.session_state.get("voc_page", 1)
    first = (page - 1) * PAGE_SIZE + 1
    frame.show_caption(f"{first:,} to {first + len(vocs) - 1:,} of {count:,}, the newest first.")
    st.download_button(
        "Export what fits as CSV",
        data=lambda: voc_csv(reads.read_voc(inbox, limit=EXPORT_AT_MOST), zone),
        file_name="voc.csv",
        mime="text/csv",
        on_click="ignore",
    )


@st.fragment(run_every=15)
def _offer_refresh(inbox: Inbox) -> None:
    """Say how many fit now that did not when the rows were read; only a click changes the rows."""
    new = reads.count_voc(inbox) - st.session_state.get("voc_count", 0)
    label = f"{new:,} new, refresh" if new > 0 else "Refresh"
    if st.button(label, key="voc_refresh", type="primary" if new > 0 else "secondary"):
        st.session_state["voc_rows"] = None
        st.session_state.pop("voc_page", None)
        reads.read_voc.clear()
        reads.count_voc.clear()
        st.rerun(scope="app")


def _show_chosen(vocs: list[Voc], settings: Settings) -> None:
    chosen = st.session_state.get("voc_chosen") or st.query_params.get("id")
    if chosen is None:
        if not vocs:
            return
        chosen = vocs[0].id
    voc = next((voc for voc in vocs if voc.id == chosen), None) or reads.get_voc(chosen)
    if voc is None:
        st.warning("There is no such comment; it may have been erased.")
        return
    zone, now_us = reads.time_zone(settings), reads.now_us()
    rating = f"rated {voc.rating} of 10" if voc.rating is not None else "not rated"
    st.subheader(without_markdown(f"{voc.status.capitalize()}, {rating}"), anchor=False)
    said = [
        f"{full_moment(voc.time_us, zone)} ({ago(voc.time_us, now_us)})",
        voc.channel,
        voc.language,
        voc.theme,
    ]
    frame.show_caption(" · ".join(part for part in said if part))
    with st.container(border=True):
        frame.show_text(voc.text)
    if voc.tags:
        frame.show_caption(", ".join(f"{tag}={value}" for tag, value in sorted(voc.tags.items())))
    _offer_statuses(voc)
    _show_prediction(voc)
    frame.show_caption(f"Comment {voc.id}")


def _offer_statuses(voc: Voc) -> None:
    with st.container(horizontal=True):
        for status in STATUSES:
            st.button(
                status.capitalize(),
                key=f"set-{status}-{voc.id}",
                disabled=status == voc.status,
                on_click=_set_status,
                args=(voc.id, status),
            )


def _set_status(voc_id: str, status: str) -> None:
    """Change the comment of this id; its row stays where the reader sees it."""
    reads.set_voc_status(voc_id, status)
    rows: list[Voc] = st.session_state.get("voc_rows") or []
    st.session_state["voc_rows"] = [replace(voc, status=status) if voc.id == voc_id else voc for voc in rows]
    st.session_state["voc_chosen"] = voc_id


def _show_prediction(voc: Voc) -> None:
    st.subheader("The prediction it is about", anchor=False)
    if voc.prediction_id is None:
        frame.show_text("The comment names no prediction.")
        return
    prediction = reads.get_prediction(voc.prediction_id)
    if prediction is None:
        frame.show_text(f"Prediction {voc.prediction_id} has not come, or was erased.")
        return
    frame.show_picture(prediction.input)
    frame.show_text(f"{prediction.model}, version {prediction.version}")
    frame.show_table(tables.answer_table(prediction))
    frame.show_caption(_say_outcome(prediction))
    if prediction.tags:
        frame.show_caption(", ".join(f"{tag}={value}" for tag, value in sorted(prediction.tags.items())))


def _say_outcome(prediction: Prediction) -> str:
    if prediction.action is None:
        return "No feedback so far."
    if prediction.action == "edit":
        distance = None if prediction.distance_ppm is None else prediction.distance_ppm / 1_000_000
        return f"The user corrected it; edit distance {percent(distance)}."
    return f"The user {prediction.action}ed it."
