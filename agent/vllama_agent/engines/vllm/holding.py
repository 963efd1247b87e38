"""What vLLM holds an answer to: a format alone as vLLM takes it, else a grammar of the whole chat: a free thought, calls, a format. Pure.

Thoughts and calls are read by the agent and not by vLLM, so vLLM's own way of making a model call would hold it to JSON that the model
was never taught. Its `grammar` is llguidance's dialect of Lark, as `arguments` has it use that library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from vllama_agent.chat import answer_grammar
from vllama_agent.chat.answer_grammar import Wanted
from vllama_agent.chat.closed_schemas import closed
from vllama_agent.chat.events import Begun
from vllama_agent.chat.families import Markup
from vllama_agent.chat.grammar_rules import SPACING, NoForm
from vllama_agent.engines.base import Constraint, ConstraintKind, GenerateRequest
from vllama_core.errors import InvalidRequest

MOST_CHARACTERS = 256 * 1024
"""Of a grammar. The largest tool definitions have some tens of kilobytes."""


def is_chats(request: GenerateRequest, markup: Markup) -> bool:
    """Whether more than the words for the reader is held: then the prompt's end has to be known first.

    :param markup: in which the answer is written.
    """
    if request.must_call:
        return True
    return request.constraint is not None and markup != Markup(None, None)


def chat(request: GenerateRequest, markup: Markup, *, template: str, begun: Begun, control: Mapping[str, int]) -> dict[str, Any]:
    """`structured_outputs` of an answer to a chat.

    :param begun: where in the answer the prompt ends.
    :param control: ids of the vocabulary's control tokens, by their texts.
    :raises InvalidRequest: calls in this family's way cannot be held to a grammar.
    """
    names, constraint = request.must_call, request.constraint
    wanted = Wanted(
        markup=markup,
        template=template,
        begun=begun,
        may_think=request.think is not False,
        tools=tuple(tool for tool in request.tools if not names or tool["function"]["name"] in names),
        parallel=request.parallel_calls,
        answer=None if names or constraint is None else schema(constraint),
    )
    if wanted.plain and constraint is not None:
        return alone(constraint)
    named = {text: token for text, token in control.items() if any(text in marker for marker in markup.control())}
    try:
        grammar = answer_grammar.lark(wanted, named)
    except NoForm as error:
        raise _refused(request, str(error)) from None
    except RecursionError:
        raise _refused(request, "a schema is nested too deeply") from None
    if len(grammar) > MOST_CHARACTERS:
        raise _refused(request, f"its grammar has {len(grammar)} characters; at most {MOST_CHARACTERS} are taken")
    return {"grammar": grammar}


def _refused(request: GenerateRequest, why: str) -> InvalidRequest:
    field = field_of(request)
    return InvalidRequest(f"{field} cannot be honoured: {why}", field=field)


def field_of(request: GenerateRequest) -> str | None:
    """The field that says what the answer has to be; None: none does."""
    if request.must_call:
        return "tool_choice"
    return request.constraint.field if request.constraint is not None else None


def alone(constraint: Constraint) -> dict[str, Any]:
    """`structured_outputs` of an answer that is nothing but what it has to match."""
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT | ConstraintKind.JSON_SCHEMA:
            return {"json": {**closed(schema(constraint)), "x-guidance": SPACING}}
        case ConstraintKind.REGEX:
            return {"regex": constraint.text}
        case ConstraintKind.LARK:
            return {"grammar": constraint.text}


def schema(constraint: Constraint) -> dict[str, Any]:
    """The JSON schema of a format.

    :raises InvalidRequest: it has none, and only JSON can stand beside thoughts and calls.
    """
    if constraint.kind is ConstraintKind.JSON_OBJECT:
        return {"type": "object"}
    if constraint.kind is not ConstraintKind.JSON_SCHEMA:
        raise InvalidRequest(f"{constraint.field} is not JSON, which alone can stand beside thoughts and calls", field=constraint.field)
    found: dict[str, Any] = orjson.loads(constraint.text)
    return found
