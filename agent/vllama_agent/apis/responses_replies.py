"""OpenAI's Responses: deltas in, events out. A response is a list of items; in a stream each is added, filled and done in turn.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from vllama_agent.apis.errors import Failure
from vllama_agent.chat.events import Call, Event, Text, Thought
from vllama_agent.engines.base import Delta, FinishReason, Message, Usage

DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, where that did not say it."""


class Reply:
    """Makes the response of one request, as a stream of events or as a whole.

    :param echo: what it repeats of its request.
    :param kept: whether it can be asked for later.
    :ivar id: of the response.
    """

    def __init__(self, model: str, *, echo: dict[str, Any], kept: bool) -> None:
        self.id = f"resp_{uuid.uuid4().hex}"
        self._made: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": int(time.time()),
            "completed_at": None,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
            **DEFAULTS,
            **echo,
            "background": False,
            "service_tier": "default",
            "store": kept,
            "top_logprobs": 0,
        }
        self._items: list[dict[str, Any]] = self._made["output"]
        self._number = 0
        self._texts: list[str] = []
        """Of the last item, which still grows."""
        self._open = False
        self._thought_tokens = 0

    def begin(self, prompt_tokens: int) -> bytes:
        return self._event("created", response=self._made) + self._event("in_progress", response=self._made)

    def ping(self) -> bytes:
        return b""

    def add(self, events: Sequence[Event], tokens: int) -> bytes:
        if any(isinstance(event, Thought) for event in events):
            self._thought_tokens += tokens
        return b"".join(map(self._add, events))

    def end(self, delta: Delta) -> bytes:
        frames = self._stop()
        cut = delta.finish is FinishReason.LENGTH
        self._made["status"] = "incomplete" if cut else "completed"
        self._made["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        self._made["completed_at"] = int(time.time())
        self._made["usage"] = _usage(delta.usage, self._thought_tokens) if delta.usage else None
        return frames + self._event(self._made["status"], response=self._made)

    def failed(self, failure: Failure) -> bytes:
        self._made |= {"status": "failed", "error": {"code": failure.code or "server_error", "message": failure.message}}
        return self._event("failed", response=self._made)

    def whole(self) -> bytes:
        return orjson.dumps(self._made)

    def turn(self) -> Message:
        """The response as a turn of the conversation, for a request that goes on from it."""
        thoughts, words, calls = [], [], []
        for item in self._items:
            match item["type"]:
                case "reasoning":
                    thoughts += [part["text"] for part in item["summary"]]
                case "message":
                    words += [part["text"] for part in item["content"]]
                case _:
                    function = {"name": item["name"], "arguments": orjson.loads(item["arguments"])}
                    calls.append({"type": "function", "id": item["call_id"], "function": function})
        extra: dict[str, Any] = {"thinking": "".join(thoughts)} if thoughts else {}
        return Message(role="assistant", content="".join(words), extra=extra | ({"tool_calls": calls} if calls else {}))

    def _event(self, kind: str, **body: Any) -> bytes:
        kind = f"response.{kind}"
        data = orjson.dumps({"type": kind, "sequence_number": self._number, **body})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def _add(self, event: Event) -> bytes:
        match event:
            case Text(text):
                frames = self._opened("message", "msg", {"role": "assistant", "content": []})
                self._texts.append(text)
                return frames + self._of_item("output_text.delta", content_index=0, delta=text, logprobs=[])
            case Thought(text):
                frames = self._opened("reasoning", "rs", {"summary": []})
                self._texts.append(text)
                return frames + self._of_item("reasoning_summary_text.delta", summary_index=0, delta=text)
            case Call():
                return self._stop() + self._call(event)

    def _opened(self, kind: str, prefix: str, body: dict[str, Any]) -> bytes:
        """Frames that open an item for text, where the last one is of another kind."""
        if self._open and self._items[-1]["type"] == kind:
            return b""
        frames = self._stop() + self._start(kind, prefix, body)
        self._open = True
        if kind == "message":
            return frames + self._of_item("content_part.added", content_index=0, part=_part(""))
        return frames + self._of_item("reasoning_summary_part.added", summary_index=0, part=_summary(""))

    def _start(self, kind: str, prefix: str, body: dict[str, Any]) -> bytes:
        self._items.append({"id": f"{prefix}_{uuid.uuid4().hex}", "type": kind, "status": "in_progress", **body})
        return self._event("output_item.added", output_index=len(self._items) - 1, item=self._items[-1])

    def _stop(self) -> bytes:
        """Frames that end the item that grows."""
        if not self._open:
            return b""
        self._open = False
        text, self._texts, item = "".join(self._texts), [], self._items[-1]
        if item["type"] == "message":
            frames = self._of_item("output_text.done", content_index=0, text=text, logprobs=[])
            frames += self._of_item("content_part.done", content_index=0, part=_part(text))
            item["content"] = [_part(text)]
        else:
            frames = self._of_item("reasoning_summary_text.done", summary_index=0, text=text)
            frames += self._of_item("reasoning_summary_part.done", summary_index=0, part=_summary(text))
            item["summary"] = [_summary(text)]
        return frames + self._done()

    def _call(self, call: Call) -> bytes:
        arguments = orjson.dumps(call.arguments).decode()
        frames = self._start("function_call", "fc", {"call_id": f"call_{uuid.uuid4().hex[:24]}", "name": call.name, "arguments": ""})
        frames += self._of_item("function_call_arguments.delta", delta=arguments)
        frames += self._of_item("function_call_arguments.done", name=call.name, arguments=arguments)
        self._items[-1]["arguments"] = arguments
        return frames + self._done()

    def _of_item(self, kind: str, **body: Any) -> bytes:
        return self._event(kind, item_id=self._items[-1]["id"], output_index=len(self._items) - 1, **body)

    def _done(self) -> bytes:
        self._items[-1]["status"] = "completed"
        return self._event("output_item.done", output_index=len(self._items) - 1, item=self._items[-1])


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary(text: str) -> dict[str, str]:
    """A thought as it was: the summary is the one place where every client looks for it."""
    return {"type": "summary_text", "text": text}


def _usage(usage: Usage, thought_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": thought_tokens},
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
    }


def deleted(identifier: str) -> bytes:
    """The reply of DELETE /v1/responses/{id}."""
    return orjson.dumps({"id": identifier, "object": "response", "deleted": True})
