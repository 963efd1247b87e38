"""Ollama's replies: deltas in, bytes out. Key order and literals are Ollama's; a streamed chunk is spliced, not built."""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from vllama_agent.apis import clock
from vllama_agent.chat.events import Call, Event, Text, Thought
from vllama_agent.engines.base import FinishReason, TokenLogprob, Usage

ID_LETTERS = string.ascii_lowercase + string.digits
NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"
VERSION = "0.32.1"
"""The level of Ollama's API that is spoken. Three plain integers: Open WebUI parses them, Copilot Chat wants 0.6.4 or later."""


class Reply:
    """Makes the objects of one answer.

    :param model: as the request spelled it.
    :param chat: whether text goes into `message.content` (else into `response`).
    """

    def __init__(self, model: str, *, chat: bool) -> None:
        self._chat = chat
        self._head = b'{"model":' + orjson.dumps(model) + b',"created_at":"'
        self._before = b'","message":{"role":"assistant","content":' if chat else b'","response":'
        self._after = b"}" if chat else b""
        self._end = self._after + b',"done":false}\n'

    def _opening(self, text: str, more: dict[str, Any] | None = None) -> bytes:
        """:param more: what stands beside the text: `thinking`, `tool_calls`."""
        beside = b"," + orjson.dumps(more)[1:-1] if more else b""
        return self._head + clock.now_text().encode() + self._before + orjson.dumps(text) + beside + self._after

    def piece(self, text: str, logprobs: list[TokenLogprob] | None = None) -> bytes:
        """One streamed line."""
        if logprobs:
            return self._opening(text) + b',"done":false,"logprobs":' + orjson.dumps(logprob_objects(logprobs)) + b"}\n"
        return b"".join((self._head, clock.now_text().encode(), self._before, orjson.dumps(text), self._end))

    def part(self, event: Event, number: int, logprobs: list[TokenLogprob] | None = None) -> bytes:
        """One streamed line with a thought, words, or a whole call.

        :param number: how many calls came before it.
        """
        match event:
            case Text(text):
                return self.piece(text, logprobs)
            case Thought(text):
                opening = self._opening("", {"thinking": text})
            case Call():
                opening = self._opening("", {"tool_calls": [call_object(event, number)]})
        told = b',"logprobs":' + orjson.dumps(logprob_objects(logprobs)) if logprobs else b""
        return opening + b',"done":false' + told + b"}\n"

    def final(
        self,
        finish: FinishReason,
        metrics: dict[str, int],
        *,
        text: str = "",
        thought: str = "",
        calls: Sequence[Call] = (),
        context: Iterable[int] | None = None,
        logprobs: list[TokenLogprob] | None = None,
    ) -> bytes:
        """The last line of a stream, or the whole answer where nothing is streamed."""
        rest: dict[str, Any] = {"done": True, "done_reason": finish.value}
        tail = {"logprobs": logprob_objects(logprobs)} if logprobs else {}
        shifts = {"context_shifts": metrics["context_shifts"]} if metrics.get("context_shifts") else {}
        counted = {key: value for key, value in metrics.items() if value and key != "context_shifts"}
        if self._chat:
            rest |= tail | counted
        else:
            rest |= ({"context": list(context)} if context is not None else {}) | counted | tail
        made = {"tool_calls": [call_object(call, number) for number, call in enumerate(calls)]} if calls else {}
        return self._joined(text, rest | shifts, ({"thinking": thought} if thought else {}) | made)

    def idle(self, reason: str) -> bytes:
        """The answer to a request that only loads or unloads."""
        return self._joined("", {"done": True, "done_reason": reason})

    def rendered(self, prompt: str) -> bytes:
        """The answer to `_debug_render_only`."""
        return self._joined("", {"done": False, "_debug_info": {"rendered_template": prompt}})

    def _joined(self, text: str, rest: dict[str, Any], more: dict[str, Any] | None = None) -> bytes:
        return self._opening(text, more) + b"," + orjson.dumps(rest)[1:] + b"\n"


def call_object(call: Call, number: int) -> dict[str, Any]:
    """A call, with its arguments as an object."""
    return {"id": call_id(), "function": {"index": number, "name": call.name, "arguments": call.arguments}}


def call_id() -> str:
    """`call_` and eight of a-z and 0-9, as Ollama's are."""
    return "call_" + "".join(random.choices(ID_LETTERS, k=8))


def metrics(usage: Usage, *, total_seconds: float, load_seconds: float) -> dict[str, int]:
    """The six figures of a final object, and `context_shifts`. Durations in ns, never 0 beside a count: clients divide by them.

    :param load_seconds: from the request's arrival until its model was ready.
    """
    return {
        "total_duration": max(1, clock.nanoseconds(total_seconds)),
        "load_duration": max(1, clock.nanoseconds(load_seconds)),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": max(1, clock.nanoseconds(usage.prefill_seconds)) if usage.prompt_tokens else 0,
        "eval_count": usage.generated_tokens,
        "eval_duration": max(1, clock.nanoseconds(usage.decode_seconds)) if usage.generated_tokens else 0,
        "context_shifts": usage.context_shifts,
    }


def logprob_objects(logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """`[{token, logprob, bytes, top_logprobs?}]`."""
    found = []
    for item in logprobs:
        value = _plain(item)
        if item.top:
            value["top_logprobs"] = [_plain(other) for other in item.top]
        found.append(value)
    return found


def _plain(item: TokenLogprob) -> dict[str, Any]:
    return {"token": item.token, "logprob": item.logprob, "bytes": list(item.bytes)}


def error(message: str) -> bytes:
    """The one shape of the native API's errors; with a line feed it also ends a stream."""
    return orjson.dumps({"error": message})
