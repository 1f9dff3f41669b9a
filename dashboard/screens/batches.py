"""The screen Labeling: what was ordered from labelers, for how much, and how far it is."""

from typing import Any

import streamlit as st

from dashboard import cached_reads as reads
from dashboard import frame, tables
from dashboard.wording import (
    compact_json,
    cost,
    full_moment,
    number,
    short_id,
    shorten,
    without_markdown,
)
from errata.settings import Settings
from storage.records import Batch, BatchItem

_COLUMNS: dict[str, Any] = {
    "Prediction": st.column_config.TextColumn(width=75),
    "Part": st.column_config.TextColumn(width=78),
    "Why": st.column_config.TextColumn(width=250),
    "Score": st.column_config.NumberColumn(width=55, format="%.2f"),
    "Flags": st.column_config.TextColumn(width=65),
}


@frame.guarded
def show() -> None:
    """All batches; the chosen one with its guide, cost, progress and items."""
    settings = reads.read_settings()
    frame.title(
        "Labeling", "Batches ordered from labelers: guide, unit price, quantity, progress and acceptance."
    )
    batches = reads.list_batches()
    if not batches:
        st.info("No batch was ordered yet.")
        frame.show_text("A run orders one by itself. By hand:")
        st.code("errata batch order MODEL", language=None)
        return
    zone = reads.time_zone(settings)
    chosen_id = frame.choose_row(
        tables.batch_table(batches, zone), [batch.id for batch in batches], "batches", 260
    )
    if chosen_id is not None:
        st.query_params["batch"] = chosen_id
    wanted = chosen_id or st.query_params.get("batch")
    batch = next((batch for batch in batches if batch.id == wanted), batches[0])
    _show_batch(batch, settings)


def _show_batch(batch: Batch, settings: Settings) -> None:
    items = reads.read_items(batch.id)
    st.subheader(f"Batch {short_id(batch.id)}, {batch.status}", anchor=False)
    frame.show_text(batch.reason)
    done, price, flags = st.columns(3)
    done.metric("Labelled", f"{batch.n_labelled:,} of {len(items):,}")
    price.metric("Cost", cost(batch.unit_price, batch.quantity, batch.currency).rpartition("= ")[2])
    flags.metric("Flagged by labelers", number(sum(bool(item.flags) for item in items)))
    st.progress(min(batch.n_labelled / max(len(items), 1), 1.0))
    frame.show_caption(cost(batch.unit_price, batch.quantity, batch.currency))
    left, right = st.columns([3, 4], gap="large")
    with left:
        st.subheader("Composition", anchor=False)
        frame.show_table(tables.part_table(items))
    with right:
        st.subheader(f"Guide, version {without_markdown(batch.guide_version)}", anchor=False)
        with st.container(border=True):
            frame.show_text(batch.guide)
        _show_times(batch, settings)
    with st.expander("For the labelers: tasks for Label Studio, then the labels back, then the decision"):
        st.code(
            f"errata batch export {batch.id} > tasks.json\n"
            f"errata batch import {batch.id} labels.json\n"
            f"errata batch accept {batch.id} --reason WHY",
            language=None,
        )
    _show_items(batch, items)


def _show_times(batch: Batch, settings: Settings) -> None:
    zone = reads.time_zone(settings)
    times = (
        ("created", batch.created_us),
        ("ordered", batch.ordered_us),
        ("delivered", batch.delivered_us),
        ("decided", batch.decided_us),
    )
    frame.show_caption(
        ", ".join(f"{name} {full_moment(time_us, zone)}" for name, time_us in times if time_us)
    )


def _show_items(batch: Batch, items: list[BatchItem]) -> None:
    st.subheader("Items", anchor=False)
    if not items:
        frame.show_text("The batch is empty.")
        return
    list_side, item_side = st.columns([5, 4], gap="large")
    with list_side:
        parts = sorted({item.part for item in items})
        part = st.selectbox("Part", ["all", *parts], key="part", bind="query-params")
        shown = [item for item in items if part in (None, "all", item.part)]
        ids = [item.prediction_id for item in shown]
        chosen = frame.choose_row(tables.item_table(shown), ids, f"items-{batch.id}", 420, _COLUMNS)
    with item_side:
        _show_item(next((item for item in shown if item.prediction_id == chosen), shown[0]))


def _show_item(item: BatchItem) -> None:
    """What the labeler saw, what the model had answered, and what is right."""
    st.subheader(f"Item {short_id(item.prediction_id)}, {item.part}", anchor=False)
    for reason in item.reasons:
        frame.show_text(reason)
    prediction = reads.get_prediction(item.prediction_id)
    if prediction is None:
        frame.show_text("The prediction was erased.")
    elif not frame.show_picture(prediction.input):
        frame.show_text(shorten(compact_json(prediction.input), 400))
    frame.show_table(tables.label_table(item, prediction))
    labeler = f"labelled by {item.labeler}" if item.labeler else "not labelled yet"
    flags = f", flagged {', '.join(item.flags)}" if item.flags else ""
    frame.show_caption(f"{labeler}{flags}; group {item.group}; prediction {item.prediction_id}")
