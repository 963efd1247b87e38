"""From the events of an OpenAI-compatible stream to deltas: everything that one read brought becomes one of them. Pure.

Nearly every event of a stream holds a piece of text and nothing else. Of those the text is cut out of the bytes; only the others are
parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from vllama_agent.engines.base import Delta, FinishReason, TokenLogprob, Usage
from vllama_agent.engines.sse import DONE
from vllama_core.errors import EngineFailed

CHAT = (b'"delta":{"content":"', b'"},"logprobs":null,"finish_reason":null,"token_ids":null}]}')
COMPLETION = (b'"text":"', b'","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}')
"""What stands before and behind the text of a plain event of vLLM's. A quotation mark within a text is escaped, so neither can be in it."""
FINISHES = {"length": FinishReason.LENGTH, "stop": FinishReason.STOP, "repetition": FinishReason.STOP, "tool_calls": FinishReason.STOP}


class Refused(Exception):
    """The server refused a request.

    :ivar parameter: what of it was wrong, where it said so.
    """

    def __init__(self, status: int, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.parameter = parameter


class Answer:
    """One streamed answer.

    :param chat: whether it is of /v1/chat/completions; else of /v1/completions.
    :param top: alternatives per token that were asked for.
    :ivar begun: the first event came.
    :ivar prompt_ids: the prompt's, where they were asked for.
    :ivar prompt_text: what the template made, where it was asked for.
    """

    def __init__(self, *, chat: bool, top: int = 0) -> None:
        self._before, self._behind = CHAT if chat else COMPLETION
        self._chat = chat
        self._top = top
        self._texts: list[str] = []
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] | None = None
        self._finish: FinishReason | None = None
        self._stop: str | None = None
        self._usage: Usage | None = None
        self.begun = False
        self.prompt_ids: tuple[int, ...] = ()
        self.prompt_text: str | None = None

    @property
    def finished(self) -> bool:
        """Whether its last delta is there."""
        return self._finish is not None and self._usage is not None

    def take(self, payloads: Iterable[bytes]) -> None:
        """Take in events.

        :raises Refused: one tells that the request was wrong: some of that vLLM finds out behind the status.
        :raises EngineFailed: one tells another error, or is none.
        """
        for payload in payloads:
            if payload.endswith(self._behind) and (at := payload.find(self._before)) >= 0:
                self._texts.append(_string(payload[at + len(self._before) : -len(self._behind)]))
            elif payload != DONE:
                self._parsed(payload)
            self.begun = True

    def delta(self) -> Delta | None:
        """Everything since the last one; None: that is nothing."""
        if self.finished:
            finish, usage = self._finish, self._usage
        elif self._texts or self._ids or self._logprobs:
            finish = usage = None
        else:
            return None
        made = Delta("".join(self._texts), self._ids, self._logprobs, finish, usage, self._stop if finish else None)
        self._texts, self._ids, self._logprobs = [], [], None
        return made

    def _parsed(self, payload: bytes) -> None:
        try:
            event: dict[str, Any] = orjson.loads(payload)
            if "error" in event:
                raise _error(event["error"])
            self._prompt(event)
            for choice in event.get("choices") or ():
                self._choice(choice)
            if event.get("usage"):
                self._usage = usage_of(event["usage"], event.get("metrics") or {})
        except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError) as error:
            raise EngineFailed(f"the engine sent an event that cannot be read ({type(error).__name__})") from None

    def _prompt(self, event: dict[str, Any]) -> None:
        first = event if self._chat else next(iter(event.get("choices") or ()), {})
        if first.get("prompt_token_ids"):
            self.prompt_ids = tuple(first["prompt_token_ids"])
        if event.get("prompt_text") is not None:
            self.prompt_text = event["prompt_text"]

    def _choice(self, choice: dict[str, Any]) -> None:
        text = choice["delta"].get("content") if self._chat else choice.get("text")
        if text:
            self._texts.append(text)
        self._ids += choice.get("token_ids") or ()
        if choice.get("logprobs"):
            found = _chat_logprobs(choice["logprobs"]) if self._chat else _completion_logprobs(choice["logprobs"], self._top)
            self._logprobs = (self._logprobs or []) + found
        reason = choice.get("finish_reason")
        if reason is not None:
            if reason not in FINISHES:
                raise EngineFailed(f"the engine ended the answer: {reason}")
            self._finish = FINISHES[reason]
            # vLLM's: the stop text, or the id of a token that ends an answer
            stop = choice.get("stop_reason")
            self._stop = stop if isinstance(stop, str) else None


def _error(told: dict[str, Any]) -> Refused | EngineFailed:
    message, code = str(told.get("message") or "it does not say why"), told.get("code")
    if isinstance(code, int) and 400 <= code < 500:
        return Refused(code, message, parameter=told.get("param"))
    return EngineFailed(f"the engine ended the answer: {message}")


def usage_of(usage: dict[str, Any], metrics: dict[str, Any]) -> Usage:
    """What an answer cost.

    :param metrics: of vLLM's `--enable-per-request-metrics`, in milliseconds; the time to the first token begins with the queue.
    """
    details = usage.get("prompt_tokens_details") or {}
    queue, first = metrics.get("queue_time_ms") or 0.0, metrics.get("time_to_first_token_ms") or 0.0
    return Usage(
        prompt_tokens=usage["prompt_tokens"],
        cached_tokens=details.get("cached_tokens") or 0,
        generated_tokens=usage.get("completion_tokens") or 0,
        queue_seconds=queue / 1000,
        prefill_seconds=max(0.0, first - queue) / 1000,
        decode_seconds=(metrics.get("generation_time_ms") or 0.0) / 1000,
    )


def _string(inside: bytes) -> str:
    """A JSON string's text, from between its quotation marks."""
    return inside.decode() if b"\\" not in inside else orjson.loads(b'"' + inside + b'"')


def _chat_logprobs(found: dict[str, Any]) -> list[TokenLogprob]:
    return [_token(item, tuple(_token(other, ()) for other in item.get("top_logprobs") or ())) for item in found.get("content") or ()]


def _token(item: dict[str, Any], top: tuple[TokenLogprob, ...]) -> TokenLogprob:
    raw = item.get("bytes")
    return TokenLogprob(item["token"], item["token"].encode() if raw is None else bytes(raw), item["logprob"], top)


def _completion_logprobs(found: dict[str, Any], top: int) -> list[TokenLogprob]:
    """This older form has no bytes, and tells the taken token among the alternatives too, wherever it ranks."""
    made = []
    for token, logprob, others in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
        best = sorted((others or {}).items(), key=lambda other: -other[1])[:top]
        made.append(TokenLogprob(token, token.encode(), logprob, tuple(TokenLogprob(text, text.encode(), p) for text, p in best)))
    return made
