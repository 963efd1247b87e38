"""OpenAI's Responses: JSON in, a `Call` out. Replies stand in `responses_replies`, items in `responses_items`.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vllama_agent.apis import fields, openai, options, responses_items, tools
from vllama_agent.apis.defaults import NONE, Defaults
from vllama_agent.engines.base import Constraint, ConstraintKind, GenerateRequest, Message
from vllama_core.errors import InvalidRequest, NotYet

HOSTED = ("web_search", "file_search", "code_interpreter", "image_generation", "mcp", "computer", "local_shell", "shell", "tool_search")
"""Tools that run at OpenAI, by the beginnings of their types. A model is not shown them; the reply says so in X-Vllama-Ignored."""
ECHOED = ("instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "previous_response_id", "reasoning", "temperature",
          "text", "tool_choice", "tools", "top_p", "truncation", "user")  # fmt: skip
"""What a reply repeats of its request."""
Earlier = Callable[[str], tuple[Message, ...]]
"""The turns that led to a response, and its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A checked request of /v1/responses.

    :ivar turns: what is to be kept for a next request that goes on from the response: all but the instructions.
    :ivar keep: whether it may be kept.
    :ivar echo: what the reply repeats.
    """

    model: str
    request: GenerateRequest
    turns: tuple[Message, ...]
    stream: bool
    keep: bool
    echo: dict[str, Any]
    ignored: tuple[str, ...] = ()


def create(body: dict[str, Any], defaults: Defaults = NONE, *, earlier: Earlier | None = None) -> Call:
    """POST /v1/responses.

    :param defaults: what the model brings.
    :param earlier: finds the turns of `previous_response_id`; None: no response is kept here.
    :raises InvalidRequest: names the field.
    """
    model = fields.required(body, "model")
    fields.refuse_non_empty(body, "background", "conversation", "prompt")
    if fields.integer(body, "top_logprobs", low=0, high=openai.MAX_ALTERNATIVES):
        raise NotYet("top_logprobs")
    instructions = fields.text(body, "instructions")
    turns = (*_before(fields.text(body, "previous_response_id"), earlier), *responses_items.turns(body.get("input")))
    offered, hosted = _offered(body.get("tools"))
    shown, demanded = tools.chosen(_choice(body.get("tool_choice")), offered)
    brought = options.parse(None, defaults)
    first = (Message(role="system", content=instructions),) if instructions else ()
    limit = fields.integer(body, "max_output_tokens", low=1, high=2**31 - 1)
    request = GenerateRequest(
        messages=defaults.chat((*first, *turns)),
        template=defaults.template,
        tools=shown,
        must_call=demanded,
        parallel_calls=fields.flag(body, "parallel_tool_calls", True),
        think=_think(body.get("reasoning")),
        constraint=_format(body.get("text")),
        sampling=openai.sampling(body, options.checked(defaults.parameters)),
        stop=brought.stop,
        max_tokens=limit or brought.max_tokens,
        num_ctx=brought.num_ctx,
        truncate=_truncates(body.get("truncation")),
    )
    keep = fields.flag(body, "store", True)
    unkept = ("store",) if body.get("store") and earlier is None else ()
    return Call(
        model=model,
        request=request,
        turns=turns,
        stream=fields.flag(body, "stream", False),
        keep=keep and earlier is not None,
        echo={name: body[name] for name in ECHOED if body.get(name) is not None},
        ignored=(*hosted, *unkept),
    )


def fitted(capabilities: frozenset[str], call: Call) -> Call:
    """The request as the model can honour it: one that does not think just answers, since some clients always send an effort.

    :raises InvalidRequest: it cannot, and says what.
    """
    if "thinking" not in capabilities and call.request.think:
        call = replace(call, request=replace(call.request, think=None), ignored=(*call.ignored, "reasoning"))
    openai.require(capabilities, call.model, (call.request,))
    return call


def _before(previous: str | None, earlier: Earlier | None) -> tuple[Message, ...]:
    if not previous:
        return ()
    if earlier is None:
        raise InvalidRequest(
            "previous_response_id: this server keeps no responses; start it with --keep-responses N, or send the whole conversation",
            field="previous_response_id",
        )
    return earlier(previous)


def _offered(value: Any) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    """`tools` as chats have them, and the types of those that only OpenAI has."""
    if fields.asks_nothing(value):
        return (), ()
    if not isinstance(value, list):
        raise fields.wrong_type("tools", "an array", value)
    offered, hosted = [], []
    for index, item in enumerate(value):
        path = f"tools[{index}]"
        if not isinstance(item, dict):
            raise fields.wrong_type(path, "an object", item)
        kind = fields.text(item, "type", f"{path}.") or ""
        if kind == "function":
            offered.append(_tool(item, path))
        elif kind.startswith(HOSTED):
            hosted.append(kind)
        else:
            raise InvalidRequest(f"{path}.type must be function, not {fields.shown(kind)}", field=f"{path}.type")
    return tools.tools(offered), options.header_names(hosted)


def _tool(item: dict[str, Any], path: str) -> dict[str, Any]:
    """A function as chats have it: one level deeper."""
    if not fields.text(item, "name", f"{path}."):
        raise InvalidRequest(f"{path}.name is required", field=f"{path}.name")
    fields.text(item, "description", f"{path}.")
    if not isinstance(item.get("parameters"), dict | None):
        raise fields.wrong_type(f"{path}.parameters", "an object", item["parameters"])
    return {"type": "function", "function": {key: item.get(key) for key in ("name", "description", "parameters")}}


def _choice(value: Any) -> Any:
    """`tool_choice` as chats have it: names are one level deeper there."""
    match value:
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": mode, "tools": list(some)}:
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [_choice(item) for item in some]}}
        case _:
            return value


def _think(value: Any) -> bool | str | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise fields.wrong_type("reasoning", "an object", value)
    return tools.effort(value.get("effort"), "reasoning.effort")


def _truncates(value: Any) -> bool:
    if value not in (None, "auto", "disabled"):
        raise InvalidRequest(f"truncation must be auto or disabled, not {fields.shown(value)}", field="truncation")
    return bool(value == "auto")


def _format(value: Any) -> Constraint | None:
    """`text.format`. A schema is kept to whether it is called strict or not."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise fields.wrong_type("text", "an object", value)
    asked, path = value.get("format"), "text.format"
    if asked is None:
        return None
    if not isinstance(asked, dict):
        raise fields.wrong_type(path, "an object", asked)
    match asked.get("type"):
        case "text":
            return None
        case "json_object":
            return Constraint(kind=ConstraintKind.JSON_OBJECT, field=path)
        case "json_schema":
            schema = asked.get("schema")
            if not isinstance(schema, dict):
                raise fields.wrong_type(f"{path}.schema", "an object", schema)
            text = fields.json_text(schema, f"{path}.schema")
            return Constraint(kind=ConstraintKind.JSON_SCHEMA, text=text, field=f"{path}.schema")
        case _:
            raise InvalidRequest(f"{path}.type must be text, json_object or json_schema", field=f"{path}.type")
