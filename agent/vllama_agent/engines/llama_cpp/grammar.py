"""From what a request asks its answer to be held to, to a grammar that is known to compile. Runs in the text helper.

A schema is a stranger's program: compiling it may take long, or much memory. In the helper that costs one job, with a deadline.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import llguidance
import orjson

from vllama_agent.chat import answer_grammar
from vllama_agent.chat.answer_grammar import Wanted
from vllama_agent.chat.closed_schemas import closed
from vllama_agent.chat.grammar_rules import SPACING, NoForm
from vllama_agent.engines.base import Constraint, ConstraintKind

MAX_BYTES = 256 * 1024
"""Of a schema, expression or grammar. The largest tool definitions have some tens of kilobytes."""
LIMITS = llguidance.LLParserLimits(
    step_lexer_fuel=50_000,  # 4 ms of a step
    step_max_items=50_000,  # 3 ms of a step
    max_lexer_states=50_000,  # up to 100 MB
    verbose_errors=False,  # they would carry the schema into logs
)
"""The same in the helper and in the worker, so that what one takes the other takes."""


class GrammarRefused(Exception):
    """The constraint cannot be honoured; the sentence says why."""


def prepare(constraint: Constraint) -> str:
    """llguidance's form of a constraint.

    :raises GrammarRefused: it is too large, no schema, uses a keyword that is not supported, or allows no text at all.
    """
    grammar = _sized(constraint)
    _check(grammar)
    return grammar


def prepare_chat(wanted: Wanted, constraint: Constraint | None, control: dict[str, int]) -> str:
    """llguidance's form of what the whole answer to a chat has to be.

    :param wanted: with the tools that may be called; its `answer` is made here.
    :param constraint: what the words for the reader have to match; None = there are to be none.
    :param control: ids of the control tokens of the chat's markup, by their texts.
    :raises GrammarRefused: as `prepare`; or calls cannot be demanded of this family.
    """
    answer = _sized(constraint) if constraint is not None else None
    if wanted.plain:
        assert answer is not None, "something is demanded"
        _check(answer)
        return answer
    try:
        whole = replace(wanted, answer=answer)
        arguments = [_from_schema(parameters) for parameters in answer_grammar.argument_schemas(whole)]
        _check(answer_grammar.compose(whole, {}, arguments))
        return answer_grammar.compose(whole, control, arguments)
    except NoForm as error:
        raise GrammarRefused(str(error)) from None


def _sized(constraint: Constraint) -> str:
    _check_size(constraint.text)
    return _grammar(constraint)


def _check_size(text: str) -> None:
    if len(text) > MAX_BYTES:
        raise GrammarRefused(f"it has {len(text)} characters; at most {MAX_BYTES} are taken")


def _check(grammar: str) -> None:
    # one token for each byte: whether there is a first token at all is known only from a first mask
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0, limits=LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise GrammarRefused(_reason(matcher.get_error()))


def _grammar(constraint: Constraint) -> str:
    make = llguidance.LLMatcher
    match constraint.kind:
        case ConstraintKind.REGEX:
            return str(make.grammar_from_regex(constraint.text))
        case ConstraintKind.LARK:
            return str(make.grammar_from_lark(constraint.text))
        case ConstraintKind.JSON_OBJECT:
            return str(make.grammar_from_json_schema({"type": "object"}, overrides=SPACING))
        case ConstraintKind.JSON_SCHEMA:
            return _from_schema(orjson.loads(constraint.text))


def _from_schema(wanted: Any) -> str:
    text = orjson.dumps(closed(wanted)).decode()
    _check_size(text)
    try:
        return str(llguidance.LLMatcher.grammar_from_json_schema(text, overrides=SPACING))
    except ValueError as error:  # before there is a matcher that could tell it
        raise GrammarRefused(_reason(str(error))) from None


def first_line(error: str) -> str:
    """What llguidance says, without the state that it appends."""
    return error.partition("\n<")[0]


def _reason(error: str) -> str:
    message = first_line(error)
    if message.startswith("Unimplemented keys: "):
        return f"unsupported keywords: {message.removeprefix('Unimplemented keys: ').strip('[]')}; leave them out"
    if message.startswith("oneOf constraints are not supported"):
        return 'unsupported keyword: "oneOf" with alternatives that one value could match together; use "anyOf"'
    if message.startswith("recursion limit exceeded"):  # at 128 levels of JSON, its own around the schema among them
        return "it is nested too deeply"
    if message == "NoExtensionBias":
        return "no text can match it"
    return message
