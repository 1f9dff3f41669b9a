"""Windows: the numbers of each model, version, slice and minute. Intake adds to them; all others read sums.

Every partition writes rows of its own (`shard`), so that workers never wait for each other. A row may hold
negative counts, where one shard takes back what another one added: only the sum over shards is a number to
show.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from sqlalchemy import Connection, RowMapping, Table, and_, func, select

from errata.errors import Malformed, Stop
from quality import histogram
from quality.windows import (
    COUNTS,
    MINUTE_US,
    Contribution,
    Contributions,
    are_zero,
    join,
    minute_of,
    sum_groups,
    take,
)
from storage.insertion import Columns, in_span, insert_columns, list_keys, put_rows
from storage.insertion import take as take_rows
from storage.records import Window
from storage.slices import ALL
from storage.tables import windows


class Place(NamedTuple):
    """Where a prediction is counted: in the windows of its minute, of `all` and of each of its slices."""

    model: str
    version: str
    minute_us: int
    #: JSON, as it is stored with the prediction.
    slices: str


@dataclass(frozen=True, slots=True)
class Additions:
    """What is added to windows: as many contributions, as columns, as there are places."""

    places: Sequence[tuple[str, str, int, str]]
    contributions: Contributions


#: Model, version, slice, minute.
WindowKey = tuple[str, str, str, int]

#: The shard of the sweep (storage/intake.py), which is no partition.
SWEEP_SHARD: Final = -1

_KEYS: Final = ("model", "version", "slice", "minute_us")
_HISTOGRAMS: Final = ("served", "shown")

_read_slices: Final = msgspec.json.Decoder(list[str]).decode


def place_of(prediction: Any) -> Place:
    """The place of a prediction, given as a row of `predictions`."""
    return Place(prediction.model, prediction.version, minute_of(prediction.time_us), prediction.slices)


def list_windows(place: tuple[str, str, int, str]) -> list[WindowKey]:
    """The windows that a prediction at `place` is counted in."""
    model, version, minute_us, slices = place
    return [(model, version, name, minute_us) for name in (ALL, *_read_slices(slices))]


def add_to_windows(c: Connection, shard: int, additions: Additions, table: Table = windows) -> None:
    """Add `additions` to the rows of `shard`. The caller holds the lock of the shard (storage/locks.py)."""
    keys, sums = spread(additions)
    stored = _read_rows(c, table, shard, keys)
    stored_keys = [_key_of(row) for row in stored]
    if stored:
        number_of = {key: number for number, key in enumerate(keys)}
        numbers = [*range(len(keys)), *(number_of[key] for key in stored_keys)]
        sums = sum_groups(join([sums, _read_contributions(stored)]), numbers, len(keys))
    columns, known = _as_columns(keys, sums, shard), set(stored_keys)
    # Nobody else writes rows of this shard meanwhile.
    insert_columns(c, table, take_rows(columns, [n for n, key in enumerate(keys) if key not in known]))
    moved = take_rows(columns, [n for n, key in enumerate(keys) if key in known])
    put_rows(c, table, [dict(zip(moved, row, strict=True)) for row in zip(*moved.values(), strict=True)])


def join_additions(parts: Sequence[Additions]) -> Additions:
    """All that several additions add."""
    return Additions(
        [place for part in parts for place in part.places], join([part.contributions for part in parts])
    )


def spread(additions: Additions) -> tuple[list[WindowKey], Contributions]:
    """Each window that is moved, in the order of their keys, and what it is to be moved by."""
    # Few places are shared by many predictions: they are added up before they are spread over their windows.
    places: dict[tuple[str, str, int, str], int] = {}
    place_of = [places.setdefault(place, len(places)) for place in additions.places]
    by_place = sum_groups(additions.contributions, place_of, len(places))
    numbers: dict[WindowKey, int] = {}
    members, window_of = [], []
    for place, number in places.items():
        for key in list_windows(place):
            members.append(number)
            window_of.append(numbers.setdefault(key, len(numbers)))
    sums = sum_groups(take(by_place, np.array(members, dtype=np.int64)), window_of, len(numbers))
    unmoved = are_zero(sums).tolist()
    moved = sorted((key, number) for key, number in numbers.items() if not unmoved[number])
    return [key for key, _ in moved], take(sums, np.array([number for _, number in moved], dtype=np.int64))


def read_windows(
    c: Connection,
    *,
    model: str,
    version: str | None = None,
    slice: str = ALL,  # noqa: A002
    since_us: int | None = None,
    until_us: int | None = None,
    width_us: int = MINUTE_US,
) -> list[Window]:
    """The windows of one slice by minute and version, over all shards: `since_us` <= minute < `until_us`.

    With a `width_us` of several minutes, those in each multiple of it are one sum; see `sum_windows`.
    """
    rows = _read(c, model, version, slice, since_us, until_us)
    return _sum_groups(rows, lambda row: (row["minute_us"] // width_us, row["version"]))


def sum_windows(
    c: Connection,
    *,
    model: str,
    since_us: int | None = None,
    until_us: int | None = None,
    by: Sequence[Literal["version", "slice"]] = ("version", "slice"),
) -> list[Window]:
    """One sum for each version and slice; `minute_us` is the first minute in it.

    Where `by` leaves versions out, they are added up under the version `all`. Where it leaves slices out,
    only the slice `all` is read, because slices overlap.
    """
    rows = _read(c, model, None, None if "slice" in by else ALL, since_us, until_us)
    if "version" not in by:
        rows = [{**row, "version": ALL} for row in rows]
    return _sum_groups(rows, lambda row: (row["version"], row["slice"]))


def contribution_of(window: Window) -> Contribution:
    """The numbers of a window in the form in which quality/ computes with them."""
    served, shown = histogram.decode(window.served), histogram.decode(window.shown)
    return Contribution(**{name: getattr(window, name) for name in COUNTS}, served=served, shown=shown)


def list_models(c: Connection) -> list[str]:
    """The models of which predictions or feedback were counted."""
    return list(c.scalars(select(windows.c.model).distinct().order_by(windows.c.model)))


def list_versions(c: Connection, model: str) -> list[str]:
    """The versions of a model that have windows, in the order of their names."""
    wanted = select(windows.c.version).where(windows.c.model == model, windows.c.slice == ALL)
    return list(c.scalars(wanted.distinct().order_by(windows.c.version)))


def read_spans(
    c: Connection, *, model: str, since_us: int | None = None, until_us: int | None = None
) -> dict[str, tuple[int, int]]:
    """The first and the last minute in which each version has windows."""
    w = windows.c
    wanted = select(
        w.version, func.min(w.minute_us).label("first_us"), func.max(w.minute_us).label("last_us")
    )
    own = wanted.where(
        w.model == model, w.slice == ALL, *in_span(windows.c.minute_us, since_us, until_us)
    ).group_by(w.version)
    return {row.version: (row.first_us, row.last_us) for row in c.execute(own)}


def count_in_windows(c: Connection, *, model: str, since_us: int, until_us: int) -> tuple[int, int | None]:
    """How many predictions of a model there are in a span, and the first minute that has any."""
    w = windows.c
    counted = select(func.coalesce(func.sum(w.n), 0).label("n"), func.min(w.minute_us).label("first_us"))
    row = c.execute(
        counted.where(w.model == model, w.slice == ALL, *in_span(w.minute_us, since_us, until_us))
    ).one()
    return int(row.n), row.first_us


def list_slices(
    c: Connection, model: str, *, since_us: int | None = None, until_us: int | None = None
) -> list[str]:
    """The slices of a model that have windows in a span; `all` is the first."""
    wanted = (
        select(windows.c.slice)
        .where(windows.c.model == model, *in_span(windows.c.minute_us, since_us, until_us))
        .distinct()
    )
    return sorted(c.scalars(wanted), key=lambda name: (name != ALL, name))


def _read(
    c: Connection,
    model: str,
    version: str | None,
    slice: str | None,  # noqa: A002
    since_us: int | None,
    until_us: int | None,
) -> Sequence[Any]:
    wanted = select(windows).where(
        windows.c.model == model, *in_span(windows.c.minute_us, since_us, until_us)
    )
    if version is not None:
        wanted = wanted.where(windows.c.version == version)
    if slice is not None:
        wanted = wanted.where(windows.c.slice == slice)
    return c.execute(wanted).mappings().all()


def _sum_groups(rows: Sequence[Any], group_of: Callable[[Any], Any]) -> list[Window]:
    return [sum_shards(list(group)) for _, group in groupby(sorted(rows, key=group_of), key=group_of)]


def sum_shards(rows: Sequence[RowMapping | dict[str, Any]]) -> Window:
    """Rows of `windows` added up; named as the earliest of them."""
    counts: dict[str, Any] = {name: sum(row[name] for row in rows) for name in COUNTS}
    histograms: dict[str, Any] = {name: histogram.merge(row[name] for row in rows) for name in _HISTOGRAMS}
    first = min(rows, key=lambda row: int(row["minute_us"]))
    return Window(**{name: first[name] for name in _KEYS}, **counts, **histograms)


def _as_columns(keys: Sequence[WindowKey], sums: Contributions, shard: int) -> Columns:
    """Rows of `windows`."""
    columns: dict[str, Sequence[Any]] = {
        name: [key[place] for key in keys] for place, name in enumerate(_KEYS)
    }
    columns["shard"] = [shard] * len(keys)
    columns |= dict(zip(COUNTS, sums.counts.tolist(), strict=True))
    columns["served"], columns["shown"] = (
        histogram.encode_all(each, len(keys)) for each in (sums.served, sums.shown)
    )
    return columns


def _key_of(row: Any) -> WindowKey:
    return row["model"], row["version"], row["slice"], row["minute_us"]


def _read_rows(c: Connection, table: Table, shard: int, keys: Sequence[WindowKey]) -> Sequence[RowMapping]:
    if not keys:
        return []
    columns = [table.c[name] for name in _KEYS]
    listed = list_keys(c, columns, keys)
    same = and_(table.c.shard == shard, *(column == listed.c[column.name] for column in columns))
    return c.execute(select(table).join(listed, same)).mappings().all()


def _read_contributions(rows: Sequence[RowMapping]) -> Contributions:
    counts = np.array([[row[name] for row in rows] for name in COUNTS], dtype=np.int64)
    served, shown = (_read_histograms(rows, name) for name in _HISTOGRAMS)
    return Contributions(counts, served, shown)


def _read_histograms(rows: Sequence[RowMapping], name: str) -> histogram.Histograms:
    try:
        return histogram.decode_all([row[name] for row in rows])
    except Malformed:
        for row in rows:
            try:
                histogram.decode(row[name])
            except Malformed as error:
                damaged = f"the window {_key_of(row)} is damaged ({error}): run `errata verify`"
                raise Stop(damaged) from error
        raise
