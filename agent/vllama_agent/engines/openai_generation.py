"""An answer of an OpenAI-compatible engine, as `base.Generation`: read at the reader's pace, what came meanwhile merged into one delta."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from vllama_agent.engines.base import Delta, Reading
from vllama_agent.engines.openai_events import Answer, Refused
from vllama_agent.engines.openai_upstream import Events
from vllama_core.errors import EngineFailed, InvalidRequest


class Generated:
    """See `base.Generation`.

    :param dropped: tokens of the prompt that were cut.
    :param asked: tokens of the prompt as asked for; 0 = nobody counted, and nothing was cut.
    :param on_delta: told each delta before its reader is.
    :param why: what to raise for an error: whoever owns the engine knows more of it.
    """

    def __init__(
        self,
        events: Events,
        answer: Answer,
        *,
        prompt_tokens: Sequence[int] = (),
        asked: int = 0,
        dropped: int = 0,
        on_delta: Callable[[Delta], None] = lambda _delta: None,
        why: Callable[[EngineFailed], Awaitable[EngineFailed]],
    ) -> None:
        self._events = events
        self._answer = answer
        self._on_delta = on_delta
        self._why = why
        self.prompt_tokens = prompt_tokens
        self.asked_tokens = asked
        self.dropped_tokens = dropped
        self.reading: Reading | None = None

    async def begin(self) -> str | None:
        """Wait for the first event; what the template made, where that was asked for.

        :raises EngineFailed: there is none.
        :raises Refused: it says that the request was wrong.
        """
        await self._more()
        self.prompt_tokens = self.prompt_tokens or self._answer.prompt_ids
        return self._answer.prompt_text

    async def __aiter__(self) -> AsyncIterator[Delta]:
        while True:
            if (delta := self._answer.delta()) is not None:
                self._on_delta(delta)
                yield delta
                if delta.finish is not None:
                    return
            try:
                await self._more()
            except Refused as error:
                raise InvalidRequest(str(error), field=error.parameter) from None

    async def _more(self) -> None:
        try:
            payloads = await self._events.next()
            if payloads is None:
                raise EngineFailed("the engine's answer broke off before its end")
            self._answer.take(payloads)
        except EngineFailed as error:
            raise await self._why(error) from None
