"""Anthropic's replies: deltas in, bytes out. A message is a list of blocks; in a stream each is started, filled and stopped in turn.

https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from vllama_agent.apis.errors import Failure
from vllama_agent.chat.events import Call, Event, Text, Thought
from vllama_agent.engines.base import Delta, FinishReason, Usage

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
SIGNATURE = "unsigned"
"""Of thoughts. Clients send back only those that have one; nothing here checks it."""


class Reply:
    """Makes the message of one request, as a stream of events or as a whole.

    :param max_tokens: the request's, to tell which limit an answer reached.
    :param sequences: the request's own stop sequences; the end at one that the model brings is told as its own.
    :param shows_thoughts: False: blocks of thoughts are there, and empty.
    """

    def __init__(self, model: str, *, max_tokens: int, sequences: Sequence[str] = (), shows_thoughts: bool = True) -> None:
        self._id = f"msg_{uuid.uuid4().hex[:24]}"
        self._model = model
        self._max_tokens = max_tokens
        self._sequences = frozenset(sequences)
        self._shows_thoughts = shows_thoughts
        self._blocks: list[dict[str, Any]] = []
        self._texts: list[str] = []
        """Of the last block, which still grows; empty = it is stopped."""
        self._open = False
        self._end: dict[str, Any] = {"stop_reason": None, "stop_sequence": None}
        self._usage: dict[str, Any] = _usage(0, 0, 0)

    def begin(self, prompt_tokens: int) -> bytes:
        """The first event. How much of the prompt was reused is known at the end only."""
        self._usage = _usage(prompt_tokens, 0, 0)
        return _event("message_start", {"message": self._message()}) + self.ping()

    def ping(self) -> bytes:
        """Says that the answer is still being made; it may come anywhere."""
        return _event("ping", {})

    def add(self, events: Sequence[Event], tokens: int) -> bytes:
        """Frames for what became certain."""
        return b"".join(map(self._add, events))

    def end(self, delta: Delta) -> bytes:
        """Frames for the last delta, when its events were added."""
        if delta.usage is not None:
            self._usage = _usage(delta.usage.prompt_tokens, delta.usage.cached_tokens, delta.usage.generated_tokens)
        self._end = self._ending(delta)
        return self._stop() + _event("message_delta", {"delta": self._end, "usage": self._usage}) + _event("message_stop", {})

    def failed(self, failure: Failure) -> bytes:
        """The frame for an error in mid-stream."""
        return b"event: error\ndata: " + error(failure) + b"\n\n"

    def whole(self) -> bytes:
        """The message where nothing is streamed."""
        return orjson.dumps(self._message())

    def _message(self) -> dict[str, Any]:
        head = {"id": self._id, "type": "message", "role": "assistant", "model": self._model}
        return head | {"content": self._blocks} | self._end | {"usage": self._usage}

    def _add(self, event: Event) -> bytes:
        match event:
            case Text(text):
                return self._grow("text", "text", text)
            case Thought(text):
                return self._grow("thinking", "thinking", text if self._shows_thoughts else "")
            case Call():
                return self._stop() + self._call(event)

    def _grow(self, kind: str, key: str, text: str) -> bytes:
        """Add to a block of text, a new one where the last is of another kind."""
        frames = b""
        if not (self._open and self._blocks[-1]["type"] == kind):
            empty = {"type": kind, key: ""} | ({"signature": ""} if kind == "thinking" else {})
            frames = self._stop() + self._start(empty)
        self._texts.append(text)
        return frames + (self._delta({"type": f"{kind}_delta", key: text}) if text else b"")

    def _call(self, call: Call) -> bytes:
        arguments = orjson.dumps(call.arguments).decode()
        block = {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:24]}", "name": call.name, "input": {}}
        frames = self._start(block) + self._delta({"type": "input_json_delta", "partial_json": arguments})
        self._blocks[-1]["input"] = call.arguments
        return frames + self._stop()

    def _start(self, block: dict[str, Any]) -> bytes:
        self._open = True
        self._blocks.append(block)
        return _event("content_block_start", {"index": len(self._blocks) - 1, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": len(self._blocks) - 1, "delta": delta})

    def _stop(self) -> bytes:
        if not self._open:
            return b""
        self._open = False
        block, text, signed = self._blocks[-1], "".join(self._texts), b""
        self._texts = []
        match block["type"]:
            case "text":
                block["text"] = text
            case "thinking":
                block |= {"thinking": text, "signature": SIGNATURE}
                signed = self._delta({"type": "signature_delta", "signature": SIGNATURE})
        return signed + _event("content_block_stop", {"index": len(self._blocks) - 1})

    def _ending(self, delta: Delta) -> dict[str, Any]:
        if delta.finish is FinishReason.LENGTH:
            reason = "max_tokens" if _generated(delta.usage) >= self._max_tokens else "model_context_window_exceeded"
        elif any(block["type"] == "tool_use" for block in self._blocks):
            reason = "tool_use"
        elif delta.stop in self._sequences:
            return {"stop_reason": "stop_sequence", "stop_sequence": delta.stop}
        else:
            reason = "end_turn"
        return {"stop_reason": reason, "stop_sequence": None}


def _generated(usage: Usage | None) -> int:
    return usage.generated_tokens if usage is not None else 0


def _usage(prompt: int, cached: int, generated: int) -> dict[str, int]:
    """ "Total input tokens in a request is the summation of `input_tokens`, `cache_creation_input_tokens`, and
    `cache_read_input_tokens`": what was reused is no part of the first. Nothing is billed, so no creation is counted.
    """
    return {
        "input_tokens": prompt - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": generated,
    }


def _event(kind: str, body: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **body}) + b"\n\n"


def count(tokens: int) -> bytes:
    """The reply of /v1/messages/count_tokens."""
    return orjson.dumps({"input_tokens": tokens})


def status(failure: Failure) -> int:
    """A full queue is 529 here. https://docs.anthropic.com/en/api/errors"""
    return 529 if failure.status == 503 else failure.status


def error(failure: Failure) -> bytes:
    """`{"type": "error", "error": {type, message}, "request_id"}`."""
    kind = TYPES.get(status(failure), "api_error")
    # Claude Code shortens a conversation when an error begins with these words of Anthropic's
    words = f"prompt is too long: {failure.message}" if failure.code == "context_length_exceeded" else failure.message
    told = {"type": kind, "message": words}
    return orjson.dumps({"type": "error", "error": told, "request_id": f"req_{uuid.uuid4().hex[:24]}"})
