"""OpenAI's replies: deltas in, bytes out; a streamed chunk is spliced, not built."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from vllama_agent.apis.errors import Failure
from vllama_agent.chat.events import Call, Event, Text, Thought
from vllama_agent.engines.base import FinishReason, TokenLogprob, Usage

SSE = "text/event-stream"
JSON = "application/json; charset=utf-8"
DONE = b"data: [DONE]\n\n"
FINGERPRINT = "fp_ollama"
"""What Ollama sends; some clients store it."""


@dataclass(slots=True)
class Choice:
    """One answer of several, as it grows."""

    prompt: int
    """Which of the request's prompts it answers."""
    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: FinishReason | None = None
    usage: Usage | None = None
    offset: int = 0
    """Characters sent so far, for `text_offset`."""


class Reply:
    """Makes the objects of one request.

    :param alternatives: of /v1/completions; None = no log-probabilities there.
    """

    def __init__(self, model: str, *, chat: bool, include_usage: bool = False, alternatives: int | None = None) -> None:
        self._chat = chat
        self._alternatives = alternatives
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:24]}"
        self._model = model
        self._created = int(time.time())
        kind = "chat.completion.chunk" if chat else "text_completion"
        self._head = b"data: " + orjson.dumps(self._envelope(kind))[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._before = b',"delta":{"content":' if chat else b',"text":'
        self._after = (b'},"finish_reason":null}' if chat else b',"finish_reason":null}') + self._tail
        self._started: set[int] = set()

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model, "system_fingerprint": FINGERPRINT}

    def piece(self, index: int, text: str) -> bytes:
        """One streamed frame of plain text."""
        if self._chat and index not in self._started:
            return self._chunk(index, self._first(index, text), None)
        return b"".join((self._head, b'{"index":%d' % index, self._before, orjson.dumps(text), self._after))

    def piece_with_logprobs(self, index: int, choice: Choice, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        """One streamed frame with the log-probabilities of its tokens."""
        body: dict[str, Any] = {"delta": {"content": text}} if self._chat else {"text": text}
        if self._chat and index not in self._started:
            body = self._first(index, text)
        frame = self._chunk(index, body | {"logprobs": self._logprobs(logprobs, choice.offset)}, None)
        choice.offset += len(text)
        return frame

    def part(self, index: int, choice: Choice, event: Event, logprobs: Sequence[TokenLogprob] | None = None) -> bytes:
        """One streamed frame of a chat with a thought, words, or a whole call. Thoughts and words never share one."""
        match event:
            case Text(text):
                return self.piece_with_logprobs(index, choice, text, logprobs) if logprobs else self.piece(index, text)
            case Thought(text):
                delta: dict[str, Any] = {"content": "", **_thought(text)}
            case Call():
                delta = {"content": "", "tool_calls": [{"index": len(choice.calls), **call_object(event)}]}
                choice.calls.append(event)
        role = {} if index in self._started else {"role": "assistant"}
        self._started.add(index)
        told = {"logprobs": self._logprobs(logprobs, 0)} if logprobs else {}
        return self._chunk(index, {"delta": role | delta} | told, None)

    def finish(self, index: int, finish: FinishReason, *, called: bool = False) -> bytes:
        """The frame that says why a choice ended."""
        opening = self.piece(index, "") if self._chat and index not in self._started else b""
        return opening + self._chunk(index, {"delta": {}} if self._chat else {"text": ""}, _reason(finish, called))

    def usage(self, choices: Sequence[Choice]) -> bytes:
        """The frame of `stream_options.include_usage`."""
        return self._head + b'],"usage":' + orjson.dumps(usage_object(choices)) + b"}\n\n"

    def whole(self, choices: Sequence[Choice]) -> bytes:
        """The answer where nothing is streamed."""
        envelope = self._envelope("chat.completion" if self._chat else "text_completion")
        made = [self._whole_choice(index, choice) for index, choice in enumerate(choices)]
        return orjson.dumps(envelope | {"choices": made, "usage": usage_object(choices)})

    def _first(self, index: int, text: str) -> dict[str, Any]:
        self._started.add(index)
        return {"delta": {"role": "assistant", "content": text}}

    def _chunk(self, index: int, body: dict[str, Any], finish: str | None) -> bytes:
        return self._head + orjson.dumps({"index": index, **body, "finish_reason": finish}) + self._tail

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        body: dict[str, Any] = {"message": _message(choice, text)} if self._chat else {"text": text}
        if choice.logprobs:
            body["logprobs"] = self._logprobs(choice.logprobs, 0)
        return {"index": index, **body, "finish_reason": _reason(choice.finish, bool(choice.calls)) if choice.finish else None}

    def _logprobs(self, logprobs: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
        if self._chat:
            return {"content": [_chat_logprob(item) for item in logprobs], "refusal": None}
        return _completion_logprobs(logprobs, offset, self._alternatives or 0)


def _message(choice: Choice, text: str) -> dict[str, Any]:
    """The message of a whole answer; beside calls, no words are null."""
    calls = [call_object(call) for call in choice.calls]
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    return message | _thought("".join(choice.thought)) | ({"tool_calls": calls} if calls else {})


def _thought(text: str) -> dict[str, str]:
    """`reasoning` is Ollama's and vLLM's name for it, `reasoning_content` llama-server's and DeepSeek's."""
    return {"reasoning": text, "reasoning_content": text} if text else {}


def call_object(call: Call) -> dict[str, Any]:
    """A call, with its arguments as text."""
    arguments = orjson.dumps(call.arguments).decode()
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _reason(finish: FinishReason, called: bool) -> str:
    return "tool_calls" if called and finish is FinishReason.STOP else finish.value


def usage_object(choices: Sequence[Choice]) -> dict[str, Any]:
    """Tokens of all choices; each prompt is counted once, however often it was answered."""
    per_prompt = {choice.prompt: choice.usage for choice in reversed(choices) if choice.usage is not None}
    prompt = sum(usage.prompt_tokens for usage in per_prompt.values())
    cached = sum(usage.cached_tokens for usage in per_prompt.values())
    made = sum(choice.usage.generated_tokens for choice in choices if choice.usage is not None)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _chat_logprob(item: TokenLogprob) -> dict[str, Any]:
    return _plain(item) | {"top_logprobs": [_plain(other) for other in item.top]}


def _plain(item: TokenLogprob) -> dict[str, Any]:
    return {"token": item.token, "logprob": item.logprob, "bytes": list(item.bytes)}


def _completion_logprobs(logprobs: Iterable[TokenLogprob], offset: int, alternatives: int) -> dict[str, Any]:
    tokens, values, tops, offsets = [], [], [], []
    for item in logprobs:
        tokens.append(item.token)
        values.append(item.logprob)
        tops.append({other.token: other.logprob for other in item.top} if alternatives else None)
        offsets.append(offset)
        offset += len(item.token)
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops if alternatives else None, "text_offset": offsets}


def models(entries: Iterable[dict[str, Any]]) -> bytes:
    """GET /v1/models."""
    return orjson.dumps({"object": "list", "data": list(entries)})


def model(name: str, created: int) -> dict[str, Any]:
    """One entry of it. The owner is the namespace of the name, `library` where it has none."""
    owner = name.rsplit("/", 2)[-2] if "/" in name else "library"
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def status(failure: Failure) -> int:
    """A full queue is 429 here."""
    return 429 if failure.status == 503 else failure.status


def error(failure: Failure) -> bytes:
    """`{"error": {message, type, param, code}}`."""
    body = {"message": failure.message, "type": _error_type(status(failure)), "param": failure.field, "code": failure.code}
    return orjson.dumps({"error": body})


def _error_type(code: int) -> str:
    match code:
        case 404:
            return "not_found_error"
        case 429:
            return "rate_limit_error"
        case _:
            return "invalid_request_error" if 400 <= code < 499 else "api_error"


def error_frames(failure: Failure) -> bytes:
    """An error in mid-stream, and the stream's end: a client that waits for [DONE] must not hang."""
    return b"data: " + error(failure) + b"\n\n" + DONE
