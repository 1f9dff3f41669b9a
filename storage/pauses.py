"""Partitions that are not read because dead letters flood them, until a person lets them go on."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, func, select

from errata.identity import NewId
from errata.topics import INTAKE_PAUSED, SIGNALS
from storage import outbox
from storage.alerts import News, raise_alert, resolve_alert
from storage.database import Database
from storage.errors import NotFound
from storage.insertion import put_rows
from storage.tables import dead_letters, intake_pauses

_p = intake_pauses.c
#: Of so many dead letters, the latest of a partition, the most frequent reason is told.
_LATEST: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A partition that is not read."""

    topic: str
    partition: int
    reason: str
    paused_us: int


def pause_flooded(
    db: Database,
    topic: str,
    partition: int,
    *,
    n: int,
    n_dead: int,
    span_us: int,
    now_us: int,
    new_id: NewId,
) -> bool:
    """Pause a partition of whose last `n` events `n_dead` were dead letters; tell whether it is paused.

    It stays as it is when a person has let it go on and the flood has not ended since, for `span_us`: who resumes a
    partition takes what comes as dead letters. The alarm goes to the topic of signals in the same transaction.
    """
    with db.write() as c:
        own = and_(_p.topic == topic, _p.partition == partition)
        known = c.execute(select(intake_pauses).where(own).with_for_update()).one_or_none()
        if known is not None and known.resumed_us is None:
            return True
        if known is not None and now_us - known.flooded_us < span_us:
            c.execute(intake_pauses.update().where(own).values(flooded_us=now_us))
            return False
        pause: dict[str, Any] = {
            "topic": topic,
            "partition": partition,
            "reason": _tell(c, topic, partition, n, n_dead),
            "paused_us": now_us,
        }
        put_rows(c, intake_pauses, [pause | {"resumed_us": None, "flooded_us": now_us}])
        outbox.put(c, SIGNALS, f"{topic}/{partition}", INTAKE_PAUSED, pause, now_us, new_id(now_us))
        news = News(
            key=_flood_key(topic, partition),
            kind="flood",
            severity="critical",
            title=f"{topic}/{partition} is not read",
            sentence=pause["reason"],
        )
        raise_alert(c, news, now_us, new_id)
    return True


def resume(db: Database, now_us: int, *, where: tuple[str, int] | None = None) -> list[Pause]:
    """Let a partition go on, or all that are paused; return which. Raises NotFound when `where` is not paused."""
    with db.write() as c:
        paused = [each for each in list_paused(c) if where in (None, (each.topic, each.partition))]
        if where is not None and not paused:
            raise NotFound("paused partition", f"{where[0]}/{where[1]}")
        for each in paused:
            own = and_(_p.topic == each.topic, _p.partition == each.partition)
            c.execute(intake_pauses.update().where(own).values(resumed_us=now_us, flooded_us=now_us))
            resolve_alert(c, _flood_key(each.topic, each.partition), "A person let it go on.", now_us)
    return paused


def list_paused(c: Connection) -> list[Pause]:
    """The partitions that are paused now."""
    columns = [_p[name] for name in Pause.__slots__]
    wanted = select(*columns).where(_p.resumed_us.is_(None)).order_by(_p.topic, _p.partition)
    return [Pause(**row) for row in c.execute(wanted).mappings()]


def _flood_key(topic: str, partition: int) -> str:
    return f"flood/{topic}/{partition}"


def _tell(c: Connection, topic: str, partition: int, n: int, n_dead: int) -> str:
    d = dead_letters.c
    latest = (
        select(d.reason)
        .where(d.topic == topic, d.partition == partition)
        .order_by(d.offset.desc(), d.position.desc())
        .limit(_LATEST)
        .subquery()
    )
    frequent = (
        select(latest.c.reason).group_by(latest.c.reason).order_by(func.count().desc(), latest.c.reason)
    )
    reason = c.scalar(frequent.limit(1))
    most = f", most of them {reason}" if reason else ""
    return (
        f"{n_dead} of the last {n} events of {topic}/{partition} were dead letters{most}: it is not read until you run "
        f"errata dead-letters resume {topic}/{partition}, after the sender was mended or to take them as they are."
    )
