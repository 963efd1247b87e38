"""From a `GenerateRequest` to what vLLM's routes take. Pure.

https://docs.vllm.ai/en/v0.32.0/serving/openai_compatible_server/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllama_agent.chat import templates
from vllama_agent.engines.base import GenerateRequest, Sampling
from vllama_agent.engines.openai_messages import plain, written
from vllama_agent.engines.vllm.arguments import NAME

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
IGNORES = frozenset({"typical_p", "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta", "num_keep", "num_ctx"})
"""Options that vLLM has nothing for: its penalties look at the whole text, and its window is the one that it was started with."""
LEAST_TOP_P = 1e-6
"""vLLM refuses 0, by which Ollama means the likeliest token alone."""
INTERVALS = ((192, 4), (96, 2))
"""(answers at once, tokens per event from there). vLLM's server writes events in one thread, each for some 80 µs: 12,000 a second are all
that it can do. By `bench.vllm.intervals`, on CPUs, where the model takes most of the time, two tokens an event give 256 streams 1.14 to
1.23 times the tokens per second, and 128 streams 0.96 to 1.13 times. The first and the last token always go out at once."""


def chat(request: GenerateRequest, *, template: str | None, markers: bool, prompt_text: bool) -> dict[str, Any]:
    """The messages of a chat, for `CHAT` (with `sampling`) and for `/tokenize`.

    :param template: what renders it: the request's, or the model's own.
    :param markers: whether the answer's control tokens are to be seen.
    :param prompt_text: whether what the template made is to be told.
    """
    messages = [plain(message) for message in request.messages or ()]
    continued = templates.begun_text(messages) is not None
    variables = templates.variables_of(template or "", templates.Chat(messages=messages, think=request.think))
    body: dict[str, Any] = {
        "model": NAME,
        "messages": [written(message) for message in messages],
        "add_generation_prompt": not continued,
        "continue_final_message": continued,
        "chat_template_kwargs": {name: value for name, value in variables.items() if name != "tools"},
    }
    if request.tools:
        body |= {"tools": list(request.tools), "tool_choice": "none"}  # they are shown to the model; its calls we read ourselves
    if request.template is not None:
        body["chat_template"] = request.template
    if markers:
        body |= {"skip_special_tokens": False, "spaces_between_special_tokens": False}
    return body | ({"return_prompt_text": True} if prompt_text else {})


def completion(prompt: str | Sequence[int], *, markers: bool = False, add_special: bool = True) -> dict[str, Any]:
    """A prompt as it stands, for `COMPLETIONS`.

    :param add_special: whether the vocabulary's BOS comes first.
    """
    body = {"model": NAME, "prompt": prompt if isinstance(prompt, str) else list(prompt), "add_special_tokens": add_special}
    return body | ({"skip_special_tokens": False, "spaces_between_special_tokens": False} if markers else {})


def sampling(request: GenerateRequest, *, context: int, chat: bool, running: int) -> dict[str, Any]:
    """The rest of a request.

    :param context: tokens of the loaded window.
    :param running: answers in the making, this one among them.
    """
    chosen = request.sampling
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": min(request.max_tokens or context, context),
        **_chosen(chosen),
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs} if chat else {"logprobs": request.top_logprobs}
    if request.token_ids:
        body["return_token_ids"] = True
    interval = next((tokens for streams, tokens in INTERVALS if running >= streams), None)
    return body | ({"stream_interval": interval} if interval is not None else {})


def _chosen(chosen: Sampling) -> dict[str, Any]:
    found: dict[str, Any] = {
        "temperature": chosen.temperature,
        "top_k": max(0, chosen.top_k),
        "top_p": max(LEAST_TOP_P, chosen.top_p),
        "min_p": chosen.min_p,
        "repetition_penalty": chosen.repeat_penalty,
        "presence_penalty": chosen.presence_penalty,
        "frequency_penalty": chosen.frequency_penalty,
    }
    if chosen.seed is not None:
        found["seed"] = chosen.seed
    if chosen.logit_bias:
        found["logit_bias"] = {str(token): bias for token, bias in chosen.logit_bias}
    return found
