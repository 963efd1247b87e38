"""The Jinja that chat templates are written in: a sandbox with the extensions of Hugging Face's renderer.

https://huggingface.co/docs/transformers/chat_templating_writing
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateError(Exception):
    """The template is broken, or refused the messages; the text says which."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Nothing that a template is given can be changed by it, but its lists: Kimi's gathers results in one."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return (isinstance(obj, list) and attr in ("append", "pop")) or super().is_safe_attribute(obj, attr, value)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`: marks for training what the model is to write. Rendering shows what is inside."""

    tags = {"generation"}  # noqa: RUF012 - declared so in Jinja's base class

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_shown"), [], [], body).set_lineno(line)

    def _shown(self, caller: Callable[[], str]) -> str:
        return caller()


def _raise_exception(message: str) -> None:
    raise TemplateError(f"the model's chat template refused the messages: {message}")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # unlike Jinja's own filter: no HTML escapes, which models have never seen; list: what `map` and `select` make is a generator
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=list)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


@functools.cache
def environment() -> ImmutableSandboxedEnvironment:
    """The one environment; templates keep no state in it."""
    made = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
    made.filters["tojson"] = _tojson
    made.filters["from_json"] = json.loads
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = _strftime_now
    return made


@functools.lru_cache(maxsize=8)
def compiled(source: str) -> jinja2.Template:
    """A template that can be rendered.

    :raises jinja2.TemplateSyntaxError: it cannot.
    """
    return environment().from_string(source)
