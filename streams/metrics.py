"""What the worker and the HTTP intake tell Prometheus, and the small server that tells it."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from errata.errors import Stop
from storage.overview import Overview
from storage.records import Applied
from streams.driver import FetchedRun
from streams.ledger import Partition


class Metrics:
    """The numbers of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        #: What whoever asks for the health shall know besides.
        self.remarks: Sequence[str] = ()
        self._records = Counter(
            "errata_records_consumed", "Records stored", ["topic"], registry=self.registry
        )
        self._storing_seconds = Histogram(
            "errata_storing_seconds",
            "Time of the transaction that stored a run of records",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self._events = Counter(
            "errata_events",
            "Events stored, by what became of them: new, duplicate or dead",
            ["topic", "outcome"],
            registry=self.registry,
        )
        self._event_age_seconds = Histogram(
            "errata_event_age_seconds",
            "Time from Kafka to the database: of the oldest record of each run, when it was stored",
            ["topic"],
            registry=self.registry,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400),
        )
        self._lag = Gauge(
            "errata_lag_records",
            "Records of a partition that this worker has not read yet, as far as the broker has told",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._paused = Gauge(
            "errata_paused_partitions",
            "Partitions that are not read because dead letters flood them",
            registry=self.registry,
        )
        self._given_up = Counter(
            "errata_fetched_runs_given_up",
            "Runs not stored because their partition was let go",
            registry=self.registry,
        )
        self._unavailable_seconds = Gauge(
            "errata_database_unavailable_seconds",
            "How long the worker has been waiting for the database; 0 when it does not",
            registry=self.registry,
        )
        self._bytes_in_flight = Gauge(
            "errata_bytes_in_flight", "Bytes fetched and not yet stored", registry=self.registry
        )
        self._timer_failures = Counter(
            "errata_timer_failures", "Timers that raised", ["timer"], registry=self.registry
        )
        self._watched_workers = Gauge(
            "errata_watched_workers",
            "Other workers of the group whose death this one would see at once",
            registry=self.registry,
        )
        self._removed_workers = Counter(
            "errata_removed_workers",
            "Workers that were seen dead and whose partitions were freed at once",
            registry=self.registry,
        )
        self._verify_differences = Gauge(
            "errata_verify_differences",
            "Differences between what was counted and the facts: in the last whole round, or in this one so far",
            registry=self.registry,
        )
        self._verify_last_complete_seconds = Gauge(
            "errata_verify_last_complete_seconds",
            "When the last whole round of the continuous verification ended, in seconds since 1970",
            registry=self.registry,
        )
        self._dead_letters = Gauge(
            "errata_dead_letters", "Dead letters that are stored", ["reason"], registry=self.registry
        )
        self._open_alerts = Gauge(
            "errata_open_alerts", "Alerts that are open", ["severity"], registry=self.registry
        )
        self._failing_deliveries = Gauge(
            "errata_failing_deliveries",
            "News of alerts that a channel did not take when it was last tried",
            ["channel"],
            registry=self.registry,
        )
        self._orphans = Gauge(
            "errata_orphans",
            "Feedback whose prediction is not there, among the latest 10,000",
            registry=self.registry,
        )
        self._join_ratio = Gauge(
            "errata_join_ratio",
            "Share of the latest 10,000 feedback whose prediction is there",
            registry=self.registry,
        )

    def count_stored(self, run: FetchedRun, seconds: float, now: Callable[[], float] = time.time) -> None:
        """Count a run that was stored, with the time of its last attempt."""
        self._records.labels(run.topic).inc(len(run.records))
        self._storing_seconds.observe(seconds)
        oldest_ms = min(record.timestamp_ms for record in run.records)
        self._event_age_seconds.labels(run.topic).observe(max(0.0, now() - oldest_ms / 1000))

    def count_events(self, applied: Applied) -> None:
        """Count what became of the events of a run."""
        outcomes = {"new": applied.n_new, "duplicate": applied.n_duplicate, "dead": applied.n_dead}
        for outcome, n in outcomes.items():
            self._events.labels(applied.topic, outcome).inc(n)

    def set_lags(self, lags: Mapping[Partition, int]) -> None:
        """Note how far behind each partition is that is ours; others are somebody else's to tell."""
        self._lag.clear()
        for (topic, partition), n_records in lags.items():
            self._lag.labels(topic, str(partition)).set(n_records)

    def count_given_up(self) -> None:
        """Count a run that was let go without being stored."""
        self._given_up.inc()

    def set_watched_workers(self, n_workers: int) -> None:
        """Note how many other workers are watched."""
        self._watched_workers.set(n_workers)

    def count_removed_worker(self) -> None:
        """Count a dead worker that was taken out of the group."""
        self._removed_workers.inc()

    def count_timer_failure(self, timer: str) -> None:
        """Count a timer that raised."""
        self._timer_failures.labels(timer).inc()

    def set_overview(self, overview: Overview) -> None:
        """Note what the database knows of the installation."""
        current = overview.round
        if current is not None:
            self._verify_differences.set(max(current.n_differences, current.n_differences_before))
            self._verify_last_complete_seconds.set((current.completed_us or 0) / 1_000_000)
        self._paused.set(len(overview.paused))
        self.remarks = [pause.reason for pause in overview.paused]
        self._dead_letters.clear()  # Retention may have removed the last one of a reason.
        for reason, n in overview.dead_letters.items():
            self._dead_letters.labels(reason).set(n)
        for severity, n in overview.open_alerts.items():
            self._open_alerts.labels(severity).set(n)
        # A channel that took everything is not told of any more.
        self._failing_deliveries.clear()
        for channel, n in overview.failing_deliveries.items():
            self._failing_deliveries.labels(channel).set(n)
        self._orphans.set(overview.n_feedback - overview.n_joined)
        self._join_ratio.set(overview.n_joined / overview.n_feedback if overview.n_feedback else 1.0)

    def set_unavailable_seconds(self, seconds: float) -> None:
        """Note how long the database has been unavailable."""
        self._unavailable_seconds.set(seconds)

    def set_bytes_in_flight(self, size_bytes: int) -> None:
        """Note how much is fetched and not yet stored."""
        self._bytes_in_flight.set(size_bytes)


class IntakeMetrics:
    """The numbers of one HTTP intake. No key and no address of a sender is in them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers = Counter(
            "errata_intake_answers",
            "Requests answered, by status and, where they were refused, the reason",
            ["status", "reason"],
            registry=self.registry,
        )
        self._events = Counter(
            "errata_intake_events", "Events that the broker has taken", registry=self.registry
        )

    def count_answer(self, status: int, reason: str) -> None:
        """Count a request that was answered; `reason` is one of a few codes, or empty."""
        self._answers.labels(str(status), reason).inc()

    def count_events(self, n: int) -> None:
        """Count events that the broker has taken."""
        self._events.inc(n)


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong with a process, in a sentence, or None; and what else whoever asks should know."""

    trouble: str | None = None
    remarks: Sequence[str] = ()


class MetricsServer:
    """Answers `/metrics`, and `/healthz` with 200 or 503, on `host`. Raises Stop if the port is taken."""

    def __init__(
        self,
        port: int,
        registry: CollectorRegistry,
        tell_health: Callable[[], Health],
        host: str = "127.0.0.1",
    ) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._send(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif self.path == "/healthz":
                    health = tell_health()
                    lines = [health.trouble or "ok", *health.remarks]
                    self._send(503 if health.trouble else 200, "text/plain", "\n".join([*lines, ""]).encode())
                else:
                    self._send(404, "text/plain", b"there are /metrics and /healthz\n")

            def _send(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: Prometheus asks every few seconds."""

        try:
            self._server = ThreadingHTTPServer((host, port), Answer)
        except OSError as error:
            raise Stop(
                f"metrics_port {port} can't be used: {error}. Choose another, or 0 for no metrics"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
