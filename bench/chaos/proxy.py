"""A TCP proxy in front of the broker or the database, which can be made to reset or to swallow everything."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

#: An abort instead of a farewell.
_LINGER = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on `port` of 127.0.0.1 and passes what comes to `upstream`: a port, or the path of a Unix socket."""

    def __init__(self, upstream: int | Path) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._call(self._listen())
        self.port = int(self._server.sockets[0].getsockname()[1])

    def reset(self) -> None:
        """Abort every connection."""
        self._call(self._reset())

    def swallow(self) -> None:
        """From now on take everything in, and pass nothing on."""
        self._call(self._set_passing(False))

    def pass_on(self) -> None:
        """Abort the connections that were swallowed, and pass on what comes."""
        self._call(self._reset())
        self._call(self._set_passing(True))

    def close(self) -> None:
        """Abort everything, also what is being connected, and listen no longer."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self) -> asyncio.Server:
        self._passing = asyncio.Event()
        self._passing.set()
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _set_passing(self, passing: bool) -> None:
        assert self._passing is not None
        if passing:
            self._passing.set()
        else:
            self._passing.clear()

    async def _reset(self) -> None:
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.family == socket.AF_INET:
                with suppress(OSError):  # Closed already.
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            writer.transport.abort()

    async def _end(self) -> None:
        await self._set_passing(True)
        # asyncio forgets a connection that is being accepted, or whose other side is being made, when the server or
        # the loop ends: both end at a moment that has none.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await self._reset()
            await asyncio.wait(others, timeout=0.01)
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._upstream, Path):
                theirs, to_them = await asyncio.open_unix_connection(str(self._upstream))
            else:
                theirs, to_them = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, to_them}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, to_them), self._pump(theirs, writer))
        finally:
            for each in both:
                each.transport.abort()
            self._writers -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._passing is not None
        try:
            while data := await reader.read(65_536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()
