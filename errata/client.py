"""The client: what a service calls to tell Errata what it predicted, what users did to it and what they said.

    client = Client.from_settings(settings, source="shop/card-reader", spool_directory=Path("var/spool"))
    shown = client.prediction(model="card-reader", version="12", output={"number": "4111"}, latency_ms=41)
    client.edit(prediction_id=shown, corrected={"number": "4117"}, who="customer-17")
    client.voc(text="The last digit is always wrong", rating=2, prediction_id=shown)

No call blocks or raises: it takes microseconds, in which the event is turned into bytes (so that the service
may change its objects afterwards) and queued. A thread of its own checks and delivers what is queued
(errata/delivery.py). What is not valid, or had to be dropped, is counted in `client.counters` and logged
once.
"""

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec

from errata.backlog import Backlog
from errata.counters import Counters
from errata.delivery import Delivery, OpenProducer
from errata.events import Data, FeedbackData, PredictionData, VocData, Who
from errata.identity import Stamps, new_id
from errata.masking import mask as mask_text
from errata.partitioning import TOPIC_OF, Encoded
from errata.producing import KafkaProducer, check_used_names
from errata.settings import Settings
from errata.topics import FEEDBACK, PREDICTIONS, VOC, kafka_options
from errata.wire import format_time, is_id, is_source, is_time, wrapping

#: The off switch: with `ERRATA_ENABLED=0` in the environment a client made from settings does nothing.
SWITCH = "ERRATA_ENABLED"
_OFF: Final = frozenset({"0", "false", "no", "off"})
_ANYBODY: Final = Who()
_NO_TAGS: Final[dict[str, str]] = {}
_WRAPPING: Final = {topic: wrapping(kind) for kind, topic in TOPIC_OF.items()}


class Client:
    """Tells Errata what happened. Any thread may use it; a forked child gets its own thread and queue."""

    _delivery: Delivery | None

    def __init__(
        self,
        bootstrap: str = "127.0.0.1:9092",
        *,
        source: str,
        spool_directory: Path | None = None,
        enabled: bool = True,
        mask: Callable[[Any], Any] | None = None,
        queue_events: int = 50_000,
        queue_bytes: int = 64 * 1024 * 1024,
        spool_bytes: int = 256 * 1024 * 1024,
        linger_ms: float = 100.0,
        record_events: int = 2000,
        record_bytes: int = 900_000,
        delivery_seconds: float = 10.0,
        connection: Mapping[str, Any] | None = None,
        open_producer: OpenProducer | None = None,
    ) -> None:
        """Return at once, whether or not a broker answers at `bootstrap`.

        `source` names the service (CloudEvents source). `spool_directory` keeps events on disk while no
        broker answers; without it they wait in memory. `mask` is called with every input, output, correction
        and VOC text, and what it returns is sent instead; VOC text is masked by errata/masking.py before.
        `connection` are options by which kafka-python reaches the broker; `open_producer` replaces all of that.
        Raises Stop if a kafka-python is installed that events cannot be sent with.
        """
        if enabled and open_producer is None:
            check_used_names()
        self._enabled = enabled
        self._mask = mask
        options = {"bootstrap_servers": bootstrap, **(connection or {})}
        self._open_producer = open_producer or (lambda: KafkaProducer(options, delivery_seconds))
        self._limits = {
            "limit_events": queue_events,
            "limit_bytes": queue_bytes,
            "batch_events": record_events,
        }
        self._delivering: dict[str, Any] = {
            "spool_directory": spool_directory,
            "spool_bytes": spool_bytes,
            "linger_seconds": linger_ms / 1000,
            "record_events": record_events,
            "record_bytes": record_bytes,
            "delivery_seconds": delivery_seconds,
        }
        self._encode = msgspec.json.Encoder(enc_hook=_as_plain).encode
        self._names: set[tuple[str, str]] = set()
        self._is_source = is_source(source)
        self._source = source if self._is_source else ""
        self._is_closed = False
        self._abandoned: list[Delivery] = []
        self._begin()
        if enabled:
            itself = weakref.ref(self)
            self._at_exit = lambda: _close_at_exit(itself)
            atexit.register(self._at_exit)
            os.register_at_fork(after_in_child=lambda: _begin_in_child(itself))
            if spool_directory is not None:
                self._start()

    @classmethod
    def from_settings(
        cls, settings: Settings, source: str, *, environ: Mapping[str, str] | None = None, **options: Any
    ) -> Self:
        """A client of the broker in `settings`; `options` are those of the constructor.

        It is off where `environ` (the process's own unless given) says `ERRATA_ENABLED=0`.
        """
        values = os.environ if environ is None else environ
        if values.get(SWITCH, "1").strip().lower() in _OFF:
            options["enabled"] = False
        return cls(
            settings.broker.bootstrap, source=source, connection=kafka_options(settings.broker), **options
        )

    # --- Telling ------------------------------------------------------------------------------------------

    def prediction(
        self,
        *,
        model: str,
        version: str,
        output: Any,
        confidence: float | None = None,
        probabilities: Mapping[str, float] | None = None,
        input: Any = None,  # noqa: A002 - the field's name on the wire
        input_uri: str | None = None,
        features: Any = None,
        latency_ms: float | None = None,
        tags: Mapping[str, str] | None = None,
        subject: str | None = None,
        session: str | None = None,
        id: str | None = None,  # noqa: A002 - as above
        time_us: int | None = None,
    ) -> str:
        """Tell of one output shown to a user, and return its id, which feedback refers to."""
        if not self._enabled:
            return id or new_id()
        try:
            if self._mask is not None:
                output = self._mask(output)
                input = None if input is None else self._mask(input)  # noqa: A001 - as above
            data = PredictionData(
                model=model,
                version=version,
                output=output,
                confidence=confidence,
                probabilities=probabilities,  # type: ignore[arg-type]
                input=input,
                input_uri=input_uri,
                features=features,
                latency_ms=latency_ms,
                tags=tags or _NO_TAGS,  # type: ignore[arg-type]
                subject=subject,
                session=session,
            )
            is_sure = (model, version) in self._names
        except Exception as error:
            return self._refuse(error, id)
        return self._tell(PREDICTIONS, data, None, id, time_us, is_sure)

    def edit(
        self,
        *,
        prediction_id: str,
        corrected: Any,
        display_ms: float | None = None,
        who: str | Who | None = None,
        id: str | None = None,  # noqa: A002 - as above
        time_us: int | None = None,
    ) -> str:
        """Tell what an output was corrected to, and return the id of this feedback."""
        return self._feedback("edit", prediction_id, corrected, display_ms, who, id, time_us)

    def accept(
        self,
        *,
        prediction_id: str,
        display_ms: float | None = None,
        who: str | Who | None = None,
        id: str | None = None,  # noqa: A002 - as above
        time_us: int | None = None,
    ) -> str:
        """Tell that an output was taken as it was shown, and return the id of this feedback."""
        return self._feedback("accept", prediction_id, None, display_ms, who, id, time_us)

    def reject(
        self,
        *,
        prediction_id: str,
        display_ms: float | None = None,
        who: str | Who | None = None,
        id: str | None = None,  # noqa: A002 - as above
        time_us: int | None = None,
    ) -> str:
        """Tell that an output was thrown away, and return the id of this feedback."""
        return self._feedback("reject", prediction_id, None, display_ms, who, id, time_us)

    def voc(
        self,
        *,
        text: str,
        rating: int | None = None,
        channel: str | None = None,
        language: str | None = None,
        prediction_id: str | None = None,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        subject: str | None = None,
        id: str | None = None,  # noqa: A002 - as above
        time_us: int | None = None,
    ) -> str:
        """Tell what a customer said, masked, and return the id of this VOC."""
        if not self._enabled:
            return id or new_id()
        try:
            text = mask_text(text)
            data = VocData(
                text=text if self._mask is None else self._mask(text),
                rating=rating,
                channel=channel,
                language=language,
                prediction_id=prediction_id,
                model=model,
                tags=tags or _NO_TAGS,  # type: ignore[arg-type]
                subject=subject,
            )
        except Exception as error:
            return self._refuse(error, id)
        return self._tell(VOC, data, prediction_id, id, time_us)

    # --- Ending -------------------------------------------------------------------------------------------

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until everything told so far is sent, or on disk; False if that took too long."""
        return self._backlog.wait_until_settled(timeout_seconds)

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Deliver what waits and stop; what is told afterwards is dropped. A second call does nothing."""
        with self._lifecycle:
            if self._is_closed:
                return
            self._is_closed = True
            delivery, self._delivery = self._delivery, None
        if self._enabled:
            atexit.unregister(self._at_exit)
        if delivery is not None:
            delivery.close(timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def abandon(self) -> None:
        """In a forked child: leave thread, queue and files to the parent, and begin anew."""
        if self._delivery is not None:
            self._delivery.abandon()
            self._abandoned.append(self._delivery)
        self._begin()

    # --- Within -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Nothing told, nothing counted, no thread: at the start of a process."""
        self.counters = Counters()
        self._stamps = Stamps()
        self._lifecycle = threading.Lock()
        self._backlog = Backlog(self.counters, **self._limits)
        self._delivery = None

    def _feedback(
        self,
        action: Literal["edit", "accept", "reject"],
        prediction_id: str,
        corrected: Any,
        display_ms: float | None,
        who: str | Who | None,
        event_id: str | None,
        time_us: int | None,
    ) -> str:
        if not self._enabled:
            return event_id or new_id()
        try:
            if self._mask is not None and action == "edit":
                corrected = self._mask(corrected)
            if not isinstance(who, Who):
                who = _ANYBODY if who is None else Who(id=who)
            data = FeedbackData(
                prediction_id=prediction_id,
                action=action,
                corrected=corrected,
                display_ms=display_ms,
                who=who,
            )
        except Exception as error:
            return self._refuse(error, event_id)
        return self._tell(FEEDBACK, data, prediction_id, event_id, time_us)

    def _tell(
        self,
        topic: str,
        data: Data,
        key: str | None,
        event_id: str | None,
        time_us: int | None,
        is_sure: bool = True,
    ) -> str:
        """Encode and queue an event of `key`, its own id unless given.

        `is_sure` is whether all is right that errata/checking.py takes for granted. Whatever the service
        hands over, it gets an id back and no exception.
        """
        try:
            new, time_text = self._stamps.stamp(time.time_ns())
            is_sure = is_sure and self._is_source
            if not event_id:
                event_id = new
            else:
                is_sure = is_id(event_id) and is_sure
                event_id = str(event_id)  # What numpy calls a string is one, but no JSON.
            if time_us is not None:
                time_text = format_time(time_us)
                is_sure = is_sure and is_time(time_us)
            raw = self._encode(_WRAPPING[topic]("1.0", event_id, self._source, time_text, data))
        except Exception as error:
            return self._refuse(error, event_id)
        if self._is_closed:
            self.counters.add(queued=1)
            self.counters.drop(topic, "closed")
            return event_id
        self._backlog.put(Encoded(topic, (key or event_id) if is_sure else "", raw))
        if self._delivery is None:
            self._start()
        return event_id

    def _refuse(self, error: Exception, event_id: str | None) -> str:
        """Count an event that is not JSON, and answer with an id as for any other."""
        self.counters.add(queued=1)
        self.counters.refuse("not_encodable", error)
        return event_id or new_id()

    def _start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lifecycle:
            if self._delivery is None and not self._is_closed:
                self._delivery = Delivery(
                    self._backlog,
                    self.counters,
                    self._open_producer,
                    names=self._names,
                    **self._delivering,
                )
                self._delivery.start()


def _close_at_exit(client: weakref.ref[Client]) -> None:
    alive = client()
    if alive is not None:
        alive.close(timeout_seconds=2.0)


def _begin_in_child(client: weakref.ref[Client]) -> None:
    alive = client()
    if alive is not None:
        alive.abandon()


def _as_plain(value: Any) -> Any:
    """Turn what numpy and torch hold into lists and numbers. Raises NotImplementedError for anything else."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} is no JSON: convert it first")
