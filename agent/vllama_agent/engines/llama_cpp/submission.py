"""From a request to the frames that the text helper and the worker get, and to the stream that its answer comes back on. Pure."""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Sequence
from typing import Any

from vllama_agent.chat.events import Begun
from vllama_agent.engines.base import GenerateRequest, ModelFacts, Reading
from vllama_agent.engines.llama_cpp.helpers import ids
from vllama_agent.engines.llama_cpp.streams import Stream
from vllama_core.errors import InvalidRequest

UNBOUNDED_WINDOWS = 10
"""An answer without a limit that shifts its context ends after so many windows, as Ollama's does."""


def check_ids(request: GenerateRequest, facts: ModelFacts) -> None:
    """Ids outside the vocabulary would end the worker."""
    biased = tuple(token for token, _bias in request.sampling.logit_bias)
    for name, tokens in (("prompt", request.prompt_tokens or ()), ("context", request.context), ("logit_bias", biased)):
        if tokens and not 0 <= (least := min(tokens)) <= (most := max(tokens)) < facts.vocab_size:
            token = least if least < 0 else most
            raise InvalidRequest(f"{name}: token id {token} is outside the vocabulary (0 to {facts.vocab_size - 1})", field=name)


def prompt_fields(request: GenerateRequest) -> dict[str, Any]:
    """What the text helper renders and tokenises."""
    messages = request.messages and [{**m.extra, "role": m.role, "content": m.content} for m in request.messages]
    names = ("prompt", "suffix", "template", "tools", "think", "num_keep", "truncate")
    return {
        "messages": messages,
        "prompt_tokens": None if request.prompt_tokens is None else packed(request.prompt_tokens),
        "context": packed(request.context),
        **{name: getattr(request, name) for name in names},
    }


def packed(tokens: Sequence[int]) -> bytes:
    """Token ids for a frame, which takes no list of a million."""
    return array.array("i", tokens).tobytes()


def constrained_by(request: GenerateRequest) -> str | None:
    """The field that says what the answer has to be."""
    if request.must_call:
        return "tool_choice"
    return request.constraint.field if request.constraint else None


def stream_of(reply: dict[str, Any], asked: int, *, verbatim: bool) -> Stream:
    """What the helper found out about the prompt.

    :param verbatim: the answer's words are held to a format: there is no markup in them.
    """
    chat = reply.get("chat")
    reading = Reading(family=chat["family"], thought=chat["thought"], begun=Begun(chat["begun"]), verbatim=verbatim) if chat else None
    markers = chat["markers"] if chat else {}
    return Stream(ids(reply["tokens"]), asked=asked, dropped=reply["dropped"], reading=reading, markers=markers)


def submission(request_id: int, request: GenerateRequest, stream: Stream, limit: int, grammar: str | None) -> dict[str, Any]:
    """What the worker runs.

    :param limit: most tokens of prompt and answer.
    """
    tokens = stream.prompt_tokens
    most = UNBOUNDED_WINDOWS * limit if request.shift else limit
    return {
        "t": "submit",
        "id": request_id,
        "tokens": packed(tokens),
        "limit": limit,
        "max_tokens": min(request.max_tokens or most, most),
        "sampling": dataclasses.asdict(request.sampling),
        "stop": request.stop,
        "markers": stream.markers,
        "num_keep": request.num_keep if request.num_keep >= 0 else len(tokens),
        "shift": request.shift,
        "grammar": grammar,
        "top_logprobs": request.top_logprobs if request.logprobs else None,
    }
