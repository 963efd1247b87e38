"""OpenAI's requests: JSON in, a `Call` out. Replies stand in `openai_replies`.

https://platform.openai.com/docs/api-reference/chat/create

`/v1/completions` runs its prompt as it stands, like vLLM and OpenAI; Ollama would wrap it into the chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vllama_agent.apis import fields, messages, options, tools
from vllama_agent.apis.defaults import NONE, Defaults
from vllama_agent.engines.base import Constraint, ConstraintKind, GenerateRequest, Sampling
from vllama_core.errors import InvalidRequest, NotYet

MAX_CHOICES = 128
MAX_ALTERNATIVES = 20
REPETITION = options.TABLE["repeat_penalty"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A checked request: one `GenerateRequest` per prompt, each answered `n` times."""

    model: str
    requests: tuple[GenerateRequest, ...]
    n: int
    stream: bool
    include_usage: bool
    alternatives: int | None = None
    """For /v1/completions: how many alternatives its log-probabilities list; None = no log-probabilities."""


def chat(body: dict[str, Any], defaults: Defaults = NONE) -> Call:
    """POST /v1/chat/completions.

    :param defaults: what the model brings.
    :raises InvalidRequest: names the field.
    """
    model = fields.required(body, "model")
    _refuse_chat_extras(body)
    turns = messages.openai(body.get("messages"))
    if not turns:
        raise InvalidRequest("[] is too short - 'messages'", field="messages")
    logprobs = fields.flag(body, "logprobs", False)
    alternatives = fields.integer(body, "top_logprobs", low=0, high=MAX_ALTERNATIVES) or 0
    if alternatives and not logprobs:
        raise InvalidRequest("top_logprobs needs logprobs to be true", field="top_logprobs")
    limit = fields.integer(body, "max_completion_tokens", low=1, high=2**31 - 1)
    offered, demanded = tools.chosen(body.get("tool_choice"), tools.tools(body.get("tools")))
    request = GenerateRequest(
        messages=defaults.chat(turns),
        template=defaults.template,
        tools=offered,
        must_call=demanded,
        parallel_calls=fields.flag(body, "parallel_tool_calls", True),
        think=_think(body),
        constraint=_constraint(body.get("response_format")),
        logprobs=logprobs,
        top_logprobs=alternatives,
        **_limits(body, limit, defaults),
    )
    return _call(body, model, (request,))


def completions(body: dict[str, Any], defaults: Defaults = NONE) -> Call:
    """POST /v1/completions. Without `max_tokens` the answer may fill the window.

    :param defaults: what the model brings; of it, a bare prompt takes the options only.
    :raises InvalidRequest: names the field.
    """
    model = fields.required(body, "model")
    fields.refuse_non_empty(body, "echo")
    alternatives = fields.integer(body, "logprobs", low=0, high=MAX_ALTERNATIVES) if body.get("logprobs") is not False else None
    common = _limits(body, None, defaults) | {"logprobs": alternatives is not None, "top_logprobs": alternatives or 0}
    suffix = fields.text(body, "suffix") or None
    prompts = _prompts(body.get("prompt"))
    if suffix and any(isinstance(prompt, tuple) for prompt in prompts):
        raise InvalidRequest("suffix needs a prompt of text, not of token ids", field="suffix")
    requests = tuple(
        GenerateRequest(prompt=prompt, suffix=suffix, **common)
        if isinstance(prompt, str)
        else GenerateRequest(prompt_tokens=prompt, **common)
        for prompt in prompts
    )
    best_of = fields.integer(body, "best_of", low=1, high=MAX_CHOICES)
    call = _call(body, model, requests, alternatives=alternatives)
    if best_of is not None and best_of != call.n:
        raise NotYet("best_of")
    return call


def require(capabilities: frozenset[str], model: str, requests: Sequence[GenerateRequest]) -> None:
    """Refuse what the loaded model cannot do.

    :param model: as the request names it.

    :raises InvalidRequest: says what.
    """
    if "completion" not in capabilities:
        raise InvalidRequest(f"the model '{model}' does not generate text", field="model")
    if "insert" not in capabilities and any(request.suffix for request in requests):
        raise InvalidRequest(f"the model '{model}' does not support insert", field="suffix")
    if "tools" not in capabilities and any(request.tools for request in requests):
        raise InvalidRequest(f"the model '{model}' does not support tools", field="tools")
    if "thinking" not in capabilities and any(request.think for request in requests):
        raise InvalidRequest(f"the model '{model}' does not support thinking", field="reasoning_effort")


def _call(
    body: dict[str, Any],
    model: str,
    requests: tuple[GenerateRequest, ...],
    *,
    alternatives: int | None = None,
) -> Call:
    n = fields.integer(body, "n", low=1, high=MAX_CHOICES) or 1
    if n * len(requests) > MAX_CHOICES:
        raise InvalidRequest(
            f"n times the number of prompts is {n * len(requests)}; at most {MAX_CHOICES} answers can be made at once", field="n"
        )
    return Call(
        model=model,
        requests=requests,
        n=n,
        stream=fields.flag(body, "stream", False),
        include_usage=_include_usage(body.get("stream_options")),
        alternatives=alternatives,
    )


def _include_usage(value: Any) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict):
        raise fields.wrong_type("stream_options", "an object", value)
    wanted = value.get("include_usage")
    if not (wanted is None or isinstance(wanted, bool)):
        raise fields.wrong_type("stream_options.include_usage", "a boolean", wanted)
    return bool(wanted)


def _limits(body: dict[str, Any], limit: int | None, defaults: Defaults) -> dict[str, Any]:
    max_tokens = fields.integer(body, "max_tokens", low=1, high=2**31 - 1)
    brought = options.parse(None, defaults)
    stop = _stop(body.get("stop")) if body.get("stop") is not None else brought.stop
    return {
        "sampling": sampling(body, options.checked(defaults.parameters)),
        "stop": stop,
        "max_tokens": limit or max_tokens or brought.max_tokens,
        "num_ctx": brought.num_ctx,
    }


def sampling(body: dict[str, Any], brought: dict[str, Any]) -> Sampling:
    """OpenAI's defaults where it has any, Ollama's for what OpenAI does not name, then the model's own options, then the request's;
    vLLM's extra names are understood.
    """
    chosen = {
        "temperature": fields.number(body, "temperature", low=0),
        "top_p": fields.number(body, "top_p", low=0, high=1),
        "min_p": fields.number(body, "min_p", low=0, high=1),
        "presence_penalty": fields.number(body, "presence_penalty", low=-2, high=2),
        "frequency_penalty": fields.number(body, "frequency_penalty", low=-2, high=2),
        "repeat_penalty": fields.number(body, "repetition_penalty", low=REPETITION.low, high=REPETITION.high),
    }
    given: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0}
    given |= {name: value for name, value in brought.items() if name in options.SAMPLING}
    given |= {name: float(value) for name, value in chosen.items() if value is not None}
    asked = fields.integer(body, "seed", low=-(2**63), high=2**64)
    top_k = fields.integer(body, "top_k", low=-1, high=2**31 - 1)
    if top_k is not None:
        given["top_k"] = top_k
    return Sampling(
        **given,
        seed=fields.seed(brought.get("seed") if asked is None else asked),
        logit_bias=fields.logit_bias(body.get("logit_bias"), "logit_bias"),
    )


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    found = (value,) if isinstance(value, str) else fields.strings(value, "stop")
    return tuple(text for text in found if text)


def _prompts(value: Any) -> list[str | tuple[int, ...]]:
    """A string, a list of strings, a list of token ids, or a list of such lists."""
    match value:
        case None:
            raise InvalidRequest("prompt is required", field="prompt")
        case str():
            return [value]
        case [] | [[], *_]:
            raise InvalidRequest("prompt is empty", field="prompt")
        case [str(), *_]:
            return list(fields.strings(value, "prompt"))
        case [list(), *_]:
            found = [fields.token_ids(item, f"prompt[{index}]") for index, item in enumerate(value)]
            if not all(found):
                raise InvalidRequest("prompt holds an empty list", field="prompt")
            return list(found)
        case list():
            return [fields.token_ids(value, "prompt")]
        case _:
            raise fields.wrong_type("prompt", "a string, an array of strings, or arrays of token ids", value)


def _refuse_chat_extras(body: dict[str, Any]) -> None:
    fields.refuse_non_empty(body, "functions", "audio")
    if body.get("function_call") not in (None, "none", "auto"):
        raise NotYet("function_call")
    if body.get("modalities") not in (None, [], ["text"]):
        raise NotYet("modalities")


def _think(body: dict[str, Any]) -> bool | str | None:
    reasoning = body.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, dict):
        raise fields.wrong_type("reasoning", "an object", reasoning)
    asked = tools.effort((reasoning or {}).get("effort"), "reasoning.effort")
    other = tools.effort(body.get("reasoning_effort"), "reasoning_effort")
    return asked if other is None else other


def _constraint(value: Any) -> Constraint | None:
    """`response_format`. A schema is kept to whether it is called strict or not."""
    if fields.asks_nothing(value):
        return None
    if not isinstance(value, dict):
        raise fields.wrong_type("response_format", "an object", value)
    match value.get("type"):
        case "text":
            return None
        case "json_object":
            return Constraint(kind=ConstraintKind.JSON_OBJECT, field="response_format")
        case "json_schema":
            path = "response_format.json_schema"
            given = value.get("json_schema")
            if not isinstance(given, dict):
                raise fields.wrong_type(path, "an object", given)
            schema = given.get("schema")
            if not isinstance(schema, dict):
                raise fields.wrong_type(f"{path}.schema", "an object", schema)
            fields.text(given, "name", f"{path}.")
            fields.text(given, "description", f"{path}.")
            fields.flag(given, "strict", False)
            text = fields.json_text(schema, f"{path}.schema")
            return Constraint(kind=ConstraintKind.JSON_SCHEMA, text=text, field=f"{path}.schema")
        case _:
            raise InvalidRequest("response_format.type must be text, json_object or json_schema", field="response_format.type")
