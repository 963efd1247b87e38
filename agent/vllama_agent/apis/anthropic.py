"""Anthropic's requests: JSON in, a `Call` out. Replies stand in `anthropic_replies`, messages in `anthropic_messages`.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vllama_agent.apis import anthropic_messages, fields, options, tools
from vllama_agent.apis.defaults import NONE, Defaults
from vllama_agent.engines.base import Constraint, ConstraintKind, GenerateRequest, Sampling
from vllama_core.errors import InvalidRequest, NotYet

EFFORTS = ("low", "medium", "high", "xhigh", "max")
THINKING = ("enabled", "adaptive", "between_tools", "disabled")
CHOICES = ("auto", "any", "tool", "none")
WITHOUT_EFFECT = ("context_management", "inference_geo", "speed", "service_tier")
"""What only Anthropic's own service can honour and an answer is right without; the reply names it in X-Vllama-Ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A checked request of /v1/messages or of its count of tokens."""

    model: str
    request: GenerateRequest
    stream: bool
    sequences: tuple[str, ...] = ()
    """Stop sequences that the request itself names."""
    shows_thoughts: bool = True
    ignored: tuple[str, ...] = ()


def messages(body: dict[str, Any], defaults: Defaults = NONE) -> Call:
    """POST /v1/messages.

    :param defaults: what the model brings.
    :raises InvalidRequest: names the field.
    """
    model = fields.required(body, "model")
    limit = fields.integer(body, "max_tokens", low=-(2**31), high=2**31 - 1)
    if limit is None or limit < 1:
        raise InvalidRequest("max_tokens is required and must be positive", field="max_tokens")
    brought = options.parse(None, defaults)
    sequences = fields.strings(body["stop_sequences"], "stop_sequences") if body.get("stop_sequences") is not None else None
    request = replace(
        prompt(body, defaults),
        sampling=_sampling(body, brought.sampling),
        stop=brought.stop if sequences is None else tuple(text for text in sequences if text),
        max_tokens=limit,
        num_ctx=brought.num_ctx,
    )
    return Call(
        model=model,
        request=request,
        stream=fields.flag(body, "stream", False),
        sequences=sequences or (),
        shows_thoughts=_shows_thoughts(body.get("thinking")),
        ignored=tuple(name for name in WITHOUT_EFFECT if not fields.asks_nothing(body.get(name))),
    )


def prompt(body: dict[str, Any], defaults: Defaults = NONE) -> GenerateRequest:
    """What of a request decides its prompt: all that /v1/messages/count_tokens looks at.

    :raises InvalidRequest: names the field.
    """
    fields.refuse_non_empty(body, "mcp_servers", "container")
    turns = anthropic_messages.turns(body.get("system"), body.get("messages"))
    offered = _offered(body.get("tools"))
    choice, parallel = _choice(body.get("tool_choice"))
    shown, demanded = tools.chosen(choice, offered)
    constraint, effort = _output(body.get("output_config"))
    # where a schema stood before output_config; older SDKs still send it so
    constraint = constraint or _format(body.get("output_format"), "output_format")
    return GenerateRequest(
        messages=defaults.chat(turns),
        template=defaults.template,
        tools=shown,
        must_call=demanded,
        parallel_calls=parallel,
        think=_think(body.get("thinking"), effort),
        constraint=constraint,
    )


def fitted(capabilities: frozenset[str], call: Call) -> Call:
    """The request as the model can honour it: one that does not think just answers, as Ollama has it on this route.

    :raises InvalidRequest: it cannot, and says what.
    """
    if "completion" not in capabilities:
        raise InvalidRequest(f"the model '{call.model}' does not generate text", field="model")
    if "tools" not in capabilities and call.request.tools:
        raise InvalidRequest(f"the model '{call.model}' does not support tools", field="tools")
    if "thinking" not in capabilities and call.request.think:
        return replace(call, request=replace(call.request, think=None), ignored=(*call.ignored, "thinking"))
    return call


def _offered(value: Any) -> tuple[dict[str, Any], ...]:
    """`tools` as OpenAI writes them, which is what templates read."""
    if fields.asks_nothing(value):
        return ()
    if not isinstance(value, list):
        raise fields.wrong_type("tools", "an array", value)
    return tools.tools([_tool(item, f"tools[{index}]") for index, item in enumerate(value)])


def _tool(item: Any, path: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise fields.wrong_type(path, "an object", item)
    kind = fields.text(item, "type", f"{path}.")
    if kind not in (None, "custom"):
        raise InvalidRequest(
            f"{path}.type {fields.shown(kind)} is a tool that Anthropic defines; only tools with a name and an input_schema can be offered",
            field=f"{path}.type",
        )
    name = fields.text(item, "name", f"{path}.")
    if not name:
        raise InvalidRequest(f"{path}.name is required", field=f"{path}.name")
    schema = item.get("input_schema")
    if not isinstance(schema, dict | None):
        raise fields.wrong_type(f"{path}.input_schema", "an object", schema)
    return {
        "type": "function",
        "function": {"name": name, "description": fields.text(item, "description", f"{path}."), "parameters": schema},
    }


def _choice(value: Any) -> tuple[str | dict[str, Any], bool]:
    """`tool_choice` in OpenAI's words, and whether several calls may be made at once."""
    if value is None:
        return "auto", True
    if not isinstance(value, dict):
        raise fields.wrong_type("tool_choice", "an object", value)
    parallel = not fields.flag(value, "disable_parallel_tool_use", False, "tool_choice.")
    match value.get("type"):
        case "auto" | "none" as plain:
            return plain, parallel
        case "any":
            return "required", parallel
        case "tool":
            return {"type": "function", "function": {"name": fields.text(value, "name", "tool_choice.")}}, parallel
        case _:
            raise InvalidRequest(f"tool_choice.type must be one of {', '.join(CHOICES)}", field="tool_choice.type")


def _think(value: Any, effort: str | None) -> bool | str | None:
    """Thinking is asked for here: without a word the model does not. The budget of tokens is not kept to."""
    if value is None:
        return effort or False
    if not isinstance(value, dict):
        raise fields.wrong_type("thinking", "an object", value)
    kind = value.get("type")
    if kind not in THINKING:
        raise InvalidRequest(f"thinking.type must be one of {', '.join(THINKING)}", field="thinking.type")
    fields.integer(value, "budget_tokens", low=0, high=2**31 - 1, path="thinking.")
    return False if kind == "disabled" else effort or True


def _shows_thoughts(value: Any) -> bool:
    display = fields.text(value, "display", "thinking.") if isinstance(value, dict) else None
    if display not in (None, "summarized", "omitted"):
        raise InvalidRequest(f"thinking.display must be summarized or omitted, not {fields.shown(display)}", field="thinking.display")
    return display != "omitted"


def _output(value: Any) -> tuple[Constraint | None, str | None]:
    """`output_config`: what the answer has to match, and how hard to think."""
    if value is None:
        return None, None
    if not isinstance(value, dict):
        raise fields.wrong_type("output_config", "an object", value)
    effort = fields.text(value, "effort", "output_config.")
    if effort is not None and effort not in EFFORTS:
        raise InvalidRequest(
            f"output_config.effort must be one of {', '.join(EFFORTS)}, not {fields.shown(effort)}", field="output_config.effort"
        )
    return _format(value.get("format"), "output_config.format"), tools.EFFORTS[effort] if effort else None


def _format(value: Any, path: str) -> Constraint | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise fields.wrong_type(path, "an object", value)
    if value.get("type") != "json_schema":
        raise NotYet(f"{path}.type other than json_schema")
    schema = value.get("schema")
    if not isinstance(schema, dict):
        raise fields.wrong_type(f"{path}.schema", "an object", schema)
    return Constraint(kind=ConstraintKind.JSON_SCHEMA, text=fields.json_text(schema, f"{path}.schema"), field=f"{path}.schema")


def _sampling(body: dict[str, Any], brought: Sampling) -> Sampling:
    """What the request does not say is the model's or Ollama's default, as on Ollama's route of this name."""
    asked = {
        "temperature": fields.number(body, "temperature", low=0),
        "top_p": fields.number(body, "top_p", low=0, high=1),
    }
    given: dict[str, Any] = {name: float(value) for name, value in asked.items() if value is not None}
    top_k = fields.integer(body, "top_k", low=-1, high=2**31 - 1)
    return replace(brought, **given | ({} if top_k is None else {"top_k": top_k}))
