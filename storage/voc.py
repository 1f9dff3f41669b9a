"""VOC: what customers say, found by model, state and words."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, Select, func, select

from errata.errors import Malformed
from storage.database import Database
from storage.errors import NotFound
from storage.records import Voc
from storage.tables import predictions, voc

STATUSES: Final = ("new", "triaged", "resolved", "declined")


@dataclass(frozen=True, slots=True, kw_only=True)
class VocSummary:
    """How many comments there are, are not looked at yet, and have a rating; and the mean of these."""

    n: int
    n_new: int
    n_rated: int
    mean_rating: float | None


_read_tags: Final = msgspec.json.Decoder(dict[str, str]).decode


def read_voc(
    c: Connection,
    *,
    model: str | None = None,
    status: str | None = None,
    search: str | None = None,
    ratings: tuple[int, int] | None = None,
    since_us: int | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[Voc]:
    """The latest comments that meet all conditions: `search` is any part of the text, in any case.

    `ratings` are the lowest and the highest that are wanted. A comment that names no model is about the model
    of the prediction it names.
    """
    wanted = _filter(select(voc), model, status, search, ratings, since_us)
    page = wanted.order_by(voc.c.time_us.desc(), voc.c.id.desc()).limit(limit).offset(offset)
    return [_as_record(row) for row in c.execute(page).mappings()]


def count_voc(
    c: Connection,
    *,
    model: str | None = None,
    status: str | None = None,
    search: str | None = None,
    ratings: tuple[int, int] | None = None,
    since_us: int | None = None,
) -> int:
    """How many comments meet all conditions."""
    wanted = _filter(select(func.count()).select_from(voc), model, status, search, ratings, since_us)
    return int(c.execute(wanted).scalar_one())


def get_voc(c: Connection, id: str) -> Voc:  # noqa: A002
    """The comment of an id. Raises NotFound."""
    row = c.execute(select(voc).where(voc.c.id == id)).mappings().one_or_none()
    if row is None:
        raise NotFound("VOC", id)
    return _as_record(row)


def summarise_voc(c: Connection, *, model: str | None = None, since_us: int | None = None) -> VocSummary:
    """The comments that meet both conditions, in numbers."""
    columns = select(
        func.count().label("n"),
        func.count().filter(voc.c.status == "new").label("n_new"),
        func.count(voc.c.rating).label("n_rated"),
        func.sum(voc.c.rating).label("sum_ratings"),
    )
    row = c.execute(_filter(columns.select_from(voc), model, None, None, None, since_us)).one()
    mean_rating = int(row.sum_ratings) / row.n_rated if row.n_rated else None
    return VocSummary(n=row.n, n_new=row.n_new, n_rated=row.n_rated, mean_rating=mean_rating)


def set_status(db: Database, id: str, status: str) -> None:  # noqa: A002
    """Note what was done about a comment. Raises Malformed("bad_status") and NotFound."""
    if status not in STATUSES:
        raise Malformed("bad_status", f"status must be one of {', '.join(STATUSES)}, not {status}")
    with db.write() as c:
        if c.execute(voc.update().where(voc.c.id == id).values(status=status)).rowcount == 0:
            raise NotFound("VOC", id)


def _filter(
    wanted: Select[*tuple[Any, ...]],
    model: str | None,
    status: str | None,
    search: str | None,
    ratings: tuple[int, int] | None,
    since_us: int | None,
) -> Select[*tuple[Any, ...]]:
    if model is not None:
        about = select(predictions.c.model).where(predictions.c.id == voc.c.prediction_id).scalar_subquery()
        wanted = wanted.where(func.coalesce(voc.c.model, about) == model)
    if status is not None:
        wanted = wanted.where(voc.c.status == status)
    if search:
        wanted = wanted.where(voc.c.text.icontains(search, autoescape=True))
    if ratings is not None:
        wanted = wanted.where(voc.c.rating.between(*ratings))
    if since_us is not None:
        wanted = wanted.where(voc.c.time_us >= since_us)
    return wanted


def _as_record(row: RowMapping) -> Voc:
    kept = {name: row[name] for name in Voc.__slots__}
    return Voc(**{**kept, "tags": _read_tags(row["tags"])})
