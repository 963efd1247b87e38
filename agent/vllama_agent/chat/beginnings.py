"""Where in an answer the prompt of a chat ends: before it, in a thought, or in its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllama_agent.chat import templates
from vllama_agent.chat.events import Begun
from vllama_agent.chat.families import Markup


def begun(messages: Sequence[dict[str, Any]], rendered: str, markup: Markup) -> Begun:
    """Where in the answer the prompt ends.

    :param rendered: the prompt's text, or its end.
    """
    thought, words = markup.thought, templates.begun_text(messages)
    if thought and words and thought.open in words:
        return Begun.TEXT if thought.close in words.rpartition(thought.open)[2] else Begun.THOUGHT
    if words:
        return Begun.TEXT if messages[-1]["content"] else Begun.THOUGHT
    return Begun.THOUGHT if thought and rendered.rstrip().endswith(thought.open) else Begun.NOT
