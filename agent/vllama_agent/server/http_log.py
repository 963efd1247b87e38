"""What aiohttp's server has to tell, without what was sent to it."""

from __future__ import annotations

import logging

from aiohttp import http_exceptions, web


class _WithoutBytes(logging.Filter):
    """aiohttp reports what is no HTTP with a traceback and the bytes themselves, which may be a key or a prompt: here it is one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (http_exceptions.HttpProcessingError, web.RequestPayloadError)):
            record.msg, record.args, record.exc_info = "a request was no HTTP: %s", (type(error).__name__,), None
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True


http_log = logging.getLogger("vllama.http")
http_log.addFilter(_WithoutBytes())
