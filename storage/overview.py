"""What operators watch of the whole installation, as the database knows it."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, case, func, select

from storage.dead_letters import count_by_reason
from storage.pairing import COUNTED
from storage.pauses import Pause, list_paused
from storage.tables import feedback, outcomes
from storage.verify_rounds import Round, get_round

#: Of so many feedbacks, the latest, it is asked whether their predictions are there.
_LATEST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state of the intake as a whole."""

    #: The continuous verification; None before its first piece.
    round: Round | None
    #: Dead letters ever stored, replayed ones included.
    dead_letters: dict[str, int]
    #: Of the latest feedback of users: how many there are, and how many have met their prediction.
    n_feedback: int
    n_joined: int
    paused: list[Pause]


def read_overview(c: Connection) -> Overview:
    """Everything of one moment."""
    n_feedback, n_joined = _count_joined(c)
    return Overview(
        round=get_round(c),
        dead_letters=count_by_reason(c),
        n_feedback=n_feedback,
        n_joined=n_joined,
        paused=list_paused(c),
    )


def _count_joined(c: Connection) -> tuple[int, int]:
    f, o = feedback.c, outcomes.c
    latest = (
        select(f.prediction_id)
        .where(f.who_kind == COUNTED)
        .order_by(f.stored_us.desc())
        .limit(_LATEST)
        .subquery()
    )
    joined = func.coalesce(func.sum(case((o.prediction_id.is_not(None), 1), else_=0)), 0)
    query = (
        select(func.count().label("n"), joined.label("n_joined"))
        .select_from(latest)
        .outerjoin(outcomes, o.prediction_id == latest.c.prediction_id)
    )
    row = c.execute(query).one()
    return int(row.n), int(row.n_joined)
