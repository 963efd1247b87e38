"""What aiohttp's server has to tell, without what was sent to it: that may be a key or a prompt."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from aiohttp import http_exceptions, web


class _WithoutBytes(logging.Filter):
    """aiohttp reports what is no HTTP with a traceback and the bytes themselves: here it is one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (http_exceptions.HttpProcessingError, web.RequestPayloadError)):
            record.msg, record.args, record.exc_info = "a request was no HTTP: %s", (type(error).__name__,), None
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True


http_log = logging.getLogger("vllama.http")
http_log.addFilter(_WithoutBytes())


class Runner(web.AppRunner):
    """An app whose answer to what is no HTTP repeats nothing of it; aiohttp has no public place for that."""

    def __init__(self, app: web.Application, **settings: Any) -> None:
        super().__init__(app, access_log=None, logger=http_log, handler_cancellation=True, **settings)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        return server


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        response = super().handle_error(request, status, exc, message)
        if isinstance(exc, http_exceptions.HttpProcessingError):
            response = web.Response(status=status, body=orjson.dumps({"error": _sentence(exc)}), content_type="application/json")
            response.force_close()
        return response


def _sentence(error: http_exceptions.HttpProcessingError) -> str:
    match error:
        case http_exceptions.ContentEncodingError():
            return "the request's Content-Encoding is not supported; send its body as it is, or by gzip, deflate or zstd"
        case http_exceptions.LineTooLong():
            return "a line of the request or of its headers is too long"
        case _:
            return f"the request is no HTTP ({type(error).__name__})"
