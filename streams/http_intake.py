"""CloudEvents by HTTP, for services that cannot speak Kafka: 202 only after the broker has every event.

`POST /v1/events` takes the three modes of the CloudEvents HTTP binding, also gzipped. A request is taken or
refused as a whole, with the reasons of errata/wire.py per event. Sending again is safe: an event counts once,
by its id. `GET /v1/models/MODEL/champion` serves champion.json to services that do not see the artifacts
directory. Who asks is looked at first (streams/admission.py): of a request without a good key nothing is read.
"""

import asyncio
import logging
import math
import re
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

import uvicorn
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from errata.errors import Unavailable
from errata.events import Event, key_of
from errata.masking import mask, mask_event
from errata.partitioning import Encoded, gather, topic_of
from errata.resolver import CHAMPION
from errata.settings import Broker, Settings
from errata.topics import sasl_options
from errata.wire import (
    BATCH_TYPE,
    JSON_TYPE,
    STRUCTURED_TYPE,
    Refused,
    batch_headers,
    decode_record,
    encode_event,
)
from streams.admission import Admission, NotAdmitted, Sender, TooMuch
from streams.api_keys import KeyRing
from streams.http_server import serving
from streams.metrics import Health, IntakeMetrics, MetricsServer

logger = logging.getLogger(__name__)

Publish = Callable[[Sequence[Event]], Awaitable[None]]
Answer = Callable[[Request], Awaitable[Response]]

#: What an HTTP status says of the reasons; any other reason is 422.
_STATUS: Final = {
    "too_large": 413,
    "wrong_content_type": 415,
    "broken_json": 400,
    "empty_record": 400,
    "lone_surrogate": 400,
    "not_a_number": 400,
    "too_deep": 400,
    "forbidden_source": 403,
    "forbidden_model": 403,
}
_REASONS_TOLD: Final = 100
_RETRY_SECONDS: Final = 5
_BODY_SECONDS: Final = 30.0
_PUBLISH_SECONDS: Final = 15.0
_RECORD_EVENTS: Final = 500
_RECORD_BYTES: Final = 900_000
_ATTRIBUTE: Final = re.compile(r"ce-[a-z0-9]+")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")


class _HttpError(Exception):
    """An answer that ends a request."""

    def __init__(
        self, status: int, reason: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = JSONResponse(body, status, headers)


def create_intake(
    settings: Settings,
    publish: Publish,
    admission: Admission,
    metrics: IntakeMetrics,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> Starlette:
    """The ASGI app. `publish` returns when the broker has all events, and raises Unavailable otherwise."""

    async def post_events(request: Request) -> Response:
        sender = _admit(request, admission)
        try:
            events = await _read_events(request, settings, admission, sender)
        except TooMuch as error:
            detail = "more was sent than one sender may: send the same later, or less at once"
            raise _wait("rate_limited", detail, error.wait_seconds) from None
        try:
            await publish(events)
        except Unavailable as error:
            logger.warning("events were not taken: %s", error)
            raise _unavailable("the broker does not answer: send the same events again") from None
        metrics.count_events(len(events))
        return JSONResponse({"accepted": len(events), "ids": [event.id for event in events]}, 202)

    async def get_champion(request: Request) -> Response:
        model = request.path_params["model"]
        if not _admit(request, admission).may_use(model):
            raise _deny(403, "forbidden_model", f"`model`: this key is not for {model}")
        path = _champion_path(Path(settings.artifacts.directory), model)
        try:
            written = None if path is None else await asyncio.to_thread(path.read_bytes)
        except OSError:
            written = None
        if written is None:
            raise _deny(404, "not_found", "this model has no champion yet")
        return Response(written, media_type=JSON_TYPE, headers={"Cache-Control": "no-cache"})

    def counted(answer: Answer) -> Answer:
        async def answer_and_count(request: Request) -> Response:
            try:
                response, reason = await answer(request), ""
            except _HttpError as error:
                response, reason = error.response, error.reason
            metrics.count_answer(response.status_code, reason)
            return response

        return answer_and_count

    return Starlette(
        routes=[
            Route("/v1/events", counted(post_events), methods=["POST"]),
            Route("/v1/models/{model:path}/champion", counted(get_champion)),
            Route("/healthz", _tell_health),
        ],
        lifespan=lifespan,
    )


def run_intake(settings: Settings, ring: KeyRing | None) -> None:
    """Serve until SIGTERM; requests under way are answered before the end. With a `ring` senders need a key.

    Raises Stop when the database has no tables of keys.
    """
    intake = settings.intake
    publisher = Publisher(settings.broker)
    metrics = IntakeMetrics()
    admission = Admission(intake, ring, now_us=lambda: time.time_ns() // 1000, monotonic=time.monotonic)
    if ring is not None:
        ring.refresh()
        if not len(ring):
            logger.warning("nobody is let in yet: there is no key (errata keys create), or none can be read")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        refreshing = asyncio.create_task(_keep_fresh(ring, intake.keys_refresh_seconds)) if ring else None
        yield
        if refreshing:
            refreshing.cancel()
        await publisher.close()

    app = create_intake(settings, publisher.publish, admission, metrics, lifespan)
    server = uvicorn.Server(serving(intake, app))
    if intake.metrics_port == 0:
        server.run()
        return
    told = MetricsServer(intake.metrics_port, metrics.registry, Health, intake.metrics_host)
    told.start()
    try:
        server.run()
    finally:
        told.stop()


async def _keep_fresh(ring: KeyRing, every_seconds: float) -> None:
    """Read the keys anew for ever; whatever goes wrong is tried again."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await asyncio.to_thread(ring.refresh)
        except Exception:
            logger.exception("the keys could not be read")


# --- Answers ------------------------------------------------------------------------------------------------


def _admit(request: Request, admission: Admission) -> Sender:
    """Who sends; raises _HttpError, which does not tell what was wrong with a key."""
    address = request.client.host if request.client else ""
    try:
        return admission.admit(request.headers.get("authorization"), address)
    except NotAdmitted as error:
        if error.wait_seconds:
            raise _wait(
                "too_many_failures", "too many requests without a good key", error.wait_seconds
            ) from None
        detail = "send a key that is good: `Authorization: Bearer KEY` (errata keys create makes one)"
        raise _deny(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"}) from None
    except Unavailable as error:
        logger.warning("nobody is let in: %s", error)
        raise _unavailable("keys can't be looked up now: send the same again") from None


def _deny(status: int, reason: str, detail: str, headers: dict[str, str] | None = None) -> _HttpError:
    """What is said of a request as a whole."""
    return _HttpError(status, reason, {"accepted": 0, "reason": reason, "detail": detail}, headers)


def _unavailable(detail: str) -> _HttpError:
    return _deny(503, "unavailable", detail, {"Retry-After": str(_RETRY_SECONDS)})


def _wait(reason: str, detail: str, seconds: float) -> _HttpError:
    return _deny(429, reason, detail, {"Retry-After": str(math.ceil(seconds))})


def _refuse(refused: Sequence[Refused]) -> _HttpError:
    """The first refusal decides the status; the body lists them all, up to a number."""
    told = [
        {"position": each.position, "reason": each.reason, "detail": mask(each.detail)}
        for each in refused[:_REASONS_TOLD]
    ]
    body = {"accepted": 0, "n_refused": len(refused), "refused": told}
    return _HttpError(_STATUS.get(refused[0].reason, 422), refused[0].reason, body)


def _refuse_body(status: int, reason: str, detail: str) -> _HttpError:
    """The answer to a body that cannot be read at all, in the form of the others."""
    refused = [{"position": 0, "reason": reason, "detail": detail}]
    return _HttpError(status, reason, {"accepted": 0, "n_refused": 1, "refused": refused})


# --- Requests -----------------------------------------------------------------------------------------------


async def _read_events(
    request: Request, settings: Settings, admission: Admission, sender: Sender
) -> list[Event]:
    """The events of a request, masked. Raises _HttpError if it is refused, and TooMuch."""
    longest = settings.intake.batch_bytes
    admission.check_announced(sender, min(longest, _announced_bytes(request)))
    try:
        headers, body = await _read_record(request, settings)
    except _HttpError:
        # Whatever was wrong with it, so much of it may have been read.
        admission.charge_bytes(sender, longest)
        raise
    admission.charge_bytes(sender, len(body))
    decoded = decode_record(headers, body)
    if decoded.refused:
        raise _refuse(decoded.refused)
    if forbidden := sender.find_forbidden(decoded.events):
        raise _refuse([Refused(*each, raw=b"") for each in forbidden])
    admission.charge_events(sender, len(decoded.events))
    return [mask_event(event) for _, event in decoded.events]


async def _read_record(request: Request, settings: Settings) -> tuple[list[tuple[str, bytes]], bytes]:
    """The headers and value of the Kafka record that the request stands for. Raises _HttpError."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in (BATCH_TYPE, STRUCTURED_TYPE, JSON_TYPE):
        detail = f"content-type must be {STRUCTURED_TYPE}, {BATCH_TYPE}, or {JSON_TYPE} with ce- headers"
        raise _refuse_body(415, "wrong_content_type", detail)
    limit = settings.intake.batch_bytes if content_type == BATCH_TYPE else settings.intake.event_bytes
    headers = [("content-type", content_type.encode())]
    headers += [
        # The HTTP binding writes non-ASCII attributes in percent-encoded UTF-8, the Kafka binding as they
        # are.
        (f"ce_{name[3:]}", unquote(value).encode())
        for name, value in request.headers.items()
        if _ATTRIBUTE.fullmatch(name)
    ]
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return headers, await _read_body(request, limit)
    except TimeoutError:
        raise _refuse_body(408, "timeout", f"the body did not arrive within {_BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise _refuse_body(400, "broken_json", "the body ended before its time") from None


def _announced_bytes(request: Request) -> int:
    """The length that the sender gives; 0 where it gives none. What is too long is refused when it is read."""
    announced = request.headers.get("content-length", "")
    return int(announced) if re.fullmatch(r"[0-9]{1,9}", announced) else 0


async def _read_body(request: Request, limit: int) -> bytes:
    """The body, taken out of gzip; the limit holds for what comes out, and it is checked while reading."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise _refuse_body(
            415, "wrong_content_type", f"content-encoding {encoding[:64]} is not read: use gzip"
        )
    gzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    body = bytearray()
    n_received = 0
    async for chunk in request.stream():
        n_received += len(chunk)
        try:
            body += gzip.decompress(chunk, limit + 1 - len(body)) if gzip else chunk
        except zlib.error as error:
            raise _refuse_body(400, "broken_json", f"the body is not gzip: {error}") from None
        if len(body) > limit or n_received > limit:
            raise _refuse_body(413, "too_large", f"the body has more than {limit} bytes")
    if gzip and (not gzip.eof or gzip.unused_data):
        raise _refuse_body(400, "broken_json", "the body is not one whole gzip member")
    return bytes(body)


def _champion_path(artifacts: Path, model: str) -> Path | None:
    """Where the champion of a model is written; None for a name that no model has, such as one with `..`."""
    if not _MODEL.fullmatch(model) or {".", ".."} & set(PurePosixPath(model).parts):
        return None
    return artifacts / model / CHAMPION


async def _tell_health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


# --- The broker ---------------------------------------------------------------------------------------------


class Publisher:
    """Owns the producer, which is made with the first events and given up after a failure."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()
        self._retry_at = 0.0

    async def publish(self, events: Sequence[Event]) -> None:
        """Send events and return when all replicas have them. Raises Unavailable; then some may be sent."""
        if not events:
            return
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(_PUBLISH_SECONDS):
                producer = await self._open()
                await _send(producer, events)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._give_up(producer)
            raise Unavailable(f"the broker at {self._broker.bootstrap} took no events: {error!r}") from error

    async def close(self) -> None:
        """Let go of the connections."""
        await self._give_up(self._producer)

    async def _open(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                if time.monotonic() < self._retry_at:
                    raise Unavailable(f"the broker at {self._broker.bootstrap} was away a moment ago")
                self._retry_at = time.monotonic() + 1.0
                producer = AIOKafkaProducer(
                    **_aiokafka_options(self._broker),
                    # Not idempotent: the local broker gives aiokafka no producer id, and the ids of events
                    # make a repetition harmless.
                    acks="all",
                    request_timeout_ms=10_000,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
        return self._producer

    async def _give_up(self, producer: Any) -> None:
        if producer is None:
            return
        if self._producer is producer:
            self._producer = None
        try:
            async with asyncio.timeout(2):
                await producer.stop()
        except (KafkaError, OSError, TimeoutError) as error:
            logger.info("the producer ended with %r", error)


async def _send(producer: AIOKafkaProducer, events: Sequence[Event]) -> None:
    encoded = [Encoded(topic_of(event.data), key_of(event), encode_event(event)) for event in events]
    partitions = {
        topic: len(await producer.partitions_for(topic)) for topic in {event.topic for event in encoded}
    }
    acknowledgements = [
        await producer.send(
            record.topic,
            value=record.value,
            headers=batch_headers(),
            partition=record.partition,
        )
        for record in gather(encoded, partitions, record_events=_RECORD_EVENTS, record_bytes=_RECORD_BYTES)
    ]
    await asyncio.gather(*acknowledgements)


def _aiokafka_options(broker: Broker) -> dict[str, Any]:
    """How aiokafka reaches this broker."""
    options: dict[str, Any] = {
        "bootstrap_servers": broker.bootstrap,
        "security_protocol": broker.security_protocol,
    }
    if broker.security_protocol != "PLAINTEXT":
        options["ssl_context"] = ssl.create_default_context(cafile=broker.ca_file or None)
    return options | sasl_options(broker)
