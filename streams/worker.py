"""The stream worker as a process: wait for the broker, run the app, end in time."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import faust

from errata.errors import Unavailable
from errata.settings import Settings
from errata.settings import Worker as WorkerSettings
from errata.topics import ensure_topics, read_topic_ids, remove_members
from streams.agents import EXIT_BROKEN, PausedPartitions, StoredPositions, StoreRun, Storing
from streams.app import create_app
from streams.death_watch import LOOK_SECONDS, DeathWatch, Lifelines
from streams.driver import check_private_names
from streams.metrics import Health, Metrics, MetricsServer
from streams.progress import Progress, Watchdog
from streams.timers import Timer, Timers

logger = logging.getLogger(__name__)

#: After being asked to end, the process is gone at the latest after this time.
_END_SECONDS = 25.0
#: When nothing is left to store, taking leave of Kafka may take this long; a broker that is gone never answers.
_FAREWELL_SECONDS = 4.0
#: More than a run of records makes at once.
_OBJECTS_BETWEEN_COLLECTIONS = 200_000


def run_worker(
    settings: Settings,
    *,
    store_run: StoreRun,
    stored_positions: StoredPositions,
    paused_partitions: PausedPartitions,
    timers: Sequence[Timer],
    slow_timers: Sequence[Timer] = (),
    lifelines: Lifelines,
    metrics: Metrics,
    storing_threads: int,
    end_process: Callable[[int], Any] = os._exit,
) -> int:
    """Store events until SIGTERM or SIGINT; return the exit status.

    `store_run` is called in `storing_threads` threads, with one run of a partition at a time, unless one that hung
    was given up; it commits the run together with the partition's position, raises Unavailable to be called again,
    and anything else to end the process. It returns whether its partition is to be paused; `paused_partitions`
    says what is not to be read. `stored_positions` and `paused_partitions` are called in the same threads. `timers`
    run in a thread of their own, and so do `slow_timers`, which wait for what is not Errata's. By `lifelines` workers
    see each other die.
    `metrics` are served. Must be called in the main thread, which handles signals. Raises Stop when the worker can't
    start at all.
    """
    check_private_names()
    _collect_garbage_seldom()
    progress, reads = Progress(), Progress()
    stalled_seconds = settings.worker.watchdog_seconds
    with ExitStack() as running:
        if settings.worker.metrics_port > 0:
            server = MetricsServer(
                settings.worker.metrics_port,
                metrics.registry,
                partial(_tell_health, settings.worker, metrics, progress, reads),
                settings.worker.metrics_host,
            )
            server.start()
            running.callback(server.stop)
        if not _wait_for_topics(settings):
            return 0
        storing = Storing(
            store_run,
            stored_positions,
            paused_partitions,
            partial(read_topic_ids, settings.broker),
            n_threads=storing_threads,
            drain_seconds=settings.worker.drain_seconds,
            metrics=metrics,
            progress=progress,
            end_process=end_process,
        )
        running.callback(storing.close)
        watchdog = Watchdog(progress, stalled_seconds, end_process)
        watchdog.start()
        running.callback(watchdog.stop)
        for name, some in (("timers", timers), ("slow timers", slow_timers)):
            clockwork = Timers(some, metrics, name=name)
            clockwork.start()
            running.callback(clockwork.stop, settings.worker.drain_seconds)
        reads.beat()
        return _run_app(settings, storing, lifelines, metrics, progress, reads, end_process)


def _tell_health(worker: WorkerSettings, metrics: Metrics, progress: Progress, reads: Progress) -> Health:
    """Whether a worker does well, what is wrong with it in a sentence, and which partitions are paused."""
    trouble = None
    if (silent_seconds := progress.silent_seconds()) > worker.watchdog_seconds:
        trouble = f"no progress for {silent_seconds:.0f} s"
    elif (silent_seconds := reads.silent_seconds()) > worker.reads_stalled_seconds:
        trouble = f"reads stall: the broker has not answered to a fetch for {silent_seconds:.0f} s"
    return Health(trouble, metrics.remarks)


def _collect_garbage_seldom() -> None:
    """Spare Python its search for cycles, of which storing makes none.

    A run of records makes some hundred thousand objects that all go when it is stored. Looking through them
    after every 700, as is Python's default, took a fifth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 50)


def _wait_for_topics(settings: Settings) -> bool:
    """Create missing topics as soon as the broker answers. False if asked to end before it did."""
    with _asked_to_end() as asked:
        while not asked.is_set():
            try:
                ensure_topics(settings.broker, timeout_seconds=2.0)
                return not asked.is_set()
            except Unavailable as error:
                logger.warning("waiting for the broker: %s", error)
                asked.wait(1.0)
    return False


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Within, SIGTERM and SIGINT set the event."""
    asked = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_app(
    settings: Settings,
    storing: Storing,
    lifelines: Lifelines,
    metrics: Metrics,
    progress: Progress,
    reads: Progress,
    end_process: Callable[[int], Any],
) -> int:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app = create_app(settings, storing, metrics, progress, reads)
    watch = DeathWatch(
        lifelines,
        app.transport.membership,
        partial(remove_members, settings.broker, settings.worker.group, reason="its process is dead"),
        metrics,
    )
    # In a thread of its own: where other timers take their time, a lifeline that was lost would be taken for a death.
    clockwork = Timers([Timer("lifelines", LOOK_SECONDS, watch.look)], metrics, name="death watch")
    worker = _Worker(
        app,
        loop=loop,
        quiet=True,
        override_logging=False,
        redirect_stdouts=False,
        idle_seconds=storing.idle_seconds,
        end_process=end_process,
    )
    worker.spinner = None  # It would write to a terminal that is not its own.
    with _asked_to_end() as asked:
        watch.await_burials(asked.wait)
    clockwork.start()
    try:
        if not asked.is_set():
            worker.execute_from_commandline()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else EXIT_BROKEN
    finally:
        clockwork.stop(settings.worker.drain_seconds)
        lifelines.end()
    return 0


class _Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, which ends in time when asked to."""

    def __init__(
        self,
        *args: Any,
        idle_seconds: Callable[[], float],
        end_process: Callable[[int], Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._idle_seconds = idle_seconds
        self._end_process = end_process

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        super()._schedule_shutdown(number)
        threading.Thread(target=self._end_in_time, name="ending", daemon=True).start()

    def _end_in_time(self) -> None:
        asked = time.monotonic()
        while (waited := time.monotonic() - asked) < _END_SECONDS:
            if min(waited, self._idle_seconds()) >= _FAREWELL_SECONDS:
                logger.warning("all is stored, but Kafka takes no leave of us: ending without it")
                self._end(0)
            time.sleep(0.1)
        logger.critical("still not ended %.0f s after being asked to: ending at once", _END_SECONDS)
        self._end(EXIT_BROKEN)

    def _end(self, status: int) -> None:
        logging.shutdown()
        sys.stderr.flush()
        self._end_process(status)
