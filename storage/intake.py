"""Events into facts: one transaction for each fetched run of records, exact under every fault.

In the order of the locks that it takes (storage/locks.py), the transaction of `apply`

1. locks the partition's row in `intake_positions` and leaves out what is below its offset: a worker that lost
   the partition, or one that reads again after a crash, adds nothing;
2. locks the shard, so that predictions and feedback of one partition number take turns and see each other;
3. inserts the events whose ids are new, and lets only these count; of those of an erased person it keeps
   tombstones only (storage/erasures.py);
4. pairs feedback with predictions, whichever came first, and moves the windows of the *predictions* by what
   changed (storage/pairing.py);
5. stores dead letters and the row of the ledger, and advances the position.

Only then may the offsets be committed to Kafka. A pair whose two events came in different partitions at the
same moment misses each other; `sweep_orphans` finds it.

An event that the database refuses is found by halving the events, becomes the dead letter `database_refused`,
and all others are applied in the same transaction. VOC of a model that is not configured is kept: a customer
said it.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from itertools import chain, compress
from typing import Any, Final, TypeVar

from msgspec.structs import replace as replace_fields
from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from errata.errors import Behind, Malformed, Stop
from errata.events import Who
from errata.settings import Model
from quality.windows import HOUR_US, MINUTE_US, of_predictions, starts_of
from storage.database import Database, prefer_indexes, savepoint
from storage.erasures import blank_erased, read_erased
from storage.facts import (
    EPOCH,
    AnyFact,
    FeedbackFact,
    PredictionFact,
    VocFact,
    encode_fact,
    feedback_columns,
    prediction_columns,
    times_of,
    voc_columns,
)
from storage.insertion import Columns, insert_columns, insert_new, is_one_of, keep, list_keys, list_seen
from storage.locks import lock_shard
from storage.pairing import COUNTED, list_counted, list_with_feedback, pair
from storage.records import Applied, DeadLetter
from storage.slices import Tagged, assign_slices
from storage.tables import (
    dead_letters,
    erased_windows,
    feedback,
    intake_ledger,
    intake_positions,
    outcomes,
    predictions,
    voc,
)
from storage.tombstones import Kind, bury, find_tombstones, remove_events
from storage.windows import SWEEP_SHARD, Additions, add_to_windows, join_additions

#: How long after its arrival a feedback is looked at by `sweep_orphans`: much longer than any transaction.
SWEEP_US: Final = 86_400_000_000

_SWEEP_AT_ONCE: Final = 5000

#: An event with the offset of its record and its position in the record.
Placed = tuple[int, int, AnyFact]

_FactT = TypeVar("_FactT", PredictionFact, FeedbackFact, VocFact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A fetched run of records of one partition, decoded: the offsets `first_offset` <= … < `next_offset`.

    Every event that was in the records is in `events` or in `dead`. `topic_id` is Kafka's, "" where it has
    none. `begins` says that nothing of the partition was stored when its reader started with this run.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    topic_id: str
    n_records: int
    events: list[Placed]
    dead: list[DeadLetter]
    begins: bool = True


@dataclass(frozen=True, slots=True)
class _Circumstances:
    """What the transaction needs besides the events."""

    models: Mapping[str, Model]
    slice_values_per_hour: int
    shard: int
    now_us: int


def apply(
    db: Database,
    arrival: Arrival,
    *,
    models: Mapping[str, Model],
    slice_values_per_hour: int,
    worker: str,
    now_us: int,
    known_since_us: int = 0,
) -> Applied:
    """Store an arrival and all that follows from it in one transaction; return its row of the ledger.

    What was applied before is left out; if all of it was, every count is 0. Runs of a partition are a chain: what
    the broker no longer has (retention, compaction) lies within a run, never between two (streams/driver.py).
    An event from before `known_since_us` whose id is not known becomes the dead letter `too_late`: its tombstone
    may be forgotten (storage/retention.py).

    Raises Unavailable (nothing was stored: wait and apply the same arrival again), Stop (the topic was created
    anew, so that its offsets mean other records) and Behind (the database was restored: read from where it is).
    """
    if arrival.first_offset >= arrival.next_offset:
        return _account(arrival, n_new=0, dead=[])
    circumstances = _Circumstances(models, slice_values_per_hour, arrival.partition, now_us)
    # What needs no database is done before the transaction, for which others may be waiting.
    known, dead = _refuse_unknown_models(arrival, models)
    ready = _make_ready(known, circumstances)
    with db.write() as c:
        stored_offset = _lock_position(c, arrival, now_us)
        if stored_offset > arrival.first_offset:
            arrival = _leave_out_applied(arrival, stored_offset)
            if arrival.first_offset >= arrival.next_offset:
                return _account(arrival, n_new=0, dead=[])
            known, dead = _refuse_unknown_models(arrival, models)
            ready = _make_ready(known, circumstances)
        lock_shard(c, arrival.partition)
        prefer_indexes(c)
        kept, late = _refuse_late(c, arrival, known, circumstances, known_since_us)
        if late:
            ready = _make_ready(kept, circumstances)
        n_new, refused = _store_or_refuse(c, arrival, kept, ready, circumstances)
        dead = sorted(
            [*arrival.dead, *dead, *late, *refused], key=lambda letter: (letter.offset, letter.position)
        )
        dead = blank_erased(c, dead)
        applied = _account(arrival, n_new=n_new, dead=dead)
        insert_new(c, dead_letters, [_dead_letter_row(letter, now_us) for letter in dead])
        c.execute(intake_ledger.insert().values(**asdict(applied), worker=worker, stored_us=now_us))
        c.execute(
            intake_positions.update()
            .where(_is_position_of(arrival))
            .values(next_offset=arrival.next_offset, stored_us=now_us)
        )
    return applied


def stored_positions(
    db: Database, topic_partitions: Collection[tuple[str, int]]
) -> dict[tuple[str, int], tuple[int, str]]:
    """The next offset to read and the topic's id, for each of the partitions that was ever applied."""
    p = intake_positions.c
    if not topic_partitions:
        return {}
    with db.read() as c:
        listed = list_keys(c, [p.topic, p.partition], sorted(topic_partitions))
        same = and_(p.topic == listed.c.topic, p.partition == listed.c.partition)
        rows = c.execute(select(intake_positions).join(listed, same)).all()
    return {(row.topic, row.partition): (row.next_offset, row.topic_id) for row in rows}


def sweep_orphans(
    db: Database, models: Mapping[str, Model], now_us: int, lookback_us: int | None = SWEEP_US
) -> int:
    """Pair feedback and predictions that are both stored and missed each other; return how many.

    Looks at feedback stored in the last `lookback_us`, or at all of it if None.
    """
    missed = _missed()
    if lookback_us is not None:
        missed = missed.where(feedback.c.stored_us >= now_us - lookback_us)
    with db.read() as c:
        ids = list(c.scalars(missed.distinct().limit(_SWEEP_AT_ONCE)))
    if not ids:
        return 0
    with db.write() as c:
        lock_shard(c, SWEEP_SHARD)
        prefer_indexes(c)
        pairing = pair(c, models, ids)
        add_to_windows(c, SWEEP_SHARD, pairing.additions)
    return pairing.n_outcomes


def count_orphans(c: Connection) -> int:
    """How many predictions have feedback that waits for them: not stored, or not paired by a sweep yet."""
    return c.scalar(select(func.count()).select_from(_orphans().distinct().subquery())) or 0


def _missed() -> Select[str]:
    """Stored predictions with feedback that should count and does not.

    They may have an outcome all the same: of feedback that was there before them, while a later one was just coming.
    """
    p, f, o = predictions.c, feedback.c, outcomes.c
    delay_us = f.time_us - p.time_us
    return (
        select(f.prediction_id)
        .join(predictions, p.id == f.prediction_id)
        .outerjoin(outcomes, o.prediction_id == f.prediction_id)
        .where(f.who_kind == COUNTED)
        .where(
            or_(
                o.prediction_id.is_(None),
                delay_us > o.delay_us,
                and_(delay_us == o.delay_us, f.id > o.feedback_id),
            )
        )
    )


def _orphans() -> Select[str]:
    return (
        select(feedback.c.prediction_id)
        .outerjoin(outcomes, outcomes.c.prediction_id == feedback.c.prediction_id)
        .where(feedback.c.who_kind == COUNTED)
        .where(outcomes.c.prediction_id.is_(None))
    )


# --- The position -------------------------------------------------------------------------------------------


def _lock_position(c: Connection, arrival: Arrival, now_us: int) -> int:
    """The first offset of the partition that is not applied yet; nobody else applies it until we are done."""
    wanted = select(intake_positions).where(_is_position_of(arrival)).with_for_update()
    stored = c.execute(wanted).one_or_none()
    if stored is None and not arrival.begins:
        raise _behind(arrival, "nothing of it is stored")
    if stored is None:
        row = {"topic": arrival.topic, "partition": arrival.partition, "topic_id": arrival.topic_id}
        insert_new(c, intake_positions, [{**row, "next_offset": arrival.first_offset, "stored_us": now_us}])
        stored = c.execute(wanted).one()
    if arrival.topic_id and stored.topic_id and arrival.topic_id != stored.topic_id:
        raise Stop(
            f"{arrival.topic} was created anew: its id is {arrival.topic_id}, but partition "
            f"{arrival.partition} is applied up to offset {stored.next_offset} from {stored.topic_id}. "
            f"If the old records are gone for good, delete its rows in intake_positions and start again"
        )
    if stored.next_offset < arrival.first_offset:
        raise _behind(arrival, f"it is stored up to offset {stored.next_offset} only")
    return int(stored.next_offset)


def _behind(arrival: Arrival, found: str) -> Behind:
    return Behind(
        f"{arrival.topic} {arrival.partition}: {found}, but what came begins at {arrival.first_offset}: "
        "was the database restored?"
    )


def _is_position_of(arrival: Arrival) -> ColumnElement[bool]:
    p = intake_positions.c
    return and_(p.topic == arrival.topic, p.partition == arrival.partition)


def _leave_out_applied(arrival: Arrival, stored_offset: int) -> Arrival:
    """The part of an arrival from `stored_offset` on."""
    if stored_offset <= arrival.first_offset:
        return arrival
    events = [placed for placed in arrival.events if placed[0] >= stored_offset]
    dead = [letter for letter in arrival.dead if letter.offset >= stored_offset]
    return replace(
        arrival,
        first_offset=min(stored_offset, arrival.next_offset),
        n_records=len({placed[0] for placed in events} | {letter.offset for letter in dead}),
        events=events,
        dead=dead,
    )


def _account(arrival: Arrival, *, n_new: int, dead: Sequence[DeadLetter]) -> Applied:
    n = len(arrival.events) + len(arrival.dead)
    return Applied(
        topic=arrival.topic,
        partition=arrival.partition,
        first_offset=arrival.first_offset,
        next_offset=arrival.next_offset,
        n_records=arrival.n_records,
        n=n,
        n_new=n_new,
        n_duplicate=n - n_new - len(dead),
        n_dead=len(dead),
    )


# --- The events ---------------------------------------------------------------------------------------------


def _store_or_refuse(
    c: Connection, arrival: Arrival, events: Sequence[Placed], ready: "_Ready", circumstances: _Circumstances
) -> tuple[int, list[DeadLetter]]:
    """Store events; return the number of new ones, and dead letters for those that the database refuses."""
    if not events:
        return 0, []
    try:
        with savepoint(c):
            return _store(c, ready, circumstances), []
    except Malformed as error:
        if len(events) == 1:
            return 0, [_dead_letter(arrival, events[0], error.reason, error.detail)]
        middle = len(events) // 2
        n_stored, refused = 0, []
        for half in (events[:middle], events[middle:]):
            n, dead = _store_or_refuse(c, arrival, half, _make_ready(half, circumstances), circumstances)
            n_stored += n
            refused += dead
        return n_stored, refused


@dataclass(frozen=True, slots=True)
class _Ready:
    """Events in the order of their ids, of each id the first that came, with their rows as far as they are known."""

    made: list[PredictionFact]
    given: list[FeedbackFact]
    said: list[VocFact]
    #: What the slices of each prediction depend on, which its row still lacks.
    tagged: list[Tagged]
    #: Each of `tagged` once, in the order in which they came: the first values of a tag are the ones that have room.
    came: list[Tagged]
    made_rows: Columns
    given_rows: Columns
    said_rows: Columns

    @property
    def n(self) -> int:
        """How many events."""
        return len(self.made) + len(self.given) + len(self.said)


def _make_ready(events: Sequence[Placed], circumstances: _Circumstances) -> _Ready:
    """Make ready what of storing events needs no database."""
    facts = [fact for _, _, fact in events]
    made = _of_kind(facts, PredictionFact)
    times_us = times_of(made)
    hours_us = starts_of(HOUR_US, times_us)
    tags = [str(fact.data.tags, "utf-8") for fact in made]
    tagged: list[Tagged] = list(zip([fact.data.model for fact in made], hours_us, tags, strict=True))
    came = list(dict.fromkeys(tagged))
    if (order := _order_of(made)) is not None:
        made = [made[place] for place in order]
        times_us = [times_us[place] for place in order]
        tagged = [tagged[place] for place in order]
    given = _in_order(_of_kind(facts, FeedbackFact))
    said = _in_order(_of_kind(facts, VocFact))
    shard, now_us = circumstances.shard, circumstances.now_us
    return _Ready(
        made,
        given,
        said,
        tagged,
        came,
        prediction_columns(made, times_us, shard, now_us),
        feedback_columns(given, shard, now_us),
        voc_columns(said, now_us),
    )


def _store(c: Connection, ready: _Ready, circumstances: _Circumstances) -> int:
    """Store events and what follows from the new ones; return how many are new."""
    shard = circumstances.shard
    new, erased = _list_new(c, ready, circumstances)
    slices = assign_slices(c, new.came, circumstances.slice_values_per_hour)
    made_rows: Columns = {**new.made_rows, "slices": [slices[each] for each in new.tagged]}
    given_rows, said_rows = new.given_rows, new.said_rows
    additions = _count(made_rows)
    if erased:
        made_rows, counted_only = _split(made_rows, erased)
        add_to_windows(c, shard, _count(counted_only), erased_windows)
        _bury_erased(c, new, erased, shard)
        given_rows, said_rows = (_split(rows, erased)[0] for rows in (given_rows, said_rows))
    insert_columns(c, predictions, made_rows)
    insert_columns(c, feedback, given_rows)
    insert_columns(c, voc, said_rows)
    counted = list_counted(given_rows)
    waited_for = list_with_feedback(c, made_rows["id"])
    pairing = pair(c, circumstances.models, sorted(waited_for | counted.keys()), counted)
    add_to_windows(c, shard, join_additions([additions, pairing.additions]))
    return new.n


def _list_new(c: Connection, ready: _Ready, circumstances: _Circumstances) -> tuple[_Ready, frozenset[str]]:
    """The events that are neither stored nor have been, and the ids of those of which nothing else is to be kept."""
    seen = {
        kind: list_seen(c, table, rows["id"])
        for kind, table, rows in (
            ("prediction", predictions, ready.made_rows),
            ("feedback", feedback, ready.given_rows),
            ("voc", voc, ready.said_rows),
        )
    }
    new = _leave_out(ready, seen)
    about = (fact.data.prediction_id for facts in (new.given, new.said) for fact in facts)
    own = (fact.id for facts in (new.made, new.given, new.said) for fact in facts)
    gone = find_tombstones(c, (id_ for id_ in chain(own, about) if id_ is not None))
    if gone:
        new = _leave_out(new, {kind: {id_ for of, id_ in gone if of == kind} for kind in seen})
    erased_us = read_erased(c, _each_person(new.made, new.given, new.said))
    if erased_us:
        given = _without_names(new.given, erased_us)
        rows = feedback_columns(given, circumstances.shard, circumstances.now_us)
        new = replace(new, given=given, given_rows=rows)
    gone_ids = {id_ for (kind, id_), is_erased in gone.items() if kind == "prediction" and is_erased}
    return new, _find_erased(new.made, new.given, new.said, erased_us, gone_ids)


def _leave_out(ready: _Ready, ids: Mapping[str, Collection[str]]) -> _Ready:
    """The events but for those with `ids`, of each kind."""
    if not any(ids.values()):
        return ready
    keep_made, keep_given, keep_said = (
        [id_ not in ids[kind] for id_ in rows["id"]]
        for kind, rows in (
            ("prediction", ready.made_rows),
            ("feedback", ready.given_rows),
            ("voc", ready.said_rows),
        )
    )
    return replace(
        ready,
        made=list(compress(ready.made, keep_made)),
        given=list(compress(ready.given, keep_given)),
        said=list(compress(ready.said, keep_said)),
        tagged=list(compress(ready.tagged, keep_made)),
        made_rows=keep(ready.made_rows, keep_made),
        given_rows=keep(ready.given_rows, keep_given),
        said_rows=keep(ready.said_rows, keep_said),
    )


def _each_person(
    made: Sequence[PredictionFact], given: Sequence[FeedbackFact], said: Sequence[VocFact]
) -> Iterator[str]:
    """Everybody who is named: whose data it is, and who gave feedback."""
    for named in ((fact.data.subject for fact in made), (fact.data.subject for fact in said)):
        yield from (name for name in named if name is not None)
    yield from (fact.data.who.id for fact in given if fact.data.who.id is not None)


def _find_erased(
    made: Sequence[PredictionFact],
    given: Sequence[FeedbackFact],
    said: Sequence[VocFact],
    erased_us: Mapping[str, int],
    gone_ids: set[str],
) -> frozenset[str]:
    """Ids of what an erased subject did before, and of what is about its predictions (`gone_ids` are known ones)."""
    if not erased_us and not gone_ids:
        return frozenset()
    of_subject = {fact.id for fact in made if fact.time_us <= erased_us.get(fact.data.subject or "", -1)}
    of_subject |= {fact.id for fact in said if fact.time_us <= erased_us.get(fact.data.subject or "", -1)}
    predicted = gone_ids | {fact.id for fact in made if fact.id in of_subject}
    about = {fact.id for fact in given if fact.data.prediction_id in predicted}
    return frozenset(of_subject | about | {fact.id for fact in said if fact.data.prediction_id in predicted})


def _without_names(given: list[FeedbackFact], erased_us: Mapping[str, int]) -> list[FeedbackFact]:
    """Feedback, without saying who gave it where that person was erased after."""
    if not erased_us:
        return given
    return [
        replace_fields(fact, data=replace_fields(fact.data, who=Who(kind=fact.data.who.kind)))
        if fact.time_us <= erased_us.get(fact.data.who.id or "", -1)
        else fact
        for fact in given
    ]


def _split(rows: Columns, erased: Collection[str]) -> tuple[Columns, Columns]:
    """Rows that are kept, and those of erased events."""
    are_erased = [id_ in erased for id_ in rows["id"]]
    return keep(rows, [not is_erased for is_erased in are_erased]), keep(rows, are_erased)


def _bury_erased(c: Connection, new: _Ready, erased_ids: Collection[str], shard: int) -> None:
    """Keep tombstones of erased events, and remove what was there about them before they came."""
    groups: list[tuple[Kind, Sequence[AnyFact]]] = [
        ("prediction", new.made),
        ("feedback", new.given),
        ("voc", new.said),
    ]
    for kind, facts in groups:
        erased = [(fact.id, fact.time_us) for fact in facts if fact.id in erased_ids]
        bury(c, kind, erased, is_erased=True, remover=shard)
    ids = [fact.id for fact in new.made if fact.id in erased_ids]
    if ids:
        about_feedback = is_one_of(c, feedback.c.prediction_id, ids)
        remove_events(c, "feedback", about_feedback, is_erased=True, remover=shard)
        remove_events(c, "voc", is_one_of(c, voc.c.prediction_id, ids), is_erased=True, remover=shard)


def _of_kind(facts: Sequence[AnyFact], kind: type[_FactT]) -> list[_FactT]:
    """The facts of one kind, of each id the first, in the order in which they came."""
    chosen = [fact for fact in facts if type(fact) is kind]
    if len({fact.id for fact in chosen}) == len(chosen):
        return chosen
    first: dict[str, _FactT] = {}
    for fact in chosen:
        first.setdefault(fact.id, fact)
    return list(first.values())


def _order_of(facts: Sequence[AnyFact]) -> list[int] | None:
    """The places of facts in the order of their ids, or None where they are in it."""
    ids = [fact.id for fact in facts]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return None if order == list(range(len(ids))) else order


def _in_order(facts: list[_FactT]) -> list[_FactT]:
    return sorted(facts, key=lambda fact: fact.id)


def _count(columns: Columns) -> Additions:
    """What new predictions add, and where."""
    minutes_us = starts_of(MINUTE_US, columns["time_us"])
    places = list(zip(columns["model"], columns["version"], minutes_us, columns["slices"], strict=True))
    return Additions(places, of_predictions(columns["latency_us"]))


def _refuse_unknown_models(
    arrival: Arrival, models: Mapping[str, Model]
) -> tuple[list[Placed], list[DeadLetter]]:
    """The events that can be stored, and dead letters for predictions of models that are not configured."""
    named = {fact.data.model for _, _, fact in arrival.events if type(fact) is PredictionFact}
    unknown = {name: _tell_unknown(name, models) for name in named - models.keys()}
    if not unknown:
        return arrival.events, []
    known: list[Placed] = []
    dead = []
    for placed in arrival.events:
        fact = placed[2]
        if type(fact) is PredictionFact and fact.data.model in unknown:
            dead.append(_dead_letter(arrival, placed, "unknown_model", unknown[fact.data.model]))
        else:
            known.append(placed)
    return known, dead


def _refuse_late(
    c: Connection,
    arrival: Arrival,
    events: list[Placed],
    circumstances: _Circumstances,
    known_since_us: int,
) -> tuple[list[Placed], list[DeadLetter]]:
    """The events that can be stored, and dead letters for those so old that they may have been forgotten."""
    # Times are compared as they are decoded: nearly always none is too old.
    known_since = EPOCH + timedelta(microseconds=known_since_us)
    late = [placed for placed in events if placed[2].time < known_since]
    if not late:
        return events, []
    new, _ = _list_new(c, _make_ready(late, circumstances), circumstances)
    refused = {(type(fact), fact.id) for fact in (*new.made, *new.given, *new.said)}
    detail = (
        "it happened longer ago than retention.tombstones_days and its id is not known: if it is new, "
        "set more days, restart the workers and replay it"
    )
    kept: list[Placed] = []
    dead = []
    for placed in events:
        fact = placed[2]
        if fact.time < known_since and (type(fact), fact.id) in refused:
            dead.append(_dead_letter(arrival, placed, "too_late", detail))
        else:
            kept.append(placed)
    return kept, dead


def _tell_unknown(name: str, models: Mapping[str, Model]) -> str:
    near = difflib.get_close_matches(name, models, n=1, cutoff=0.0)
    hint = f"did you mean {near[0]}? Otherwise add [models.{name}]" if near else "no model is there"
    return f"model {name} is not in the settings: {hint}"


def _dead_letter(arrival: Arrival, placed: Placed, reason: str, detail: str) -> DeadLetter:
    """A dead letter of an event that could be decoded: complete, so that it can be sent again."""
    offset, position, fact = placed
    return DeadLetter(
        topic=arrival.topic,
        partition=arrival.partition,
        offset=offset,
        position=position,
        reason=reason,
        detail=detail,
        raw=encode_fact(fact),
    )


def _dead_letter_row(letter: DeadLetter, now_us: int) -> dict[str, Any]:
    """A dead letter that no database refuses, whatever the sender has put into what the detail cites."""
    detail = letter.detail.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return {**asdict(letter), "detail": detail, "stored_us": now_us}
