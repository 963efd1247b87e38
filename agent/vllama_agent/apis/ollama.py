"""Ollama's requests: JSON in, a `Call` out. Replies stand in `ollama_replies`.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllama_agent.apis import fields, keep_alive, messages, options, tools
from vllama_agent.apis.defaults import NONE, Defaults
from vllama_agent.chat import go_templates
from vllama_agent.engines.base import Constraint, ConstraintKind, GenerateRequest
from vllama_core.errors import InvalidRequest

MAX_ALTERNATIVES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A checked request of /api/generate or /api/chat."""

    model: str
    """As the request spelled it: replies echo it."""
    request: GenerateRequest | None
    """None: only load or unload the model."""
    stream: bool
    keep_alive: float | None
    num_ctx: int | None = None
    """Tokens of context that are wanted, also where the model is only to be loaded."""
    ignored: tuple[str, ...] = ()
    asked: frozenset[str] = frozenset()
    """Names of the request's options; an engine may have nothing for one of them."""
    render_only: bool = False
    gives_context: bool = False
    """Whether the final object carries the token ids of prompt and answer."""


def generate(body: dict[str, Any], defaults: Defaults = NONE) -> Call:
    """POST /api/generate.

    :param defaults: what the model brings.
    :raises InvalidRequest: names the field.
    """
    model = generate_model(body)
    fields.refuse_non_empty(body, "tools")
    chosen = _common(body, defaults)
    if not fields.asks_nothing(body.get("images")):
        raise InvalidRequest(f"{fields.shown(model)} does not support vision; images are not yet supported", field="images")
    raw = fields.flag(body, "raw", False)
    request = _generate_request(body, chosen, defaults, raw=raw)
    return _call(body, model, chosen, request, gives_context=not raw)


def chat(body: dict[str, Any], defaults: Defaults = NONE) -> Call:
    """POST /api/chat.

    :param defaults: what the model brings.
    :raises InvalidRequest: names the field.
    """
    model = required_model(body)
    chosen = _common(body, defaults)
    offered = tools.tools(body.get("tools"))
    turns = defaults.chat(messages.ollama(body.get("messages")))
    limits = _limits(body, chosen)
    request = GenerateRequest(messages=turns, template=defaults.template, tools=offered, **limits) if turns else None
    return _call(body, model, chosen, request, gives_context=False)


def generate_model(body: dict[str, Any]) -> str:
    """The `model` of /api/generate; an empty one is looked up too, and not found."""
    return fields.text(body, "model") or ""


def required_model(body: dict[str, Any]) -> str:
    """`model`, or its old spelling `name`.

    :raises InvalidRequest: neither is there.
    """
    model, old = fields.text(body, "model"), fields.text(body, "name")
    model = model or old
    if not model:
        raise InvalidRequest("model is required", field="model")
    return model


def require(capabilities: frozenset[str], call: Call, *, verb: str) -> None:
    """Refuse what the loaded model cannot do.

    :param verb: generate or chat.
    :raises InvalidRequest: in Ollama's words.
    """
    if "completion" not in capabilities:
        raise InvalidRequest(f'"{call.model}" does not support {verb}', field="model")
    if call.request is not None and call.request.suffix and "insert" not in capabilities:
        raise InvalidRequest(f"{call.model} does not support insert", field="suffix")
    if call.request is not None and call.request.tools and "tools" not in capabilities:
        raise InvalidRequest(f"{call.model} does not support tools", field="tools")
    if call.request is not None and call.request.think and "thinking" not in capabilities:
        raise InvalidRequest(f'"{call.model}" does not support thinking', field="think")


def _common(body: dict[str, Any], defaults: Defaults) -> options.Options:
    return options.parse(body.get("options"), defaults)


def _call(body: dict[str, Any], model: str, chosen: options.Options, request: GenerateRequest | None, *, gives_context: bool) -> Call:
    return Call(
        model=model,
        request=request,
        stream=fields.flag(body, "stream", True),
        keep_alive=keep_alive.parse(body.get("keep_alive")),
        num_ctx=chosen.num_ctx,
        ignored=chosen.ignored,
        asked=frozenset(body.get("options") or ()),
        render_only=fields.flag(body, "_debug_render_only", False),
        gives_context=gives_context,
    )


def _generate_request(body: dict[str, Any], chosen: options.Options, defaults: Defaults, *, raw: bool) -> GenerateRequest | None:
    prompt = fields.text(body, "prompt")
    suffix = fields.text(body, "suffix")
    system = fields.text(body, "system")
    template = _jinja(fields.text(body, "template"))
    context = fields.token_ids(body["context"], "context") if body.get("context") is not None else ()
    if raw and (system or template or context):
        raise InvalidRequest("raw mode does not support template, system, or context", field="raw")
    limits = _limits(body, chosen)
    if not prompt:
        return None
    if raw or suffix:
        return GenerateRequest(prompt=prompt, suffix=suffix or None, token_ids=not raw, **limits)
    turns = defaults.prompt(prompt, system=system, continued=bool(context))
    return GenerateRequest(messages=turns, context=context, template=template or defaults.template, token_ids=True, **limits)


def _jinja(template: str | None) -> str | None:
    """Ollama's clients send templates in Go's language."""
    try:
        return go_templates.to_jinja(template) if template and go_templates.is_go(template) else template
    except go_templates.UnknownTemplate as error:
        raise InvalidRequest(f"template: {error}", field="template") from None


def _limits(body: dict[str, Any], chosen: options.Options) -> dict[str, Any]:
    try:
        alternatives = fields.integer(body, "top_logprobs", low=0, high=MAX_ALTERNATIVES) or 0
    except InvalidRequest:
        raise InvalidRequest("top_logprobs must be between 0 and 20", field="top_logprobs") from None
    return {
        "sampling": chosen.sampling,
        "stop": chosen.stop,
        "max_tokens": chosen.max_tokens,
        "num_ctx": chosen.num_ctx,
        "num_keep": chosen.num_keep,
        "truncate": fields.flag(body, "truncate", True),
        "shift": fields.flag(body, "shift", True),
        "constraint": _constraint(body.get("format")),
        "think": tools.think(body.get("think")),
        "logprobs": fields.flag(body, "logprobs", False),
        "top_logprobs": alternatives,
    }


def _constraint(value: Any) -> Constraint | None:
    """`format`: the word json, or a schema."""
    if fields.asks_nothing(value):
        return None
    if value == "json":
        return Constraint(kind=ConstraintKind.JSON_OBJECT, field="format")
    if isinstance(value, dict):
        return Constraint(kind=ConstraintKind.JSON_SCHEMA, text=fields.json_text(value, "format"), field="format")
    raise InvalidRequest('invalid format: expected "json" or a valid JSON Schema object', field="format")
