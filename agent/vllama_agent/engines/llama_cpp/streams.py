"""The deltas of one request, between the worker's frames and whoever reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from vllama_agent.engines.base import Delta, FinishReason, Reading, TokenLogprob, Usage
from vllama_core.errors import EngineFailed, InvalidRequest

PAUSE_ABOVE = 512
RESUME_BELOW = 128
"""Tokens that a reader may be behind before its request gets no more rows, and from where it gets them again."""


class Stream:
    """A generation that is read at the reader's pace: what piles up is merged into one delta; see `base.Generation`."""

    def __init__(
        self,
        prompt_tokens: Sequence[int],
        *,
        asked: int,
        dropped: int,
        reading: Reading | None = None,
        markers: dict[int, bytes] | None = None,
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.asked_tokens = asked
        self.dropped_tokens = dropped
        self.reading = reading
        self.markers = markers or {}
        """Control tokens whose text the answer shows."""
        self.constrained_by: str | None = None
        """The request's field that says what the answer has to match."""
        self.done = False
        self._text: list[str] = []
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] | None = None
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self._stop: str | None = None
        self._error: EngineFailed | InvalidRequest | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pause: Callable[[bool], None] = lambda _paused: None
        self._paused = False

    def on_pause(self, pause: Callable[[bool], None]) -> None:
        """Whom to tell when the reader falls behind, and when it has caught up."""
        self._pause = pause

    def feed(self, row: list[Any]) -> None:
        """Take in a row of a step frame."""
        self._ids.append(row[1])
        if row[2]:
            self._text.append(row[2])
        if len(row) > 3:
            self._feed_details(row)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        elif len(self._ids) > PAUSE_ABOVE and not self._paused and not self.done:
            self._paused = True
            self._pause(True)

    def fail(self, error: EngineFailed | InvalidRequest) -> None:
        """The engine is gone, or this answer cannot go on."""
        self.done = True
        self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _feed_details(self, row: list[Any]) -> None:
        _id, _token, _text, logprob, finish, usage, self._stop = row
        if logprob is not None:
            if self._logprobs is None:
                self._logprobs = []
            self._logprobs.append(_token_logprob(logprob))
        if finish is not None:
            self.done = True
            self._finish = FinishReason(finish)
            prompt, cached, generated, queue, prefill, decode, shifts = usage
            self._usage = Usage(
                prompt_tokens=prompt,
                cached_tokens=cached,
                generated_tokens=generated,
                queue_seconds=queue,
                prefill_seconds=prefill,
                decode_seconds=decode,
                context_shifts=shifts,
            )

    async def __aiter__(self) -> AsyncIterator[Delta]:
        loop = asyncio.get_running_loop()
        while True:
            if not self._ids:
                if self._error is not None:
                    raise self._error
                self._waiter = loop.create_future()
                await self._waiter  # ends with a row, or with fail() when the worker's socket closes
                self._waiter = None
                continue
            delta = Delta("".join(self._text), self._ids, self._logprobs, self._finish, self._usage, self._stop)
            self._text, self._ids, self._logprobs = [], [], None
            yield delta
            if delta.finish is not None:
                return
            if self._paused and len(self._ids) < RESUME_BELOW:
                self._paused = False
                self._pause(False)


def _token_logprob(packed: list[Any]) -> TokenLogprob:
    raw, logprob, best = packed
    top = tuple(TokenLogprob(_text(piece), piece, p) for _id, piece, p in best)
    return TokenLogprob(_text(raw), raw, logprob, top)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
