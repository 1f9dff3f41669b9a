"""CSV files that a spreadsheet opens as they are meant: Korean text whole, and no cell a formula."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from dashboard.wording import compact_json, full_moment
from storage.records import Voc

#: A text that begins with one of these is a formula to a spreadsheet (OWASP ASVS 1.2.10).
_FORMULA_SIGNS = frozenset("=+-@\t\r\n\0＝＋－＠")

VOC_COLUMNS = (
    "id",
    "time",
    "status",
    "rating",
    "text",
    "model",
    "channel",
    "language",
    "theme",
    "tags",
    "prediction_id",
)


def voc_csv(vocs: Iterable[Voc], zone: ZoneInfo) -> bytes:
    """The comments as CSV in UTF-8 with a byte order mark; times in `zone`."""
    rows = (
        (
            voc.id,
            full_moment(voc.time_us, zone),
            voc.status,
            voc.rating,
            voc.text,
            voc.model,
            voc.channel,
            voc.language,
            voc.theme,
            compact_json(voc.tags) if voc.tags else "",
            voc.prediction_id,
        )
        for voc in vocs
    )
    return to_csv(VOC_COLUMNS, rows)


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """CSV (RFC 4180) with the byte order mark without which Excel reads Korean text wrongly."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([_as_cell(value) for value in row] for row in rows)
    return file.getvalue().encode("utf-8-sig")


def _as_cell(value: Any) -> Any:
    """Numbers stay numbers; a text that a spreadsheet would compute gets an apostrophe before it."""
    if not isinstance(value, str):
        return "" if value is None else value
    without_nul = value.replace("\0", "")
    first = without_nul.lstrip(" \u00a0\u3000\ufeff")[:1]
    return f"'{without_nul}" if first in _FORMULA_SIGNS and first else without_nul
