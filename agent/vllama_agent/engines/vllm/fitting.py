"""What of a prompt that is too long is left out: the oldest messages of a chat, the middle of a bare prompt. Pure, as for llama.cpp."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from vllama_agent.engines.base import GenerateRequest

Count = Callable[[GenerateRequest], Awaitable[list[int]]]
"""The tokens of a chat."""


async def shortened(request: GenerateRequest, room: int, tokens_of: Count) -> tuple[GenerateRequest, list[int], int]:
    """The chat without as few of its oldest messages as make it fit; system messages and the last one stay.

    :param room: most tokens.
    :returns: the chat, its tokens (too many still, where nothing more may go), and those of the whole one.
    """
    messages = request.messages or ()
    droppable = [i for i, message in enumerate(messages[:-1]) if message.role != "system"]

    def without(count: int) -> GenerateRequest:
        gone = set(droppable[:count])
        return replace(request, messages=tuple(message for i, message in enumerate(messages) if i not in gone))

    whole = await tokens_of(request)
    low, high = 0, len(droppable)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(await tokens_of(without(middle))) <= room else (middle + 1, high)
    return without(low), await tokens_of(without(low)), len(whole)


def cut(tokens: Sequence[int], room: int, keep: int) -> list[int]:
    """The first `keep` tokens and the newest ones.

    :param keep: negative: as many as may be.
    """
    if len(tokens) <= room:
        return list(tokens)
    keep = room // 2 if keep < 0 else min(keep, room // 2)
    return [*tokens[:keep], *tokens[len(tokens) - (room - keep) :]]
