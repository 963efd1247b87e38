"""Ollama's templates are written in Go's template language; ours are Jinja. This turns the one into the other where that is certain.

Two kinds are known. A *turn* template knows `.System`, `.Prompt` and `.Response` and is run once for each exchange, as all templates of
models from before 2024 are: it is translated construct by construct, with Ollama's own rules for what a turn is. A template over
`.Messages` is looked up in a small table (`go_families`). Everything else is refused: a prompt that is nearly right makes a model worse
and nobody notices.

https://github.com/ollama/ollama/blob/main/docs/template.mdx
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vllama_agent.chat import go_families

GO = re.compile(r"\{\{-?\s*(?:[.$/]|if\b|range\b|with\b|end\b|else\b|define\b|template\b|block\b)")
"""What begins a Go action and cannot begin a Jinja expression."""
FIELDS = {".System": "system", ".Prompt": "prompt", ".Response": "response", ".Suffix": "''"}
"""Fields in Jinja. A chat has no suffix: filling in is done by the vocabulary's own tokens, never by a template."""
CONDITION = re.compile(r"if (?P<negated>not )?(?P<field>\.System|\.Prompt|\.Suffix)")


class UnknownTemplate(Exception):
    """The template cannot be translated with certainty; the text says what it holds, and the way out."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"it is written in Go's template language and {what}, which vllama cannot translate with certainty; "
            "write the template in Jinja, as the model's page on the hub has it (tokenizer_config.json, chat_template)"
        )


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Field:
    name: str


@dataclass(frozen=True, slots=True)
class _If:
    """`{{ if }}`: the condition in Jinja, and what stands in its two branches."""

    condition: str
    then: tuple[_Node, ...]
    otherwise: tuple[_Node, ...] = ()


_Node = _Text | _Field | _If


def is_go(text: str) -> bool:
    """Whether a template is written in Go's language rather than in Jinja, whose statements Go does not have."""
    return "{%" not in text and GO.search(text) is not None


def to_jinja(text: str) -> str:
    """The same template in Jinja.

    :raises UnknownTemplate: it is none of those that can be translated with certainty.
    """
    known = go_families.jinja_of(text)
    if known is not None:
        return known
    nodes = _Parser(text).nodes()
    if not any(_holds(node, "response") for node in nodes):
        nodes = (*nodes, _Field("response"))
    return _turns(_jinja(nodes), _jinja(_cut(nodes)[0]))


class _Parser:
    """Go's template as a tree."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def nodes(self) -> tuple[_Node, ...]:
        found, end = self._until_end()
        if end is not None:
            raise UnknownTemplate(f"has an {{{{ {end} }}}} too many")
        return found

    def _until_end(self) -> tuple[tuple[_Node, ...], str | None]:
        """Nodes up to an `end` or `else`, and which it was; None: the template's end."""
        found: list[_Node] = []
        while self._at < len(self._tokens):
            kind, value = self._tokens[self._at]
            self._at += 1
            if kind == "text":
                found.append(_Text(value))
            elif value in FIELDS:
                found.append(_Field(FIELDS[value]))
            elif value.startswith("if "):
                found.append(self._if(value))
            elif value == "end" or value.split(" ")[0] == "else":
                return tuple(found), value
            elif not value.startswith("/*"):
                raise UnknownTemplate(f"uses {{{{ {value} }}}}")
        return tuple(found), None

    def _if(self, action: str) -> _If:
        matched = CONDITION.fullmatch(action)
        if matched is None:
            raise UnknownTemplate(f"uses {{{{ {action} }}}}")
        condition = ("not " if matched["negated"] else "") + FIELDS[matched["field"]]
        then, end = self._until_end()
        if end == "end":
            return _If(condition, then)
        if end is None:
            raise UnknownTemplate(f"never ends its {{{{ {action} }}}}")
        if end != "else":
            return _If(condition, then, (self._if(end.removeprefix("else ")),))
        otherwise, end = self._until_end()
        if end != "end":
            raise UnknownTemplate(f"never ends its {{{{ {action} }}}}")
        return _If(condition, then, otherwise)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """("text" or "action", content), blanks trimmed where a minus sign beside an action says so."""
    at, trim = 0, False
    for action in re.finditer(r"\{\{(?P<left>-(?=\s))?(?P<body>.*?)(?P<right>(?<=\s)-)?\}\}", text, re.DOTALL):
        literal = text[at : action.start()]
        literal = literal.lstrip() if trim else literal
        literal = literal.rstrip() if action["left"] else literal
        if literal:
            yield "text", literal
        yield "action", " ".join(action["body"].split())
        at, trim = action.end(), bool(action["right"])
    rest = text[at:].lstrip() if trim else text[at:]
    if "{{" in rest:
        raise UnknownTemplate("has an action that is never closed")
    if rest:
        yield "text", rest


def _holds(node: _Node, name: str) -> bool:
    match node:
        case _Field():
            return node.name == name
        case _If():
            return any(_holds(inner, name) for inner in (*node.then, *node.otherwise))
        case _:
            return False


def _cut(nodes: tuple[_Node, ...]) -> tuple[tuple[_Node, ...], bool]:
    """Without everything behind the answer, which the model is to write; whether the answer was met."""
    kept: list[_Node] = []
    for node in nodes:
        if isinstance(node, _If):
            then, met = _cut(node.then)
            otherwise, met = ((), True) if met else _cut(node.otherwise)
            node = _If(node.condition, then, otherwise)
        else:
            met = node == _Field("response")
        kept.append(node)
        if met:
            return tuple(kept), True
    return tuple(kept), False


def _jinja(nodes: tuple[_Node, ...]) -> str:
    """Text stands in quotation marks, so that Jinja's rules for blanks around its tags do not touch it."""
    return "".join(map(_jinja_of, nodes))


def _jinja_of(node: _Node) -> str:
    match node:
        case _Text():
            return "{{ " + _quoted(node.text) + " }}"
        case _Field():
            return "{{ " + node.name + " }}"
        case _If():
            otherwise = "{% else %}" + _jinja(node.otherwise) if node.otherwise else ""
            return "{% if " + node.condition + " %}" + _jinja(node.then) + otherwise + "{% endif %}"


def _quoted(text: str) -> str:
    escaped = text.encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return f"'{escaped}'"


def _turns(turn: str, last: str) -> str:
    """The template around a turn's: Ollama gathers system prompt, prompt and answer until one of them comes again.

    Neighbours of one role are one message, joined by an empty line.
    """
    flush = "{{ turn(s.system, s.prompt, s.response) }}{% set s.system = '' %}{% set s.prompt = '' %}{% set s.response = '' %}"
    return (
        "{% macro turn(system, prompt, response) %}" + turn + "{% endmacro %}"
        "{% macro last(system, prompt, response) %}" + last + "{% endmacro %}"
        "{% set s = namespace(role='', system='', prompt='', response='') %}"
        "{% for message in messages %}"
        "{% set more = message.role == s.role %}{% set s.role = message.role %}"
        "{% if message.role == 'system' %}"
        "{% if not more and (s.prompt or s.response) %}" + flush + "{% endif %}"
        "{% set s.system = s.system + '\\n\\n' + message.content if more else message.content %}"
        "{% elif message.role == 'user' %}"
        "{% if not more and s.response %}" + flush + "{% endif %}"
        "{% set s.prompt = s.prompt + '\\n\\n' + message.content if more else message.content %}"
        "{% elif message.role == 'assistant' %}"
        "{% set s.response = s.response + '\\n\\n' + message.content if more else message.content %}"
        "{% endif %}"
        "{% endfor %}"
        "{{ last(s.system, s.prompt, s.response) }}"
    )
