"""Chat templates: the Jinja text that a model carries, in a sandbox.

The environment offers what Hugging Face's and llama.cpp's renderers offer, so that templates work unchanged:
https://huggingface.co/docs/transformers/chat_templating_writing. Templates come with models and are not to be trusted: they run in the
text helper, a process with a deadline and a memory limit.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Sequence
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateError(Exception):
    """The template is broken, or refused the messages; the text says which."""


def _raise_exception(message: str) -> None:
    raise TemplateError(f"the model's chat template refused the messages: {message}")


def _tojson(value: Any, indent: int | None = None, **_ignored: Any) -> str:
    # unlike Jinja's own filter: no HTML escapes, which models have never seen
    return json.dumps(value, ensure_ascii=False, indent=indent)


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], keep_trailing_newline=False
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda format_: datetime.datetime.now().strftime(format_)
    return environment


@functools.lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    return _environment().from_string(source)


def check(source: str) -> None:
    """Whether a template can be compiled at all.

    :raises TemplateError: it cannot; the text says where.
    """
    try:
        _environment().parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"the chat template does not parse: line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise TemplateError("the chat template does not parse: it is nested too deeply") from None


def render(source: str | None, messages: Sequence[dict[str, Any]], *, bos: str, eos: str) -> str:
    """The prompt text for a chat, ready for the model's answer.

    A last message of the assistant is continued: nothing closes it. Without a template (a base model) the contents stand one after
    the other, each on its own line, which is what such a model can continue.

    :raises TemplateError: the template is broken or refused the messages.
    """
    if source is None:
        return "\n".join(message["content"] for message in messages)
    continued = messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else None
    try:
        text = _compiled(source).render(
            messages=list(messages),
            bos_token=bos,
            eos_token=eos,
            add_generation_prompt=continued is None,
            tools=None,
            enable_thinking=False,
        )
    except TemplateError:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"the chat template does not parse: line {error.lineno}: {error.message}") from None
    except Exception as error:  # a template can raise anything: it is a program of somebody else's
        raise TemplateError(f"the chat template failed: {type(error).__name__}: {error}") from None
    return text if not continued else _cut_after(text, continued)


def _cut_after(text: str, content: str) -> str:
    """Drop what the template put behind the last message, so that the model goes on writing it."""
    stripped = content.strip()
    at = text.rfind(stripped)
    return text if at < 0 else text[: at + len(stripped)]
