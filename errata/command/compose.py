"""Puts worker and intake together from parts that know nothing of each other."""

import secrets
import time
from collections.abc import Callable, Sequence

from errata.command.session import holder_name, now_us
from errata.settings import Settings


def run_composed_worker(settings: Settings, hide: Callable[[str], str]) -> int:
    """Run a worker that stores events, watches, orders batches, sends signals and alerts, and removes the old.

    `hide` takes secrets out of what a channel of alerts answers.
    """
    from errata.identity import new_id
    from labeling.orders import collect, order_audits
    from storage.database import open_database
    from storage.erasing import erase_missed
    from storage.intake import SWEEP_US, apply, stored_positions, sweep_orphans
    from storage.leases import take_lease
    from storage.lifelines import Lifelines
    from storage.overview import read_overview
    from storage.pauses import list_paused, pause_flooded
    from storage.retention import known_since, remove_old
    from storage.verify_rounds import verify_next
    from streams.alerts import AlertSender
    from streams.channels import send
    from streams.decoding import decode_run
    from streams.driver import FetchedRun
    from streams.flood import Floods
    from streams.metrics import Metrics
    from streams.outbox import OutboxSender
    from streams.timers import Timer
    from streams.verifying import Verifying
    from streams.watching import watch
    from streams.watching_data import watch_data
    from streams.worker import run_worker

    database = open_database(settings.database.url)
    holder = holder_name()
    sender = OutboxSender(settings.broker)
    alert_sender = AlertSender(settings.alerts, send, hide)
    metrics = Metrics()
    worker = settings.worker
    floods = Floods(
        share=worker.flood_share, dead_letters=worker.flood_dead_letters, seconds=worker.flood_seconds
    )

    def store_run(run: FetchedRun) -> bool:
        arrival = decode_run(run, now_us())
        applied = apply(
            database,
            arrival,
            models=settings.models,
            slice_values_per_hour=worker.slice_values_per_hour,
            worker=holder,
            now_us=now_us(),
            known_since_us=known_since(settings.retention, now_us()),
        )
        metrics.count_events(applied)
        flood = floods.note((run.topic, run.partition), applied.n, applied.n_dead, now_us())
        return flood is not None and pause_flooded(
            database,
            *flood.partition,
            n=flood.n,
            n_dead=flood.n_dead,
            span_us=int(worker.flood_seconds * 1_000_000),
            now_us=now_us(),
            new_id=new_id,
        )

    def paused() -> list[tuple[str, int]]:
        with database.read() as connection:
            return [(each.topic, each.partition) for each in list_paused(connection)]

    def positions(topic_partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, str]]:
        return stored_positions(database, topic_partitions)

    def once(name: str, every_seconds: float, act: Callable[[], object]) -> Timer:
        """A timer that runs in one worker at a time: whoever holds its lease in the database."""

        def run_if_leased() -> None:
            if take_lease(
                database, name, holder, now_us(), ttl_us=int(max(10.0, 3 * every_seconds) * 1_000_000)
            ):
                act()

        return Timer(name, every_seconds, run_if_leased)

    def alert() -> None:
        alert_sender.send_due(database, now_us)

    def overlook() -> None:
        with database.read() as connection:
            metrics.set_overview(read_overview(connection))

    second, share = worker.timer_seconds, worker.verify_share
    verifying = Verifying(
        lambda now: verify_next(database, settings.models, now, new_id), share=share, now_us=now_us
    )
    verification = [once("verify", second, verifying.take_turn)] if share > 0 else []
    try:
        return run_worker(
            settings,
            store_run=store_run,
            stored_positions=positions,
            paused_partitions=paused,
            timers=[
                once("watch", second, lambda: watch(database, settings, now_us(), new_id)),
                once("watch_data", 10 * second, lambda: watch_data(database, settings, now_us(), new_id)),
                once("collect", second, lambda: collect(database, settings, now_us(), new_id)),
                once("audits", 10 * second, lambda: order_audits(database, settings, now_us(), new_id)),
                once("send", second, lambda: sender.send_unsent(database, now_us)),
                once("pair", 30 * second, lambda: sweep_orphans(database, settings.models, now_us())),
                once("erase", 30 * second, lambda: erase_missed(database, now_us() - SWEEP_US)),
                once("retain", 10 * second, lambda: remove_old(database, settings.retention, now_us())),
                *verification,
                # Not by one worker alone: Prometheus may ask any of them.
                Timer("overlook", 10 * second, overlook),
            ],
            # Every worker may send: who claims a delivery sends it.
            slow_timers=[Timer("alert", second, alert)],
            lifelines=Lifelines(database, worker.group, holder, secrets.randbelow),
            metrics=metrics,
            storing_threads=database.n_writers,
        )
    finally:
        sender.close()
        database.close()


def run_composed_intake(settings: Settings) -> None:
    """Run the HTTP intake; where senders need keys, with those in the database."""
    from storage.api_keys import list_api_keys, note_uses
    from storage.database import open_database
    from storage.records import ApiKey
    from streams.api_keys import KeyRing
    from streams.http_intake import run_intake

    if not settings.intake.needs_keys:
        run_intake(settings, None)
        return
    database = open_database(settings.database.url)

    def read_keys() -> list[ApiKey]:
        with database.read() as connection:
            return list_api_keys(connection)

    ring = KeyRing(
        read_keys,
        lambda days_us: note_uses(database, days_us),
        outage_seconds=settings.intake.keys_outage_seconds,
        monotonic=time.monotonic,
    )
    try:
        run_intake(settings, ring)
    finally:
        database.close()
