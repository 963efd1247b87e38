"""Chat templates: the Jinja text that a model carries, from messages to the prompt's text.

Templates come with models and are not to be trusted: they run in the text helper, a process with a deadline and a memory limit.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from vllama_agent.chat import history
from vllama_agent.chat.environment import TemplateError, compiled, environment

__all__ = ["Chat", "TemplateError", "check", "render"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What is rendered.

    :ivar messages: role, content, and what `base.Message.extra` may hold.
    :ivar tools: as the API gave them; empty = none.
    :ivar think: whether the model is to think, or how hard; None = as Ollama has it: yes.
    :ivar ids: see `history.of`.
    """

    messages: Sequence[dict[str, Any]]
    tools: Sequence[dict[str, Any]] = ()
    think: bool | str | None = None
    ids: str = ""


def check(source: str) -> None:
    """Whether a template can be compiled at all.

    :raises TemplateError: it cannot; the text says where.
    """
    try:
        environment().parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"the chat template does not parse: line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise TemplateError("the chat template does not parse: it is nested too deeply") from None


def render(source: str | None, chat: Chat, *, bos: str, eos: str) -> str:
    """The prompt text for a chat, ready for the model's answer.

    A last message of the assistant is continued: nothing closes it. Without a template (a base model) the contents stand one after
    the other, each on its own line, which is what such a model can continue.

    :raises TemplateError: the template is broken or refused the messages.
    """
    if source is None:
        return "\n".join(message["content"] for message in chat.messages)
    variables = {"bos_token": bos, "eos_token": eos, **variables_of(source, chat)}
    messages = history.of(chat.messages, source, ids=chat.ids)
    begun = begun_text(chat.messages)
    if begun is None:
        return _rendered(source, messages=messages, add_generation_prompt=True, **variables)
    if begun:
        text = _rendered(source, messages=messages, add_generation_prompt=False, **variables)
        at = text.rfind(begun.strip())
        if at >= 0:
            return _cut_after(text, at, begun)
    # the template leaves out or changes what was begun: it follows the words that begin an answer
    return _rendered(source, messages=messages[:-1], add_generation_prompt=True, **variables) + begun


def variables_of(source: str, chat: Chat) -> dict[str, Any]:
    """What a template is given beside the messages."""
    made: dict[str, Any] = {"tools": list(chat.tools) or None, **_thinking(chat.think, source)}
    if "functions" in source:  # the word of 2023, for the tools as a text
        made |= {"functions": json.dumps(list(chat.tools), ensure_ascii=False, indent=4) if chat.tools else ""}
        made |= {"datetime": datetime.datetime.now(datetime.UTC).strftime("%b %d %Y %H:%M:%S GMT")}
    return made


def begun_text(messages: Sequence[dict[str, Any]]) -> str | None:
    """What of the answer is there already: the content of a last message of the assistant, else its thought; None: it is not begun."""
    last = messages[-1] if messages else {"role": "user"}
    if last["role"] != "assistant" or last.get("tool_calls"):
        return None
    return str(last["content"] or last.get("thinking") or "")


def _cut_after(text: str, at: int, begun: str) -> str:
    """Drop what the template put behind the last message, so that the model goes on writing it."""
    whole = begun.lstrip()
    return text[: at + len(whole)] if text.startswith(whole, at) else text[: at + len(whole.rstrip())]


def _rendered(source: str, **variables: Any) -> str:
    try:
        return compiled(source).render(**variables)
    except TemplateError:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"the chat template does not parse: line {error.lineno}: {error.message}") from None
    except Exception as error:  # a template can raise anything: it is a program of somebody else's
        raise TemplateError(f"the chat template failed: {type(error).__name__}: {error}") from None


def _thinking(think: bool | str | None, source: str) -> dict[str, Any]:
    """The variables by which templates are told whether to think: each family has its own.

    `enable_thinking`: Qwen, GLM, Gemma, Command, Nemotron …; `thinking`: DeepSeek, Granite, Kimi; `thinking_mode`: MiniMax;
    `thinking_budget`: Seed (0 = none, absent = as much as it wants); `reasoning_effort`: gpt-oss, Solar, Hunyuan, DeepSeek 4.
    """
    thinks = think is not False
    made: dict[str, Any] = {"enable_thinking": thinks, "thinking": thinks, "thinking_mode": "enabled" if thinks else "disabled"}
    if not thinks:
        made |= {"thinking_budget": 0}
    effort = _effort(think, source)
    return made | ({"reasoning_effort": effort, "thinking_effort": effort} if effort else {})


def _effort(think: bool | str | None, source: str) -> str | None:
    """How hard to think, in the words of the template; None: it says so itself."""

    def names(level: str) -> bool:
        return f"'{level}'" in source or f'"{level}"' in source

    if think is False:
        return next((word for word in ("no_think", "minimal") if names(word)), None)
    if not isinstance(think, str):
        return "high" if names("no_think") else None
    if think == "max" and not names("max"):
        return "high"
    if think == "medium" and names("low") and names("high") and not names("medium"):
        return "high"
    return think
