"""/tokenize and /detokenize: JSON in, a call out, and their replies.

Both of the servers that have these routes are understood: vLLM's `prompt` or `messages` (a BOS is added to a prompt, the reply has
`tokens`, `count` and `max_model_len`), and llama-server's `content` (none is added).

https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#tokenizer-api
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from vllama_agent.apis import fields, messages, tools
from vllama_agent.apis.defaults import NONE, Defaults
from vllama_agent.engines.base import GenerateRequest
from vllama_core.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is to be cut into tokens: a text, or a chat, which is rendered first.

    :ivar add_special: put BOS and the like around it where the model wants them.
    :ivar parse_special: control tokens that are written out are those tokens.
    """

    text: str | None
    chat: GenerateRequest | None
    add_special: bool
    parse_special: bool


def tokenize(body: dict[str, Any], defaults: Defaults = NONE) -> Call:
    """POST /tokenize.

    :raises InvalidRequest: names the field.
    """
    fields.refuse_non_empty(body, "with_pieces", "return_token_strs")
    given = [name for name in ("prompt", "content", "messages") if body.get(name) is not None]
    if len(given) != 1:
        raise InvalidRequest("one of prompt, content and messages is required, and no other beside it", field="prompt")
    special = fields.flag(body, "add_special_tokens", fields.flag(body, "add_special", given != ["content"]))
    parse = fields.flag(body, "parse_special", True)
    if given != ["messages"]:
        return Call(text=fields.text(body, given[0]), chat=None, add_special=special, parse_special=parse)
    turns = messages.openai(body["messages"])
    if not turns:
        raise InvalidRequest("messages is empty; send at least one", field="messages")
    chat = GenerateRequest(messages=defaults.chat(turns), template=defaults.template, tools=tools.tools(body.get("tools")))
    return Call(text=None, chat=chat, add_special=special, parse_special=parse)


def detokenize(body: dict[str, Any]) -> tuple[int, ...]:
    """POST /detokenize: the ids.

    :raises InvalidRequest: names the field.
    """
    return fields.token_ids(body.get("tokens"), "tokens")


def tokens(found: Sequence[int], *, context_length: int | None) -> bytes:
    """The reply of /tokenize."""
    return orjson.dumps({"tokens": list(found), "count": len(found), "max_model_len": context_length})


def text(found: str) -> bytes:
    """The reply of /detokenize, by both names."""
    return orjson.dumps({"prompt": found, "content": found})
