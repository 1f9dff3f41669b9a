"""One cell of a campaign: a broker, a database and two workers of their own, their faults, and the judgement."""

import os
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from sqlalchemy import select

from bench.chaos.databases import CellDatabase, PostgresDatabase, PostgresServer, SqliteDatabase
from bench.chaos.naive import read_naive_ids
from bench.chaos.observing import observe
from bench.chaos.oracle import Expected, Partition
from bench.chaos.processes import Start, Starter
from bench.chaos.proxy import Proxy
from bench.chaos.schedule import SLOTS, CellPlan, Life, Trouble, session_seconds
from bench.chaos.traffic import MODEL, NEWCOMER, Record, make_traffic
from errata.command.local_broker import start_local_broker, stop_local_broker, wait_for_broker
from errata.command.session import now_us
from errata.errors import ErrataError
from errata.settings import Broker, Model, Retention, Settings, Task, Worker
from errata.settings import Database as DatabaseSettings
from errata.topics import ensure_topics
from errata.wire import decode_record
from storage.database import Database, open_database
from storage.erasing import erase_missed
from storage.intake import stored_positions, sweep_orphans
from storage.records import FORMING
from storage.retention import remove_old
from storage.tables import intake_ledger, lifelines
from storage.verify import verify

PARTITIONS: Final = 3
_RECORDS_PER_SECOND: Final = 40.0
_TICK_SECONDS: Final = 0.02
_DRAIN_SECONDS: Final = 150.0
_FAILOVER_SECONDS: Final = 60.0
_DAY_US: Final = 86_400_000_000
#: The traffic begins so long ago, and where old predictions are purged, these are older than the others by half a day.
_BEGAN_DAYS: Final = 6.0
_KEPT_DAYS: Final = 5.5
_FOREVER: Final = Life(0.0, float("inf"))
_KNOWN: Final = {MODEL: Model(task=Task(kind="text"))}
_MENDED: Final = {**_KNOWN, NEWCOMER: Model(task=Task(kind="text"))}


@dataclass(slots=True)
class CellReport:
    """What a cell came to."""

    seed: int
    database: str
    is_control: bool = False
    kills: int = 0
    sent: int = 0
    lost: int = 0
    double: int = 0
    wrong_windows: int = 0
    dead_letters: int = 0
    dead_letters_missing: int = 0
    dead_letters_wrong: int = 0
    ledger_wrong: int = 0
    verify_differences: int = 0
    #: The first of them.
    differences: list[str] = field(default_factory=list)
    swept: int = 0
    pauses: int = 0
    restores: int = 0
    erasures: int = 0
    purged: int = 0
    #: Erased persons, and events that should be gone, of which something is there.
    remaining: int = 0
    troubles: dict[str, int] = field(default_factory=dict)
    #: Workers that ended by themselves, by exit status.
    ended: dict[str, int] = field(default_factory=dict)
    failpoints: dict[str, int] = field(default_factory=dict)
    failovers_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    #: What went wrong with the campaign itself.
    error: str = ""
    #: Where the files of a cell are that went wrong.
    kept: str = ""

    def is_right(self) -> bool:
        """Whether the promise was kept."""
        return not any(
            (
                self.lost,
                self.double,
                self.wrong_windows,
                self.dead_letters_missing,
                self.dead_letters_wrong,
                self.ledger_wrong,
                self.verify_differences,
                self.remaining,
                self.error,
            )
        )


class Slot:
    """The place of one worker: a process, and the lives that are still to come."""

    def __init__(self, lives: tuple[Life, ...]) -> None:
        self.lives = list(lives)
        self.pid: int | None = None
        self.life = _FOREVER
        self.lived_seconds = 0.0
        self.is_paused = False
        self.start_at = 0.0

    def next_life(self) -> Life:
        """How the next process lives: for ever, when no life is left."""
        return self.lives[0] if self.lives else _FOREVER

    def kill(self) -> None:
        """Kill the process if it runs."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def run_cell(
    plan: CellPlan, starter: Starter, server: Callable[[], PostgresServer], keep_in: Path
) -> CellReport:
    """Run one cell from nothing to its judgement."""
    directory = Path(tempfile.mkdtemp(prefix="errata-cell-"))
    report = CellReport(plan.seed, plan.database, is_control=plan.is_control)
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            cell = Cell(plan, starter, server, directory, stack, report)
            if plan.is_control:
                cell.run_control()
            else:
                cell.run()
    except Exception as error:
        traceback.print_exc()
        report.error = f"{type(error).__name__}: {error}"
    report.seconds = time.monotonic() - began
    if report.error or report.ended.keys() - {"0"} or not (plan.is_control or report.is_right()):
        report.kept = str(keep_in / f"cell-{plan.seed}.log")
        with suppress(FileNotFoundError):
            shutil.copyfile(directory / "workers.log", report.kept)
    shutil.rmtree(directory, ignore_errors=True)
    return report


class Cell:
    """A cell that runs."""

    def __init__(
        self,
        plan: CellPlan,
        starter: Starter,
        server: Callable[[], PostgresServer],
        directory: Path,
        stack: ExitStack,
        report: CellReport,
    ) -> None:
        self._plan = plan
        self._starter = starter
        self._directory = directory
        self._report = report
        self._slots = [Slot(lives) for lives in plan.lives]
        self._expected = Expected()
        self._broker_proxy, bootstrap = _start_broker(directory, stack)
        self._database: CellDatabase = (
            PostgresDatabase(server(), f"cell_{plan.seed}", forgets_commits=plan.forgets_commits)
            if plan.database == "postgresql"
            else SqliteDatabase(directory)
        )
        stack.callback(self._database.close)
        self._db: Database = open_database(self._database.own_url)
        stack.callback(self._db.close)
        self._settings = Settings(
            broker=Broker(
                bootstrap=bootstrap,
                partitions=PARTITIONS,
                session_timeout_seconds=session_seconds(plan.measures_failover),
                rebalance_timeout_seconds=5.0,
            ),
            database=DatabaseSettings(url=self._database.url),
            worker=Worker(metrics_port=0, batch_records=50, timer_seconds=0.1, drain_seconds=2.0),
            retention=Retention(
                predictions_days=_KEPT_DAYS if plan.purges else 0.0,
                erasures_file=str(directory / "erasures.jsonl"),
            ),
            models=_KNOWN,
        )
        ensure_topics(self._settings.broker)
        start_us = now_us() - round(_BEGAN_DAYS * _DAY_US)
        self._traffic = make_traffic(plan.seed, PARTITIONS, start_us)
        if plan.purges:
            self._expected.purge(start_us + _DAY_US // 2)
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
        stack.callback(self._producer.close, 5)
        stack.callback(self._end_all)
        #: Persons whose erasure was begun.
        self._erased: list[str] = []
        self._pending: list[tuple[Record, Any]] = []
        self._n_sent = 0
        #: Why nothing is sent now: the broker can't be reached.
        self._is_silent = False
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self._began = time.monotonic()
        self._sending_since = self._began
        self._is_stopped = False

    def run(self) -> None:
        """Let everything happen, then drain, mend, and judge."""
        if self._plan.measures_failover:
            self._measure_failovers()
        else:
            self._storm()
        self._settle()
        self._mend()
        self._judge()

    def run_control(self) -> None:
        """The same with naive workers, of which only the ids count."""
        self._storm("naive")
        self._note_acknowledged()
        deadline = time.monotonic() + 90
        n_before, since = -1, time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since < 20:
            self._tend("naive")
            n_now = len(read_naive_ids(self._settings))
            if n_now != n_before:
                n_before, since = n_now, time.monotonic()
            time.sleep(0.2)
        stored = Counter(read_naive_ids(self._settings))
        self._report.sent = self._expected.n_sent()
        self._report.lost, self._report.double = self._expected.judge_naively(stored)

    # --- What happens -----------------------------------------------------------------------------------

    def _storm(self, kind: str = "worker") -> None:
        """Each slot lives its lives, and the troubles come in their time."""
        troubles = list(self._plan.troubles)
        while any(slot.lives for slot in self._slots) or troubles or self._undo:
            self._pass_time(kind, troubles)

    def _pass_time(self, kind: str, troubles: list[Trouble]) -> None:
        elapsed = time.monotonic() - self._began
        while troubles and troubles[0].at_seconds <= elapsed and not self._undo:
            self._begin(troubles.pop(0))
        for at, undo in list(self._undo):
            if at <= time.monotonic():
                self._undo.remove((at, undo))
                undo()
        self._send()
        self._tend(kind)
        time.sleep(_TICK_SECONDS)

    def _tend(self, kind: str = "worker", models: dict[str, Model] = _KNOWN) -> None:
        """Start what has to run, kill what has to die, and note what has ended."""
        for slot in self._slots:
            if slot.pid is None:
                if time.monotonic() >= slot.start_at:
                    self._start(slot, kind, models)
                continue
            status = self._starter.poll(slot.pid)
            if status is not None:
                self._note_end(slot, status)
                continue
            slot.lived_seconds += 0.0 if slot.is_paused else _TICK_SECONDS
            if not slot.is_paused and slot.lived_seconds >= slot.life.kill_after_seconds:
                slot.kill()

    def _start(self, slot: Slot, kind: str, models: dict[str, Model]) -> None:
        slot.life, slot.lived_seconds = slot.next_life(), 0.0
        settings = Settings(
            broker=self._settings.broker,
            database=self._settings.database,
            worker=self._settings.worker,
            retention=self._settings.retention,
            models=models,
        )
        slot.pid = self._starter.start(Start(kind, settings, slot.life, self._directory))

    def _note_end(self, slot: Slot, status: int) -> None:
        slot.pid, slot.is_paused = None, False
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self._report.kills += 1
            if slot.lives:
                slot.lives.pop(0)
        else:
            name = str(os.waitstatus_to_exitcode(status))
            self._report.ended[name] = self._report.ended.get(name, 0) + 1
            slot.start_at = time.monotonic() + 0.5

    def _begin(self, trouble: Trouble) -> None:
        """Let a trouble begin, and note when and how it ends."""
        self._report.troubles[trouble.kind] = self._report.troubles.get(trouble.kind, 0) + 1
        until = time.monotonic() + trouble.lasts_seconds
        database = self._database
        match trouble.kind:
            case "pause":
                self._pause(self._slots[trouble.slot], until)
            case "backup":
                database.back_up()
            case "erase":
                assert trouble.life is not None
                self._erase(trouble.subject, trouble.life)
            case "restore" | "restore while running":
                self._restore(while_running=trouble.kind == "restore while running")
            case "broker reset" | "broker black hole":
                self._cut_off_broker(trouble.kind == "broker black hole", until)
            case "database reset" | "database black hole":
                assert database.proxy is not None
                if trouble.kind == "database reset":
                    database.proxy.reset()
                else:
                    database.proxy.swallow()
                    self._undo.append((until, database.proxy.pass_on))
            case "database stopped":
                database.stop()
                self._undo.append((until, database.start))
            case "backend killed":
                database.kill_backend()
            case "disk full":
                sign = self._directory / "disk full"
                sign.touch()
                self._undo.append((until, sign.unlink))
            case _:
                raise RuntimeError(f"nobody knows the trouble {trouble.kind}")

    def _restore(self, *, while_running: bool) -> None:
        """Put the last backup in the place of the database."""
        if not while_running:
            for slot in self._slots:
                slot.kill()
        self._database.restore()
        self._report.restores += 1
        if self._erased:
            self._do("erase", _FOREVER)

    def _erase(self, subject: str, life: Life) -> None:
        """Erase a person by a process that is killed while it does it, and again until it is done."""
        self._erased.append(subject)
        self._do("erase", life, subject)
        self._do("erase", _FOREVER, subject)
        self._expected.erase(subject)

    def _do(self, kind: str, life: Life, subject: str = "") -> None:
        """Run a verb; where the database went away meanwhile, again."""
        for _ in range(10):
            if self._run_verb(kind, life, _KNOWN, subject) in (0, -signal.SIGKILL):
                return
            self._let_pass(1.0)
        raise RuntimeError(f"{kind} came to no end")

    def _cut_off_broker(self, swallow: bool, until: float) -> None:
        """Send nothing meanwhile; before, the broker acknowledges everything, so that no retry repeats a record."""
        self._note_acknowledged()
        self._is_silent = True
        if swallow:
            self._broker_proxy.swallow()
        else:
            self._broker_proxy.reset()
        self._undo.append((until, self._be_loud))

    def _pause(self, slot: Slot, until: float) -> None:
        """Stop a worker for longer than its session lasts, and let it go on as if nothing had happened."""
        pid = slot.pid
        if pid is None or slot.is_paused:
            return
        os.kill(pid, signal.SIGSTOP)
        slot.is_paused = True
        self._report.pauses += 1

        def go_on() -> None:
            if slot.pid == pid:
                slot.is_paused = False
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        self._undo.append((until, go_on))

    def _be_loud(self) -> None:
        self._broker_proxy.pass_on()
        self._is_silent = False

    # --- Sending ----------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Keep up with the rate."""
        if self._is_silent or self._is_stopped:
            self._sending_since = time.monotonic() - self._n_sent / _RECORDS_PER_SECOND
            return
        due = int((time.monotonic() - self._sending_since) * _RECORDS_PER_SECOND)
        while self._n_sent < due:
            record = next(self._traffic)
            sent = self._producer.send(
                record.topic,
                key=record.key,
                value=record.value,
                headers=record.headers,
                partition=record.partition,
            )
            self._pending.append((record, sent))
            self._n_sent += 1

    def _note_acknowledged(self) -> None:
        """Wait for the broker's word on everything that was sent, and tell the oracle."""
        self._producer.flush(60)
        for record, sent in self._pending:
            offset = sent.get(60).offset
            self._expected.add((record.topic, record.partition), offset, record.holds)
        self._pending.clear()

    # --- Failover ---------------------------------------------------------------------------------------

    def _measure_failovers(self) -> None:
        """Kill the workers in turn, each after both have stored something, and time how the other takes over."""
        turn = 0
        while any(slot.lives for slot in self._slots):
            slot, other = self._slots[turn % SLOTS], self._slots[(turn + 1) % SLOTS]
            turn += 1
            if not slot.lives:
                continue
            life = slot.lives[0]
            since = now_us()
            self._wait(lambda: all(self._has_stored(each, since) for each in self._slots), "both workers")  # noqa: B023
            shared_us = now_us()
            self._let_pass(life.kill_after_seconds)
            # What it stored before the other one joined may be the other one's by now.
            owned = self._wait(lambda: self._last_stored_by(slot, shared_us), "the victim")  # noqa: B023
            pid, killed_us = slot.pid, now_us()
            slot.start_at = float("inf")
            slot.kill()
            self._wait(lambda: slot.pid is None, "the death")  # noqa: B023
            first_us = self._wait(lambda: self._taken_over(other, owned, killed_us), "a take-over")  # noqa: B023
            if pid is not None:
                self._report.failovers_seconds.append((first_us - killed_us) / 1e6)
            slot.start_at = 0.0

    def _wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + _FAILOVER_SECONDS
        while not (met := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {_FAILOVER_SECONDS:.0f} s in vain for {what}")
            for _ in range(5):
                self._let_pass(_TICK_SECONDS)
        return met

    def _let_pass(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._send()
            self._tend_immortal()
            time.sleep(_TICK_SECONDS)

    def _tend_immortal(self) -> None:
        for slot in self._slots:
            slot.lived_seconds = 0.0
        self._tend()

    def _has_stored(self, slot: Slot, since_us: int) -> bool:
        return bool(self._rows_of(slot, since_us))

    def _last_stored_by(self, slot: Slot, since_us: int) -> set[Partition]:
        """The partitions in which this worker was the last to store something since then."""
        ledger = intake_ledger.c
        last: dict[Partition, str] = {}
        with self._db.read() as c:
            recent = ledger.stored_us > since_us
            for row in c.execute(select(intake_ledger).where(recent).order_by(ledger.first_offset)):
                last[row.topic, row.partition] = row.worker
        return {partition for partition, worker in last.items() if worker.endswith(f"-{slot.pid}")}

    def _taken_over(self, slot: Slot, partitions: set[Partition], since_us: int) -> int | None:
        times = [
            row.stored_us for row in self._rows_of(slot, since_us) if (row.topic, row.partition) in partitions
        ]
        return min(times, default=None)

    def _rows_of(self, slot: Slot, since_us: int) -> list[Any]:
        if slot.pid is None:
            return []
        ledger = intake_ledger.c
        with self._db.read() as c:
            recent = select(intake_ledger).where(ledger.stored_us > since_us)
            return [row for row in c.execute(recent) if row.worker.endswith(f"-{slot.pid}")]

    # --- The end ----------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Send no more, and let the workers store all that was sent."""
        self._is_stopped = True
        self._note_acknowledged()
        self._drain(_KNOWN)

    def _drain(self, models: dict[str, Model]) -> None:
        deadline = time.monotonic() + _DRAIN_SECONDS
        ends = self._expected.ends
        while True:
            with suppress(ErrataError):
                stored = stored_positions(self._db, list(ends))
                if all(stored.get(partition, (0, ""))[0] >= end for partition, end in ends.items()):
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"not everything was stored within {_DRAIN_SECONDS:.0f} s; "
                    f"workers are in generations {self._read_generations()}"
                )
            for _ in range(10):
                self._tend("worker", models)
                time.sleep(_TICK_SECONDS)

    def _read_generations(self) -> dict[str, int | None]:
        """Of the group, as each worker last told the others; FORMING (-1) for all: the broker forms no group."""
        with self._db.read() as c:
            return {row.holder: row.generation for row in c.execute(select(lifelines))}

    def _mend(self) -> None:
        """Make the newcomer known, and send its dead letters again by verbs that are killed while they do it."""
        for slot in self._slots:
            self._renew(slot)
        before = dict(self._expected.ends)
        mended = self._expected.mend()
        for life in [*self._plan.verb_lives, _FOREVER]:
            kind = "verify" if life.failpoint == "verify: in snapshot" else "replay"
            status = self._run_verb(kind, life, _MENDED)
            if status not in (0, -signal.SIGKILL):
                raise RuntimeError(f"{kind} ended with {status}")
        for partition, offset, event_ids in self._read_log(before):
            holds = [mended[event_id] for event_id in event_ids]
            self._expected.add(partition, offset, holds, (MODEL, NEWCOMER))
        self._drain(_MENDED)

    def _renew(self, slot: Slot) -> None:
        """End a worker by SIGTERM, and let one take its place that knows the newcomer.

        Out of a group that is formed: one whose leader leaves while it forms has none any more with this broker (Tansu
        0.6.0), and those who join it wait for one for ever.
        """
        self._await_formed()
        pid = slot.pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        while slot.pid == pid:
            self._tend("worker", _MENDED)
            time.sleep(_TICK_SECONDS)

    def _await_formed(self) -> None:
        """Wait until all workers say by their lifelines that they are in one generation of the group."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while not self._is_formed():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the workers formed no group within {_DRAIN_SECONDS:.0f} s")
            for _ in range(10):
                self._tend("worker", _MENDED)
                time.sleep(_TICK_SECONDS)

    def _is_formed(self) -> bool:
        with self._db.read() as c:
            told = {row.holder.rpartition("-")[2]: row.generation for row in c.execute(select(lifelines))}
        generations = {told.get(str(slot.pid)) for slot in self._slots}
        return len(generations) == 1 and not generations & {None, FORMING}

    def _run_verb(self, kind: str, life: Life, models: dict[str, Model], subject: str = "") -> int:
        """Run a verb of the command beside the workers; return its exit status."""
        settings = Settings(
            broker=self._settings.broker,
            database=self._settings.database,
            retention=self._settings.retention,
            models=models,
        )
        pid = self._starter.start(Start(kind, settings, life, self._directory, subject))
        deadline = time.monotonic() + 60
        while (status := self._starter.poll(pid)) is None:
            self._tend("worker", models)
            time.sleep(_TICK_SECONDS)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
        self._report.kills += os.WIFSIGNALED(status)
        return os.waitstatus_to_exitcode(status)

    def _read_log(self, since: dict[Partition, int]) -> Iterator[tuple[Partition, int, list[str]]]:
        """What the broker has from these offsets on: the ids of the events in each record."""
        consumer = KafkaConsumer(
            bootstrap_servers=self._settings.broker.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            consumer.assign([TopicPartition(*partition) for partition in since])
            for partition, offset in since.items():
                consumer.seek(TopicPartition(*partition), offset)
            quiet_since = time.monotonic()
            while time.monotonic() - quiet_since < 1.5:
                for records in consumer.poll(timeout_ms=200).values():
                    quiet_since = time.monotonic()
                    for record in records:
                        decoded = decode_record(record.headers, record.value)
                        yield (
                            (record.topic, record.partition),
                            record.offset,
                            [event.id for _, event in decoded.events],
                        )
        finally:
            consumer.close()

    def _judge(self) -> None:
        # A worker whose clock is ahead holds the lease of the sweep for longer than the cell lasts.
        self._report.swept = sweep_orphans(self._db, _MENDED, now_us(), None)
        remove_old(self._db, self._settings.retention, now_us())
        erase_missed(self._db)
        found = verify(self._db, _MENDED).differences
        judged = self._expected.judge(observe(self._db))
        report = self._report
        report.verify_differences, report.differences = len(found), found[:20]
        report.sent, report.lost, report.double = judged.sent, judged.lost, judged.double
        report.wrong_windows = judged.wrong_windows
        report.dead_letters = self._expected.n_dead()
        report.dead_letters_missing = judged.dead_letters_missing
        report.dead_letters_wrong = judged.dead_letters_wrong
        report.ledger_wrong = judged.ledger_wrong
        report.erasures, report.remaining = len(self._erased), judged.remaining
        report.purged = self._expected.n_purged()
        hits = self._directory / "hits"
        report.failpoints = dict(Counter(hits.read_text().splitlines())) if hits.exists() else {}

    def _end_all(self) -> None:
        for slot in self._slots:
            slot.kill()
        deadline = time.monotonic() + 10
        while any(slot.pid is not None for slot in self._slots) and time.monotonic() < deadline:
            for slot in self._slots:
                if slot.pid is not None and self._starter.poll(slot.pid) is not None:
                    slot.pid = None
            time.sleep(_TICK_SECONDS)


def _start_broker(directory: Path, stack: ExitStack) -> tuple[Proxy, str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    proxy = Proxy(port)
    stack.callback(proxy.close)
    process = start_local_broker(port, directory / "broker.log", proxy.port)
    stack.callback(stop_local_broker, process)
    bootstrap = f"127.0.0.1:{proxy.port}"
    wait_for_broker(bootstrap, timeout_seconds=20)
    return proxy, bootstrap
