"""The grammar of a chat's whole answer: a free thought first, then what is demanded of it: calls, a format, or either. Pure.

It stands over one grammar for each tool's arguments, and over the format's: grammars of their own that it names (`compose`: `@args0`,
`@answer`), or rules with schemas in them (`lark`), all in llguidance's dialect of Lark.
Where a marker is a control token it is named by its id, since no text matches one; a free text ends at it by itself. Markers that are
text end the free text before them by being looked for.

https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from vllama_agent.chat import call_forms, gemma_objects
from vllama_agent.chat.call_forms import Form
from vllama_agent.chat.closed_schemas import closed
from vllama_agent.chat.events import Begun
from vllama_agent.chat.families import Markers, Markup
from vllama_agent.chat.grammar_rules import PLACES, NoForm, Rules, one_by_one, properties_of, quoted, required_of, spaced
from vllama_agent.chat.parsers import values

MOST_CALLS = 32
"""In one answer. A model that makes more repeats itself, and nothing else would end it."""
HARMONY_THOUGHT = ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant")
HARMONY_ANSWER = "<|channel|>final<|message|>"
BLANKS = "/[ \\n]{0,4}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an answer has to be.

    :ivar template: of the chat.
    :ivar begun: where in the answer the prompt ends.
    :ivar may_think: a thought may come first; one that the prompt opened does in any case.
    :ivar tools: those that may be called; none = no calls.
    :ivar parallel: several calls may be made at once.
    :ivar answer: what the words for the reader have to match, if they may come at all: llguidance's form of it for `compose`, a JSON schema
        for `lark`.
    """

    markup: Markup
    template: str
    begun: Begun
    may_think: bool
    tools: tuple[dict[str, Any], ...] = ()
    parallel: bool = True
    answer: str | dict[str, Any] | None = None

    @property
    def plain(self) -> bool:
        """Whether it is the format's own grammar and nothing else: there is no thought, no call and no channel around it."""
        return not (self.tools or _thinks(self) or _is_harmony(self.markup))


def compose(wanted: Wanted, control: Mapping[str, int], arguments: Sequence[str]) -> str:
    """llguidance's form of the whole.

    :param control: ids of the control tokens that markers are made of, by their texts.
    :param arguments: llguidance's form of each tool's arguments, of `argument_schemas`; without any where they are tags.
    :raises NoForm: the family's calls cannot be demanded.
    """
    parts = [{"name": "chat", "lark_grammar": _whole(wanted, Rules(control, others="@"))}]
    parts += [_named(f"args{index}", grammar) for index, grammar in enumerate(arguments)]
    if isinstance(wanted.answer, str):
        parts.append(_named("answer", wanted.answer))
    return json.dumps({"grammars": parts})


def lark(wanted: Wanted, control: Mapping[str, int]) -> str:
    """The same as one text, for whoever compiles it himself.

    :raises NoForm: as `compose`.
    """
    schemas = [(f"args{index}", schema) for index, schema in enumerate(argument_schemas(wanted))]
    if isinstance(wanted.answer, dict):
        schemas.append(("answer", wanted.answer))
    return "\n".join([_whole(wanted, Rules(control)), *(f"{name}: %json {spaced(closed(schema))}" for name, schema in schemas)])


def _whole(wanted: Wanted, rules: Rules) -> str:
    calls, answer = _calls(wanted, rules), _answer(wanted, rules)
    either = " | ".join(part for part in (answer, calls) if part)
    thought = _thought(wanted, rules)
    start = f"start: {thought} {BLANK_RULE} body" if thought else "start: body"
    return "\n".join([start, f"body: {either}", f"{BLANK_RULE}: {BLANKS}", *rules.lines])


BLANK_RULE = "blanks"


def argument_schemas(wanted: Wanted) -> list[dict[str, Any]]:
    """The schemas of the tools' arguments, where the family writes them as one JSON object."""
    if not wanted.tools or not _form(wanted).is_json:
        return []
    return [parameters_of(tool) for tool in wanted.tools]


def parameters_of(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool's parameters: the schema of an object."""
    return {"type": "object", **(tool["function"].get("parameters") or {})}


def _named(name: str, grammar: str) -> dict[str, Any]:
    """The one grammar of llguidance's list, by a name of ours."""
    (only,) = orjson.loads(grammar)["grammars"]
    return {**only, "name": name}


def _is_harmony(markup: Markup) -> bool:
    return markup.family is not None and markup.family.name == "harmony"


def _thinks(wanted: Wanted) -> bool:
    """Whether a thought may come first."""
    if wanted.begun is Begun.THOUGHT:
        return True
    return wanted.begun is Begun.NOT and wanted.may_think and (wanted.markup.thought is not None or _is_harmony(wanted.markup))


def _thought(wanted: Wanted, rules: Rules) -> str:
    if not _thinks(wanted):
        return ""
    opening, end = _around(wanted.markup.thought) if wanted.markup.thought else HARMONY_THOUGHT
    if wanted.begun is Begun.THOUGHT:
        return rules.until(end)
    return f"({BLANK_RULE} {rules.literal(opening)} {rules.until(end)})?"


def _around(thought: Markers) -> tuple[str, str]:
    return thought.open, thought.close


def _answer(wanted: Wanted, rules: Rules) -> str:
    if wanted.answer is None:
        return ""
    if _is_harmony(wanted.markup) and wanted.begun is not Begun.TEXT:
        return f"{rules.literal(HARMONY_ANSWER)} {rules.others}answer"
    thought = wanted.markup.thought
    openings = [rules.literal(text) for text in thought.drops] if thought else []
    before = f"({' | '.join(openings)})? " if openings else ""
    return f"{before}{rules.others}answer"


def _calls(wanted: Wanted, rules: Rules) -> str:
    if not wanted.tools:
        return ""
    form = _form(wanted)
    one = rules.rule(" | ".join(_call(form, tool, index, rules) for index, tool in enumerate(wanted.tools)))
    between = rules.filled(form.between, {})
    more = f"({between} {one}){{0,{MOST_CALLS - 1}}}" if wanted.parallel and not form.single else ""
    return " ".join(part for part in (rules.literal(form.opening), one, more, rules.literal(form.closing)) if part)


def _form(wanted: Wanted) -> Form:
    family = wanted.markup.family
    form = call_forms.of(family.name, wanted.template) if family is not None else None
    if form is None:
        name = family.name if family is not None else "this model"
        raise NoForm(
            f"calls in the way of {name} cannot be held to a grammar; leave them to the model: no tool_choice, and no format beside tools"
        )
    return form


def _call(form: Form, tool: Mapping[str, Any], index: int, rules: Rules) -> str:
    if form.quote:
        arguments = gemma_objects.rule(parameters_of(tool), rules, quote=form.quote)
    elif form.text:
        arguments = rules.rule(_tags(form, parameters_of(tool), rules))
    else:
        arguments = f"{rules.others}args{index}"
    return rules.filled(form.call, {"name": quoted(tool["function"]["name"]), "args": arguments})


def _tags(form: Form, parameters: dict[str, Any], rules: Rules) -> str:
    """Arguments one by one, in the schema's order: each that is not required may be left out."""
    properties, needs = properties_of(parameters), required_of(parameters)
    required = [key for key in properties if key in needs]
    optional = [key for key in properties if key not in required]
    made = [rules.rule(_tag(form, key, _with_definitions(properties[key], parameters), rules)) for key in (*required, *optional)]
    needed, extra = made[: len(required)], made[len(required) :]
    if not form.comma:
        return " ".join([*needed, *(f"{rule}?" for rule in extra)]) or '""'
    return one_by_one(needed, extra, rules, between=quoted(form.comma))


def _tag(form: Form, key: str, schema: Any, rules: Rules) -> str:
    if form.quoted:
        return rules.filled(form.text, {"key": quoted(key), "value": f"%json {spaced(schema)}"})
    if not _is_text(schema):
        return rules.filled(form.value or form.text, {"key": quoted(key), "value": f"%json {spaced(schema)}"})
    before, _, after = form.text.partition("$value")
    fixed = list(_fixed_texts(schema))
    if fixed:
        value = f"({' | '.join(map(quoted, fixed))}) {rules.filled(after, {})}"
    else:
        # what may be left out at the end is no part of what ends the text
        end = PLACES.split(after)[0]
        value = f"{rules.until(end)} {rules.filled(after[len(end) :], {})}"
    return f"{rules.filled(before, {'key': quoted(key)})} {value}".strip()


def _is_text(schema: Any) -> bool:
    """Whether an argument is written as it stands. What is of no declared type is: whoever reads it takes it for JSON where it is some."""
    types = values.types(schema)
    return "string" in types or not (types or (isinstance(schema, dict) and "$ref" in schema))


def _fixed_texts(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        listed = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
        yield from (text for text in listed if isinstance(text, str) and text)


def _with_definitions(schema: Any, parameters: Mapping[str, Any]) -> Any:
    """A part of a schema, with what its references may point to."""
    named = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
    return {**named, **schema} if isinstance(schema, dict) else schema
