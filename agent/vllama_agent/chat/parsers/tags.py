"""Calls whose arguments are written as tags, each value as plain text: its type comes from the tool's schema. Pure."""

from __future__ import annotations

import re
from typing import Any

from vllama_agent.chat.events import Call
from vllama_agent.chat.parsers import values

Tools = dict[str, dict[str, Any]]
SPACE = r"(?:｜DSML｜|[a-z]+:)?"
"""DeepSeek's and other prefixes of tags."""
FUNCTION = re.compile(r"<function=([^>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
PARAMETER = re.compile(r"<parameter=([^>\n]+)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
INVOKE = re.compile(rf'<{SPACE}invoke name="([^"]+)">(.*?)</{SPACE}invoke>', re.DOTALL)
ATTRIBUTED = re.compile(rf'<{SPACE}parameter name="([^"]+)"(?: string="(true|false)")?>(.*?)</{SPACE}parameter>', re.DOTALL)
ARGUMENT = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
PARAM = re.compile(r'<param name="([^"]+)">(.*?)</param>', re.DOTALL)
CDATA = re.compile(r"<!\[CDATA\[(.*)\]\]>", re.DOTALL)


def functions(body: str, tools: Tools) -> list[Call]:
    """`<function=f><parameter=a>\\nvalue\\n</parameter></function>`."""
    return [
        Call(name.strip(), {key.strip(): _value(tools, name, key, _unwrapped(value)) for key, value in PARAMETER.findall(inner)})
        for name, inner in FUNCTION.findall(body)
    ]


def invokes(body: str, tools: Tools) -> list[Call]:
    """`<invoke name="f"><parameter name="a">value</parameter></invoke>`; DeepSeek says of each value whether it is a text."""
    return [Call(name, {key: _stated(value, text, _schema(tools, name, key)) for key, text, value in ATTRIBUTED.findall(inner)})
            for name, inner in INVOKE.findall(body)]  # fmt: skip


def arg_keys(body: str, tools: Tools) -> list[Call]:
    """`f<arg_key>a</arg_key><arg_value>value</arg_value>`."""
    name = body.partition("<arg_key>")[0].strip()
    if not name or "<" in name or "\n" in name:
        return []
    return [Call(name, {key.strip(): _value(tools, name, key, value) for key, value in ARGUMENT.findall(body)})]


def named(body: str, tools: Tools) -> list[Call]:
    """`f"><param name="a">value</param>`, after `<function name="`."""
    name, closed, inner = body.partition('">')
    if not closed or not name:
        return []
    return [Call(name, {key: _cdata(value, _schema(tools, name, key)) for key, value in PARAM.findall(inner)})]


def _value(tools: Tools, name: str, key: str, text: str) -> Any:
    return values.typed(text, _schema(tools, name, key))


def _schema(tools: Tools, name: str, key: str) -> Any:
    return tools.get(name.strip(), {}).get(key.strip())


def _unwrapped(value: str) -> str:
    """Without the line feed after the opening tag and the one before the closing tag."""
    return value.removeprefix("\n").removesuffix("\n")


def _stated(value: str, text: str, schema: Any) -> Any:
    if text == "true":
        return value
    return values.typed(value, None if text == "false" else schema)


def _cdata(value: str, schema: Any) -> Any:
    quoted = CDATA.fullmatch(value)
    return quoted[1] if quoted else values.typed(value, schema)
