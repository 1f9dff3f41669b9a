"""The screen Labeling: what was ordered from labelers, for how much, and how far it is."""

import streamlit as st

from dashboard import cached_reads as reads
from dashboard import frame, tables
from dashboard.wording import cost, full_moment, number, short_id, without_markdown
from errata.settings import Settings
from storage.records import Batch, BatchItem


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
    st.subheader("For the labelers", anchor=False)
    frame.show_text("Tasks for Label Studio, then the labels back, then the decision:")
    st.code(
        f"errata batch export {batch.id} > tasks.json\n"
        f"errata batch import {batch.id} labels.json\n"
        f"errata batch accept {batch.id} --reason WHY",
        language=None,
    )
    _show_items(items)


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


def _show_items(items: list[BatchItem]) -> None:
    st.subheader("Items", anchor=False)
    parts = sorted({item.part for item in items})
    part = st.selectbox("Part", ["all", *parts], key="part", bind="query-params")
    shown = [item for item in items if part in (None, "all", item.part)]
    st.dataframe(
        tables.item_table(shown),
        hide_index=True,
        height=420,
        column_config={"Why": st.column_config.TextColumn(width="large")},
    )
