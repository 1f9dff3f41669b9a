"""The real consumer, decoding and transaction through everything that happens to them, beside a plain count.

`make chaos-model` runs a long campaign of it (tests/end_to_end/campaign.py).
"""

import asyncio
import atexit
import sqlite3
import tempfile
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import event

from bench.chaos.observing import observe
from bench.chaos.oracle import Expected
from bench.chaos.traffic import MODEL, Held
from errata.errors import Behind, Stop
from errata.events import Event
from errata.settings import Model, Settings, Task, Worker
from errata.topics import FEEDBACK, PREDICTIONS
from errata.wire import batch_headers, encode_event, join_batch
from storage.database import Database, migrate, open_database
from storage.intake import apply, stored_positions, sweep_orphans
from storage.verify import verify
from streams.decoding import decode_run
from streams.driver import FetchedRun, Positions, RunMessage, choose_positions
from streams.ledger import Partition
from tests.builders import MINUTE_US, SECOND_US, START_US, a_feedback_event, a_prediction_event
from tests.streams.fake_kafka import Broker, Process, Record

MODELS = {MODEL: Model(task=Task(kind="text"))}
TOPICS = (PREDICTIONS, FEEDBACK)
#: Records of a run: few, so that a history has many runs.
BATCH_RECORDS = 2

PREDICTED = [
    a_prediction_event(
        number, output=output, version=version, time_us=START_US + minute * MINUTE_US, tags=tags
    )
    for number, (output, version, minute, tags) in enumerate(
        [("4111", "1", 0, {}), ("4112", "1", 0, {"device": "ios"}), ("", "2", 1, {"device": "ios"})], start=1
    )
]
#: Edits, edits again at the same time and later, reverts, what can't be measured; that of 4 waits for ever.
GIVEN = [
    a_feedback_event(
        1000 + number,
        prediction=1 + number % 4,
        action=action,
        corrected=corrected,
        time_us=START_US + (number // 4 % 3) * SECOND_US,
        display_ms=display_ms,
        who=who,
    )
    for number, (action, corrected, display_ms, who) in enumerate(
        [
            ("edit", "4111", 120.0, "user"),
            ("edit", "4112", None, "user"),
            ("reject", None, 480.0, "user"),
            ("accept", None, 120.0, "user"),
            ("edit", "411", 120.0, "user"),
            ("edit", {"not": "a text"}, None, "user"),
            ("edit", "", 120.0, "annotator"),
            ("edit", "9", None, "user"),
            ("accept", None, None, "user"),
            ("edit", "41", 77.0, "user"),
            ("edit", "7", 120.0, "user"),
        ]
    )
]
#: What a record may hold: events, and the reason of what is malformed with its bytes.
MALFORMED = {"wrong_type": b"null", "missing_attribute": b"{}", "broken_json": b"tru"}
HOLDINGS: list[Held] = [*PREDICTED, *GIVEN, *MALFORMED, a_prediction_event(9, model="newcomer")]


#: The topic, the partition, the offsets left out before it, and what it holds.
RECORDS = st.tuples(
    st.integers(0, 1),
    st.integers(0, 2),
    st.sampled_from([0, 0, 0, 1, 3]),
    st.lists(st.sampled_from(range(len(HOLDINGS))), min_size=1, max_size=4),
)
CHOICES = st.lists(st.integers(0, 5), min_size=1, max_size=6)


class Log(Broker):
    """The log with the values of its records, and what they hold."""

    def __init__(self, partitions: Collection[Partition]) -> None:
        super().__init__(partitions)
        self.held: dict[tuple[Partition, int], list[Held]] = {}
        self.topic_id = "the first"

    def hold(self, partition: Partition, gap: int, held: list[Held]) -> None:
        """Append a record after a gap."""
        self.append(partition, gap, 1)
        self.held[partition, self.offsets[partition][-1]] = held

    def read(self, partition: Partition, offset: int) -> Record:
        parts = [
            encode_event(held) if isinstance(held, Event) else MALFORMED[held]
            for held in self.held[partition, offset]
        ]
        return Record(*partition, offset, value=join_batch(parts), headers=tuple(batch_headers()))


class Storing:
    """In place of streams.agents.Storing: tells the positions of the real database, in the thread of the test."""

    def __init__(self, db: Database, log: Log) -> None:
        self._db = db
        self._log = log

    async def read_positions(self, partitions: Collection[Partition]) -> Positions:
        return choose_positions(
            partitions, stored_positions(self._db, partitions), dict.fromkeys(TOPICS, self._log.topic_id)
        )

    async def read_paused(self) -> frozenset[Partition]:
        return frozenset()


class Disk:
    """A database file and its backup, for one history after another, as SQLAlchemy compiles anew for a new engine."""

    def __init__(self, directory: Path) -> None:
        file = directory / "errata.db"
        migrate(f"sqlite:///{file}")
        self.db = open_quickly(file)
        self._writing, self._reading = sqlite3.connect(file), sqlite3.connect(file)
        self._writing.execute("PRAGMA synchronous=OFF")
        self._empty, self._copy = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
        self._writing.backup(self._empty)

    def clear(self) -> None:
        self._empty.backup(self._writing)

    def back_up(self) -> None:
        self._writing.backup(self._copy)

    def restore(self) -> None:
        self._copy.backup(self._writing)

    def version(self) -> int:
        """Another number whenever anything was written since it was read."""
        ((number,),) = self._reading.execute("PRAGMA data_version")
        return number

    def read_positions(self) -> dict[Partition, int]:
        """The next offset of each partition, read without the product."""
        rows = self._reading.execute("SELECT topic, partition, next_offset FROM intake_positions")
        return {(topic, partition): offset for topic, partition, offset in rows}


@cache
def use_disk() -> Disk:
    """The disk of this process, made once: histories take turns."""
    directory = tempfile.TemporaryDirectory(prefix="errata-history-")
    atexit.register(directory.cleanup)
    return Disk(Path(directory.name))


class IntakeHistory(RuleBasedStateMachine):
    """Two workers with one database."""

    #: Over all histories of this process.
    n_steps = 0

    def __init__(self):
        super().__init__()
        self.disk = use_disk()
        self.disk.clear()
        self.db = self.disk.db
        #: The version of the database that was checked last.
        self.checked: int | None = None
        self.has_copy = self.was_restored = False
        #: Whether a run was given up, which only happens before partitions are given up.
        self.gave_up = False
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.partitions = [(topic, number) for topic in TOPICS for number in range(2)]
        self.log = Log([(topic, number) for topic in TOPICS for number in range(3)])
        self.processes: list[Process] = [self.new_process(), self.new_process()]
        #: For each process what it handed out, and what is stored but not finished; and of those that are gone,
        #: what they had in hand.
        self.handed_out: list[list[RunMessage]] = [[], []]
        self.stored: list[list[RunMessage]] = [[], []]
        self.late: list[FetchedRun] = []
        self.share(dict.fromkeys(self.partitions, 0))

    def new_process(self) -> Process:
        process = Process(
            self.log, Storing(self.db, self.log), Settings(worker=Worker(batch_records=BATCH_RECORDS))
        )
        process.thread.records_per_fetch = BATCH_RECORDS
        return process

    def share(self, owners: dict[Partition, int]) -> None:
        """Give each partition to its owner; the others give it up first."""
        self.owners, self.gave_up = owners, False
        for number, process in enumerate(self.processes):
            self.let_go(number)
            owned = [each for each, owner in owners.items() if owner == number]
            self.loop.run_until_complete(process.assign(owned))

    def let_go(self, number: int) -> None:
        """What agents have in hand is stored late, the oldest run of each topic; what waits is forgotten."""
        in_hand = {message.topic: message.run for message in reversed(self.handed_out[number])}
        self.late += in_hand.values()
        self.handed_out[number], self.stored[number] = [], []

    def store_run(self, run: FetchedRun) -> None:
        apply(
            self.db,
            decode_run(run, START_US),
            models=MODELS,
            slice_values_per_hour=200,
            worker="worker",
            now_us=START_US,
        )

    # Rules.

    @initialize(records=st.lists(RECORDS, min_size=4, max_size=12))
    def produce_first(self, records):
        self.produce(records)

    @rule(records=st.lists(RECORDS, min_size=1, max_size=8))
    def produce(self, records):
        for topic, number, gap, held in records:
            partition = (TOPICS[topic], number)
            if partition in self.partitions:
                self.log.hold(partition, gap, [HOLDINGS[each] for each in held])

    @rule()
    def fetch(self):
        for number, process in enumerate(self.processes):
            self.handed_out[number] += self.loop.run_until_complete(process.fetch())

    @rule(number=st.integers(0, 1))
    def cancel_a_fetch_whose_thread_goes_on(self, number):
        thread = self.processes[number].thread
        self.loop.run_until_complete(thread.getmany(thread.assignment(), 0))

    @precondition(lambda self: any(self.handed_out))
    @rule(choices=CHOICES)
    def store(self, choices):
        """Agents take the next runs of their partitions."""
        for choice in choices:
            first = {
                (message.topic, message.partition): (number, message)
                for number, waiting in enumerate(self.handed_out)
                for message in reversed(waiting)
            }
            if first:
                number, message = first[sorted(first)[choice % len(first)]]
                self.handed_out[number].remove(message)
                self.store_message(number, message)

    @rule(choices=CHOICES)
    def fetch_and_store(self, choices):
        self.fetch()
        self.store(choices)

    def store_message(self, number, message):
        try:
            self.store_run(message.run)
        except Behind:
            self.processes[number].consumer.run_behind(message)
        else:
            self.stored[number].append(message)

    @precondition(lambda self: any(self.handed_out))
    @rule(choices=CHOICES)
    def give_up(self, choices):
        """The database was away for the whole time of draining."""
        self.gave_up = True
        for number, waiting in enumerate(self.handed_out):
            for choice in choices[:2]:
                if waiting:
                    self.processes[number].consumer.run_given_up(waiting.pop(choice % len(waiting)))

    @rule(choices=CHOICES, fail=st.booleans())
    def finish_some_and_commit(self, choices, fail):
        for number, process in enumerate(self.processes):
            for choice in choices:
                if self.stored[number]:
                    process.consumer.run_stored(self.stored[number].pop(choice % len(self.stored[number])))
            process.thread.commits_fail = fail
            self.loop.run_until_complete(process.consumer.commit())

    @rule(owners=st.lists(st.integers(0, 1), min_size=6, max_size=6))
    def rebalance(self, owners):
        self.share(dict(zip(self.partitions, owners, strict=False)))

    @rule(number=st.integers(0, 1), is_paused=st.booleans())
    def kill_or_pause(self, number, is_paused):
        """Its partitions go to the other one; what it has in hand comes late, if it was only paused."""
        if is_paused:
            self.let_go(number)
        self.handed_out[number], self.stored[number] = [], []
        self.processes[number] = self.new_process()
        self.share(dict.fromkeys(self.partitions, 1 - number))

    @precondition(lambda self: self.late)
    @rule(choices=CHOICES)
    def zombies_store(self, choices):
        """After whoever owns the partition now, or before."""
        for choice in choices:
            if self.late:
                with suppress(Behind):  # It asks to read again what is not its own any more.
                    self.store_run(self.late.pop(choice % len(self.late)))

    @rule()
    def back_up(self):
        self.disk.back_up()
        self.has_copy = True

    @precondition(lambda self: self.has_copy)
    @rule()
    def restore(self):
        """While the workers run."""
        self.was_restored = True
        self.disk.restore()

    @rule()
    def raise_the_partition_count(self):
        if len(self.partitions) == 4:
            self.partitions += [(topic, 2) for topic in TOPICS]
            self.share({each: self.owners.get(each, 0) for each in self.partitions})

    @rule(number=st.integers(0, 1))
    def start_while_a_topic_is_created_anew(self, number):
        """A worker refuses it, as long as anything of it is stored."""
        if not stored_positions(self.db, self.partitions):
            return
        self.log.topic_id = "another"
        try:
            stranger = self.new_process()
            self.loop.run_until_complete(stranger.assign(self.partitions))
            try:
                self.loop.run_until_complete(stranger.fetch())
            except Stop as error:
                assert "created again" in str(error)  # noqa: PT017
            else:
                raise AssertionError("a topic that was created anew was read")
        finally:
            self.log.topic_id = "the first"

    @rule()
    def sweep(self):
        assert sweep_orphans(self.db, MODELS, START_US) == 0, "nothing can miss each other with one writer"

    @rule()
    def audit(self):
        self.check()

    # What must hold.

    def check(self) -> None:
        """The database holds what a plain count of the records below its positions says, and nothing else.

        Records only come above the positions, so that a database that was right stays so until it is written to.
        """
        version, positions = self.disk.version(), self.disk.read_positions()
        if version == self.checked:
            return
        expected = Expected()
        for (partition, offset), held in self.log.held.items():
            if offset < positions.get(partition, 0):
                expected.add(partition, offset, held)
        observed = observe(self.db)
        # A run ends with a record, and the count does too.
        judgement = expected.judge(observed)
        assert judgement.is_right(), (judgement, expected.windows(), observed)
        self.checked = version

    @invariant()
    def everything_below_a_committed_offset_was_stored(self):
        """Until the database is restored, which takes back what was stored; then Kafka follows."""
        type(self).n_steps += 1
        if self.was_restored or not self.log.committed:
            return
        stored = self.disk.read_positions()
        for partition, committed in self.log.committed.items():
            assert committed <= stored[partition]

    def teardown(self):
        """Progress: left alone, everything is stored, committed and right."""
        try:
            self.end_well()
        finally:
            self.loop.close()
            asyncio.set_event_loop(None)

    def end_well(self):
        self.check()
        if self.gave_up:
            self.share(dict.fromkeys(self.partitions, 0))
        for _ in range(200):
            for process in self.processes:
                process.consumer._quiet_since -= 60
            self.fetch()
            for number, process in enumerate(self.processes):
                while self.handed_out[number]:
                    self.store_message(number, self.handed_out[number].pop(0))
                while self.stored[number]:
                    process.consumer.run_stored(self.stored[number].pop())
            if self.is_all_stored():
                break
        assert self.is_all_stored()
        self.check()
        assert verify(self.db, MODELS).differences == []
        for process in self.processes:
            process.thread.commits_fail = False
            self.loop.run_until_complete(process.consumer.commit())
        for partition, committed in self.log.committed.items():
            assert committed <= self.log.offsets[partition][-1] + 1

    def is_all_stored(self) -> bool:
        positions = self.disk.read_positions()
        return all(
            positions.get(partition, 0) == offsets[-1] + 1
            for partition, offsets in self.log.offsets.items()
            if offsets
        )


def open_quickly(file: Path) -> Database:
    """Open a file without waiting for the disk: nobody cuts the power here."""
    db = open_database(f"sqlite:///{file}")

    def hurry(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(db._engine, "connect", hurry)
    return db
