"""What the worker and the HTTP intake tell Prometheus, and the small server that tells it."""

import threading
from collections.abc import Callable
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


class Metrics:
    """The numbers of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._records = Counter(
            "errata_records_consumed", "Records stored", ["topic"], registry=self.registry
        )
        self._storing_seconds = Histogram(
            "errata_storing_seconds",
            "Time of the transaction that stored a run of records",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
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

    def count_stored(self, topic: str, records: int, seconds: float) -> None:
        """Count a run that was stored, with the time of its last attempt."""
        self._records.labels(topic).inc(records)
        self._storing_seconds.observe(seconds)

    def count_given_up(self) -> None:
        """Count a run that was let go without being stored."""
        self._given_up.inc()

    def count_timer_failure(self, timer: str) -> None:
        """Count a timer that raised."""
        self._timer_failures.labels(timer).inc()

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


class MetricsServer:
    """Answers `/metrics`, and `/healthz` with 200 or 503, on `host`. Raises Stop if the port is taken."""

    def __init__(
        self,
        port: int,
        registry: CollectorRegistry,
        is_healthy: Callable[[], bool],
        host: str = "127.0.0.1",
    ) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._send(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif self.path == "/healthz":
                    healthy = is_healthy()
                    self._send(
                        200 if healthy else 503, "text/plain", b"ok\n" if healthy else b"no progress\n"
                    )
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
