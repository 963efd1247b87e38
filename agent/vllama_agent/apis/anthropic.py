"""Anthropic's shape of an error: its routes come later, but a client of theirs must be able to read that."""

from __future__ import annotations

import uuid

import orjson

from vllama_agent.apis.errors import Failure

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def status(failure: Failure) -> int:
    """A full queue is 529 here. https://docs.anthropic.com/en/api/errors"""
    return 529 if failure.status == 503 else failure.status


def error(failure: Failure) -> bytes:
    """`{"type": "error", "error": {type, message}, "request_id"}`."""
    kind = TYPES.get(status(failure), "api_error")
    told = {"type": kind, "message": failure.message}
    return orjson.dumps({"type": "error", "error": told, "request_id": f"req_{uuid.uuid4().hex[:24]}"})
