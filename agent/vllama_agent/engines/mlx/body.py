"""From a `GenerateRequest` to what mlx-lm's server takes. Pure.

https://github.com/ml-explore/mlx-lm/blob/v0.32.2/mlx_lm/server.py (`do_POST`, `validate_model_parameters`)
"""

from __future__ import annotations

from typing import Any

from vllama_agent.chat import templates
from vllama_agent.engines.base import GenerateRequest, Reading, Sampling
from vllama_agent.engines.openai_messages import plain, written
from vllama_core.errors import InvalidRequest

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
IGNORES = frozenset({"typical_p", "mirostat", "mirostat_tau", "mirostat_eta", "num_keep", "num_ctx"})
"""Options that it has nothing for; a prompt of any length is computed as long as memory lasts."""
LEAST_TOP_P = 1e-6
"""0 means the likeliest token alone to Ollama, and off to MLX."""
READING = Reading(family="qwen", thought="think")
"""The markup in which `events` writes down what the server has taken apart."""
NEEDS_LLAMA_CPP = "is not to be had from the mlx engine; leave it out, or serve the model's GGUF form with llama.cpp"


def path_of(request: GenerateRequest) -> str:
    """Chats are rendered by the server, which takes thoughts and calls out of their answers itself."""
    return CHAT if request.messages is not None else COMPLETIONS


def check(request: GenerateRequest) -> None:
    """Refuse what the server would leave out silently.

    :raises InvalidRequest: names the field.
    """
    asked = {
        "suffix": request.suffix is not None,
        "context": bool(request.context),
        "template": request.template is not None,
        "prompt": request.prompt_tokens is not None,
        "logprobs": request.logprobs,
        "tool_choice": bool(request.must_call),
        "messages": bool(request.messages) and request.messages is not None and request.messages[-1].role == "assistant",
    }
    if request.constraint is not None:
        raise InvalidRequest(f"{request.constraint.field} {NEEDS_LLAMA_CPP}", field=request.constraint.field)
    words = {
        "tool_choice": "tool_choice that demands a call",
        "prompt": "prompt as token ids",
        "messages": "going on with an answer that was begun",
    }
    for field, said in asked.items():
        if said:
            raise InvalidRequest(f"{words.get(field, field)} {NEEDS_LLAMA_CPP}", field=field)


def body(request: GenerateRequest, *, context: int, template: str | None) -> dict[str, Any]:
    """The whole request.

    :param context: most tokens of an answer that names no limit.
    :param template: the model's, which says how thinking is switched.
    """
    made: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": min(request.max_tokens or context, context),
        **_sampling(request.sampling, context),
        **({"stop": list(request.stop)} if request.stop else {}),
    }
    if request.messages is None:
        return made | {"prompt": request.prompt or ""}
    messages = [plain(message) for message in request.messages]
    variables = templates.variables_of(template or "", templates.Chat(messages=messages, think=request.think))
    made["messages"] = [written(message) for message in messages]
    made["chat_template_kwargs"] = {name: value for name, value in variables.items() if name != "tools"}
    return made | ({"tools": list(request.tools)} if request.tools else {})


def _sampling(asked: Sampling, context: int) -> dict[str, Any]:
    """Its penalties look back on 20 tokens unless they are told otherwise."""
    back = context if asked.repeat_last_n < 0 else asked.repeat_last_n
    made: dict[str, Any] = {
        "temperature": asked.temperature,
        "top_k": max(0, asked.top_k),
        "top_p": max(LEAST_TOP_P, asked.top_p),
        "min_p": asked.min_p,
        **({"seed": asked.seed} if asked.seed is not None else {}),
        **({"logit_bias": {str(token): bias for token, bias in asked.logit_bias}} if asked.logit_bias else {}),
    }
    for name, value, off in (
        ("repetition", asked.repeat_penalty, 1.0),
        ("presence", asked.presence_penalty, 0.0),
        ("frequency", asked.frequency_penalty, 0.0),
    ):
        if value != off and back:
            made |= {f"{name}_penalty": value, f"{name}_context_size": back}
    return made
