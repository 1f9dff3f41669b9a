"""How the HTTP intake is served: its TLS, and what a connection may take of it before a request is there."""

import asyncio
import ssl
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from errata.errors import SettingsError
from errata.settings import Intake

#: Connections; further ones are told to come back.
_CONNECTIONS: Final = 256
#: The request line and the headers together.
_HEAD_BYTES: Final = 16_384
_HEAD_SECONDS: Final = 10.0


class _Connection(H11Protocol):
    """A connection that is closed when the head of a request takes too long to come.

    uvicorn only limits how long a connection is silent after an answer: whoever sends a header each second, or goes on
    with a body that was answered already, could hold all the connections there are.
    """

    head_seconds = _HEAD_SECONDS
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def handle_events(self) -> None:
        super().handle_events()
        if self._is_answering():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_answering():
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def serving(intake: Intake, app: ASGIApp, **given: Any) -> uvicorn.Config:
    """How `app` is served. Raises SettingsError when its certificate can't be used."""
    config = uvicorn.Config(
        app,
        host=intake.host,
        port=intake.port,
        http=_Connection,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        ssl_certfile=intake.certificate_file or None,
        ssl_keyfile=intake.certificate_key_file or None,
        # The address of a sender is that of its connection: a header could be made up.
        proxy_headers=False,
        server_header=False,
        ws="none",
        access_log=False,
        # Its own would write past ours, which keeps secrets out.
        log_config=None,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=20,
        **given,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"intake.certificate_file {intake.certificate_file} with intake.certificate_key_file "
            f"{intake.certificate_key_file} can't be used: {error}"
        ) from None
    return config
