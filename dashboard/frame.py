"""What the screens share: the guard around them, choosers bound to the URL, text that is never Markdown."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import cached_reads as reads
from dashboard.pictures import find_picture
from dashboard.wording import NOTHING, without_markdown
from errata.errors import ErrataError, Unavailable
from errata.redaction import hide_patterns
from quality.windows import MINUTE_US, minute_of

P = ParamSpec("P")

#: Spans of time that can be looked at, in seconds.
SPANS: dict[str, int] = {
    "15 min": 900,
    "1 h": 3600,
    "6 h": 21_600,
    "24 h": 86_400,
    "7 days": 604_800,
    "30 days": 2_592_000,
}

_FIRST_EVENT = """\
from errata.client import Client

client = Client("127.0.0.1:9092", source="/my-service")
prediction_id = client.prediction(model="my-model", version="1", output="1234", latency_ms=84.2)
client.edit(prediction_id=prediction_id, corrected="1284")
client.flush()
"""


def guarded(show: Callable[P, None]) -> Callable[P, None]:
    """Show a sentence that says what to do, not a trace, when the database or the settings do not serve."""

    @functools.wraps(show)
    def show_or_explain(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            show(*args, **kwargs)
        except Unavailable as error:
            st.warning("The database cannot be reached now. Reload this page when it can.")
            st.text(hide_patterns(str(error)))
        except ErrataError as error:
            st.warning("This page cannot be shown until a person acts.")
            st.text(hide_patterns(str(error)))

    return show_or_explain


def title(name: str, sentence: str) -> None:
    """The name of a screen and the question it answers."""
    st.title(name, anchor=False)
    st.caption(sentence)


def choosers() -> DeltaGenerator:
    """A line for what can be chosen on a screen; a narrow window breaks it."""
    return st.container(horizontal=True, vertical_alignment="bottom", gap="medium")


def show_text(text: str) -> None:
    """Any text as it is; for sentences that contain what others wrote."""
    st.text(text)


def show_caption(text: str) -> None:
    """Small grey text as it is."""
    st.caption(without_markdown(text))


def show_picture(value: object) -> bool:
    """Show the picture that an input is; False, and nothing, if it is none."""
    picture = find_picture(value)
    if picture is None:
        return False
    st.image(picture, width=360)
    return True


def show_table(table: pd.DataFrame) -> None:
    """A small table that is read, not sorted; every cell is shown as it is."""
    escaped = table.map(lambda cell: without_markdown(str(cell)))
    escaped.columns = [without_markdown(str(name)) for name in table.columns]
    st.table(escaped, border="horizontal", hide_index=True)


def choose_model() -> str | None:
    """The model to look at, kept in the URL; None, with a sentence how to begin, when there is none."""
    models = reads.list_models()
    if not models:
        show_first_event()
        return None
    chosen: str | None = st.selectbox("Model", models, key="model", bind="query-params", width=220)
    return chosen or models[0]


def choose_span(default: str = "24 h") -> int:
    """The span of time to look at, in microseconds, kept in the URL."""
    chosen = st.segmented_control(
        "Time",
        list(SPANS),
        default=default,
        key="span",
        bind="query-params",
        required=True,
        width="content",
    )
    return SPANS[chosen or default] * 1_000_000


def since_until(span_us: int) -> tuple[int, int]:
    """The span that ends with the running minute; on whole minutes, so that reads of it can be cached."""
    until_us = minute_of(reads.now_us()) + MINUTE_US
    return until_us - span_us, until_us


def choose_row(
    table: pd.DataFrame,
    ids: Sequence[str],
    key: str,
    height: int = 420,
    columns: dict[str, Any] | None = None,
) -> str | None:
    """A table of which one row can be chosen; the id of that row, not its place, is kept.

    The key changes with the ids, so that a choice never slides to another row when rows are added.
    """
    event = st.dataframe(
        table,
        key=f"{key}-{hash(tuple(ids))}",
        hide_index=True,
        placeholder=NOTHING,
        height=min(height, 38 + 35 * max(len(table), 1)),
        on_select="rerun",
        selection_mode="single-row",
        column_config=columns,
    )
    rows = event["selection"]["rows"]
    return ids[rows[0]] if rows and rows[0] < len(ids) else None


def show_first_event() -> None:
    """How to send the first event, where nothing came yet."""
    st.info("Nothing has come in yet.")
    show_text("A service sends its first prediction and correction like this, or as CloudEvents over HTTP:")
    st.code(_FIRST_EVENT, language="python")
    show_text("Without a service at hand, `errata demo` plays one.")
