"""Writing a stream: headers with the first bytes, one write per delta, and an end for readers that do not read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from vllama_core.errors import RequestCancelled

UNREAD_BYTES = 64 * 1024
"""Bytes that may wait for a reader before the stream waits for it too."""


class Stream(web.StreamResponse):
    """Its headers wait for the first bytes, as those of a whole response do; aiohttp has no public name for that."""

    _send_headers_immediately = False


class Sender:
    """One streamed response.

    :param write_timeout: seconds a reader may accept no byte.
    :ivar last_sent: when something was sent, of the loop's clock.
    """

    def __init__(self, request: web.Request, content_type: str, headers: Mapping[str, str], *, write_timeout: float) -> None:
        self._request = request
        self._timeout = write_timeout
        self.response = Stream(headers=headers)
        self.response.headers["Content-Type"] = content_type
        self._writer: AbstractStreamWriter | None = None
        self._transport: asyncio.Transport | None = None
        self._chunked = False
        self._loop = asyncio.get_running_loop()
        self.last_sent = self._loop.time()

    @property
    def started(self) -> bool:
        """Whether the status is on its way, so that errors must be told in the stream."""
        return self.response.prepared

    async def send(self, data: bytes) -> None:
        """Write.

        :raises RequestCancelled: the reader is gone, or takes nothing any more.
        """
        transport = self._transport
        self.last_sent = self._loop.time()
        if transport is None:
            await self._start(data)
        elif transport.is_closing():
            raise RequestCancelled
        else:
            # aiohttp's own write() costs three times this: it counts, compresses and drains by bytes written, not by bytes unread.
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            if transport.get_write_buffer_size() > UNREAD_BYTES:
                await self._wait_for_reader(transport)

    async def finish(self, data: bytes) -> None:
        """Write the last bytes, and with them the end of the response; nothing can be sent behind it.

        :raises RequestCancelled: as `send`.
        """
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() or len(data) > UNREAD_BYTES:
            # the end may wait for the reader without a limit: aiohttp writes it once the answer has given its place free
            await self.send(data)
            return
        self._transport = None
        try:
            await self.response.write_eof(data)
        except ConnectionError:
            raise RequestCancelled from None

    async def _start(self, data: bytes) -> None:
        try:
            writer = await self.response.prepare(self._request)
            if writer is None or self._request.transport is None:
                raise RequestCancelled
            await self.response.write(data)
        except ConnectionError:
            raise RequestCancelled from None
        self._writer = writer
        self._transport = self._request.transport
        self._chunked = bool(getattr(writer, "chunked", False))

    async def _wait_for_reader(self, transport: asyncio.Transport) -> None:
        assert self._writer is not None, "bytes wait, so the stream has started"
        unread = transport.get_write_buffer_size()
        while unread > UNREAD_BYTES:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._writer.drain()
            except TimeoutError:
                if transport.get_write_buffer_size() >= unread:
                    transport.abort()
                    raise RequestCancelled from None
            except ConnectionError:
                raise RequestCancelled from None
            unread = transport.get_write_buffer_size()
