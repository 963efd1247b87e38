"""An engine whose answers somebody pays for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from vllama_agent.accounts import Account
from vllama_agent.engines.base import Delta, Engine, GenerateRequest, Generation


def metered(engine: Engine, account: Account) -> Engine:
    """The same engine; tokens are paid as they come, so that an answer that its reader leaves costs what was made of it."""
    return cast(Engine, _Metered(engine, account))


class _Metered:
    """Everything but `generate` is the engine's own."""

    def __init__(self, engine: Engine, account: Account) -> None:
        self._engine = engine
        self._account = account

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @asynccontextmanager
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Generation]:
        async with self._engine.generate(request) as generation:
            yield cast(Generation, _Paid(generation, self._account))


class _Paid:
    """A generation's deltas, one by one. What the last one counts and the others did not tell is paid then."""

    def __init__(self, generation: Generation, account: Account) -> None:
        self._generation = generation
        self._account = account
        self._prompt = len(generation.prompt_tokens)
        self._answer = 0
        account.pay(prompt=self._prompt)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)

    def __aiter__(self) -> AsyncIterator[Delta]:
        self._deltas = aiter(self._generation)
        return self

    async def __anext__(self) -> Delta:
        delta = await anext(self._deltas)
        self._pay(len(delta.token_ids))
        if delta.usage is not None:
            self._pay(delta.usage.generated_tokens - self._answer)
            self._account.pay(prompt=delta.usage.prompt_tokens - self._prompt)
        return delta

    def _pay(self, tokens: int) -> None:
        self._answer += tokens
        self._account.pay(answer=tokens)
