"""Calls in Python's syntax (Llama 4, LFM 2), and in Gemma's."""

from __future__ import annotations

import ast
import re
from typing import Any

from vllama_agent.chat.events import Call
from vllama_agent.chat.parsers import values

JSON_NAMES = {"true": True, "false": False, "null": None}
GEMMA = re.compile(r"\s*call:([\w.\-]+)\s*(?=\{)")
KEY = re.compile(r"\s*([^:{}\[\],]+?)\s*:")
PLAIN = re.compile(r"\s*([^,{}\[\]]*)")


def python_calls(text: str) -> list[Call]:
    """The calls of `[f(a=1), g(b="x")]`, or of one call alone; none: it is something else."""
    if len(text) > values.LONGEST_PYTHON:
        return []
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return [_python_call(node) for node in (tree.elts if isinstance(tree, ast.List) else [tree])]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
        raise ValueError("no call with named arguments")
    arguments = {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
    # Llama writes its built-in tools so: brave_search.call(query="…")
    return Call(ast.unparse(node.func).removesuffix(".call"), values.loads(values.dumps(arguments)))


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name) if name in JSON_NAMES:
            return JSON_NAMES[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=found):
            return {str(_value(key)): _value(value) for key, value in zip(keys, found, strict=True) if key is not None}
        case _:
            return ast.literal_eval(node)


def gemma_call(text: str, *, quote: str) -> Call | None:
    """`call:f{a:⟨quote⟩text⟨quote⟩,b:[1,true]}`; None: it is something else."""
    head = GEMMA.match(text)
    if head is None:
        return None
    try:
        arguments, _ = _Gemma(text, quote).value(head.end())
    except (ValueError, RecursionError):
        return None
    return Call(head[1], arguments)


class _Gemma:
    """Gemma's objects: like JSON, but keys are bare and texts stand between tokens of their own."""

    def __init__(self, text: str, quote: str) -> None:
        self._text = text
        self._quote = quote

    def value(self, at: int) -> tuple[Any, int]:
        """The value that begins at a place, and where it ends."""
        at = self._blank(at)
        if self._text.startswith(self._quote, at):
            return self._string(at)
        match self._text[at : at + 1]:
            case "{":
                return self._object(at + 1)
            case "[":
                return self._array(at + 1)
            case _:
                found = PLAIN.match(self._text, at)
                return (values.typed(found[1].strip(), None), found.end()) if found else ("", at)

    def _string(self, at: int) -> tuple[str, int]:
        begin = at + len(self._quote)
        end = self._text.index(self._quote, begin)
        return self._text[begin:end], end + len(self._quote)

    def _object(self, at: int) -> tuple[dict[str, Any], int]:
        made: dict[str, Any] = {}
        while not self._text.startswith("}", at := self._blank(at)):
            if self._text.startswith(self._quote, at):
                key, end = self._string(at)
                at = self._text.index(":", end) + 1
            elif found := KEY.match(self._text, at):
                key, at = found[1], found.end()
            else:
                raise ValueError("no key")
            made[key], at = self.value(at)
        return made, at + 1

    def _array(self, at: int) -> tuple[list[Any], int]:
        made = []
        while not self._text.startswith("]", at := self._blank(at)):
            if at >= len(self._text):
                raise ValueError("the list never ends")
            value, after = self.value(at)
            if after == at:
                raise ValueError("an item is empty")
            made.append(value)
            at = after
        return made, at + 1

    def _blank(self, at: int) -> int:
        while self._text[at : at + 1] in (" ", "\n", "\t", ","):
            at += 1
        return at
