"""mlx-lm's server takes thoughts and calls out of an answer; here they are put back as the markup that our own parsers read. Pure.

So one reader serves all engines, and the APIs above see no difference. The markup is Qwen's, whatever the model writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from vllama_agent.engines.openai_events import Answer
from vllama_agent.engines.sse import DONE
from vllama_core.errors import EngineFailed

OPEN, CLOSE = "<think>", "</think>"


class MarkedUp(Answer):
    """One streamed answer to a chat.

    :ivar thinking: a thought is open.
    """

    def __init__(self) -> None:
        super().__init__(chat=True)
        self.thinking = False

    def take(self, payloads: Iterable[bytes]) -> None:
        """Take in events.

        :raises EngineFailed: one tells an error, or is none.
        """
        super().take([payload if payload == DONE else self._rewritten(payload) for payload in payloads])

    def _rewritten(self, payload: bytes) -> bytes:
        try:
            event: dict[str, Any] = orjson.loads(payload)
            for choice in event.get("choices") or ():
                choice["delta"] = {"content": self._text(choice.get("delta") or {}, last=choice.get("finish_reason") is not None)}
            return orjson.dumps(event)
        except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError) as error:
            raise EngineFailed(f"the engine sent an event that cannot be read ({type(error).__name__})") from None

    def _text(self, delta: dict[str, Any], *, last: bool) -> str:
        thought, words, calls = delta.get("reasoning") or "", delta.get("content") or "", delta.get("tool_calls") or ()
        made = ""
        if thought and not self.thinking:
            made, self.thinking = OPEN, True
        made += thought
        if self.thinking and (words or calls or last):
            made, self.thinking = made + CLOSE, False
        return made + words + "".join(map(_call, calls))


def _call(call: dict[str, Any]) -> str:
    function = call["function"]
    arguments = function["arguments"]
    given = orjson.loads(arguments) if isinstance(arguments, str) else arguments
    return f"<tool_call>\n{orjson.dumps({'name': function['name'], 'arguments': given}).decode()}\n</tool_call>"
