"""Windows: the numbers of each model, version, slice and minute. Intake adds to them; all others read sums.

Every partition writes rows of its own (`shard`), so that workers never wait for each other. A row may hold
negative counts, where one shard takes back what another one added: only the sum over shards is a number to
show.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, RowMapping, Table, and_, func, select

from errata.errors import Malformed, Stop
from quality import histogram
from quality.windows import MINUTE_US, Contribution, add_all, is_zero, minute_of
from storage.insertion import in_span, list_keys, put_rows
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


Addition = tuple[Place, Contribution]

#: Model, version, slice, minute.
WindowKey = tuple[str, str, str, int]

#: The shard of the sweep (storage/intake.py), which is no partition.
SWEEP_SHARD: Final = -1

_KEYS: Final = ("model", "version", "slice", "minute_us")
_COUNTS: Final = ("n", "n_edit", "n_accept", "n_reject", "n_distance", "distance_ppm", "distance_ppm_squares")
_HISTOGRAMS: Final = ("served", "shown")

_Key = TypeVar("_Key")
_read_slices: Final = msgspec.json.Decoder(list[str]).decode


def place_of(prediction: Any) -> Place:
    """The place of a prediction, given as a row of `predictions`."""
    return Place(prediction.model, prediction.version, minute_of(prediction.time_us), prediction.slices)


def number_places(places: Iterable[tuple[str, str, int, str]]) -> tuple[list[Place], list[int]]:
    """The different ones among `places`, and for each of `places` which of them it is."""
    numbers: dict[tuple[str, str, int, str], int] = {}
    numbered = [numbers.setdefault(place, len(numbers)) for place in places]
    return [Place(*place) for place in numbers], numbered


def add_to_windows(c: Connection, shard: int, additions: Iterable[Addition], table: Table = windows) -> None:
    """Add `additions` to the rows of `shard`. The caller holds the lock of the shard (storage/locks.py)."""
    sums = sum_additions(additions)
    stored = _read_rows(c, table, shard, list(sums))
    rows = [_sum(_as_row(key, contribution), stored.get(key)) for key, contribution in sorted(sums.items())]
    put_rows(c, table, [{**row, "shard": shard} for row in rows])


def sum_additions(additions: Iterable[Addition]) -> dict[WindowKey, Contribution]:
    """What each window is to be moved by; those that are not moved are left out."""
    # Few places are shared by many predictions: they are added up before they are spread over their windows.
    places = _sum_by_key(additions)
    spread = (
        ((place.model, place.version, name, place.minute_us), contribution)
        for place, contribution in places.items()
        for name in (ALL, *_read_slices(place.slices))
    )
    return {key: total for key, total in _sum_by_key(spread).items() if not is_zero(total)}


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
    return Contribution(**{name: getattr(window, name) for name in _COUNTS}, served=served, shown=shown)


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


def _sum_by_key(additions: Iterable[tuple[_Key, Contribution]]) -> dict[_Key, Contribution]:
    grouped: dict[_Key, list[Contribution]] = defaultdict(list)
    for key, contribution in additions:
        grouped[key].append(contribution)
    return {key: add_all(parts) for key, parts in grouped.items()}


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
    counts: dict[str, Any] = {name: sum(row[name] for row in rows) for name in _COUNTS}
    histograms: dict[str, Any] = {name: histogram.merge(row[name] for row in rows) for name in _HISTOGRAMS}
    first = min(rows, key=lambda row: int(row["minute_us"]))
    return Window(**{name: first[name] for name in _KEYS}, **counts, **histograms)


def _as_row(key: WindowKey, contribution: Contribution) -> dict[str, Any]:
    return {
        **dict(zip(_KEYS, key, strict=True)),
        **{name: getattr(contribution, name) for name in _COUNTS},
        **{name: histogram.encode(getattr(contribution, name)) for name in _HISTOGRAMS},
    }


def _key_of(row: Any) -> WindowKey:
    return row["model"], row["version"], row["slice"], row["minute_us"]


def _read_rows(
    c: Connection, table: Table, shard: int, keys: Sequence[WindowKey]
) -> dict[WindowKey, RowMapping]:
    if not keys:
        return {}
    columns = [table.c[name] for name in _KEYS]
    listed = list_keys(c, columns, keys)
    same = and_(table.c.shard == shard, *(column == listed.c[column.name] for column in columns))
    return {_key_of(row): row for row in c.execute(select(table).join(listed, same)).mappings()}


def _sum(row: dict[str, Any], stored: RowMapping | None) -> dict[str, Any]:
    if stored is None:
        return row
    try:
        merged = {name: histogram.merge((stored[name], row[name])) for name in _HISTOGRAMS}
    except Malformed as error:
        raise Stop(f"the window {_key_of(row)} is damaged ({error}): run `errata verify`") from error
    return {**row, **{name: stored[name] + row[name] for name in _COUNTS}, **merged}
