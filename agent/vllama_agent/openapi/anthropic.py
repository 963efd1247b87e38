"""Bodies of the Anthropic routes. https://docs.anthropic.com/en/api/messages"""

from __future__ import annotations

from vllama_agent.apis import anthropic, anthropic_messages
from vllama_agent.openapi.schema import BOOLEAN, COUNT, STRING, Schema, listed, nothing, optional, record, ref, reply, within

WHOLE_MAX = 2**31 - 1
SOME: Schema = {"type": "string", "minLength": 1}
TEXT: Schema = record({"type": {"const": "text"}, "text": STRING}, required=["type", "text"])


def _content(*blocks: Schema) -> Schema:
    return {"anyOf": [STRING, listed({"anyOf": list(blocks)})]}


RESULT: Schema = record(
    {
        "type": {"const": "tool_result"},
        "tool_use_id": SOME,
        "content": {"anyOf": [*_content(TEXT)["anyOf"], {"type": "null"}]},
        "is_error": optional(BOOLEAN),
    },
    required=["type", "tool_use_id"],
)
THINKING: Schema = record({"type": {"const": "thinking"}, "thinking": optional(STRING)}, required=["type"])
REDACTED: Schema = record({"type": {"const": "redacted_thinking"}}, required=["type"])
USE: Schema = record(
    {"type": {"const": "tool_use"}, "id": SOME, "name": SOME, "input": optional({"type": "object"})}, required=["type", "id", "name"]
)
MESSAGE: Schema = {
    "oneOf": [
        record({"role": {"const": "user"}, "content": _content(TEXT, RESULT)}, required=["role", "content"]),
        record({"role": {"const": "assistant"}, "content": _content(TEXT, THINKING, REDACTED, USE)}, required=["role", "content"]),
        record({"role": {"const": "system"}, "content": _content(TEXT)}, required=["role", "content"]),
    ],
    "description": f"Roles: {', '.join(anthropic_messages.ROLES)}.",
}
TOOL: Schema = record(
    {
        "type": {"enum": [None, "custom"]},
        "name": SOME,
        "description": optional(STRING),
        "input_schema": optional({"type": "object"}),
    },
    required=["name"],
)
TOOL_CHOICE: Schema = record(
    {"type": {"enum": list(anthropic.CHOICES)}, "name": optional(STRING), "disable_parallel_tool_use": optional(BOOLEAN)},
    required=["type"],
)
THINK: Schema = record(
    {
        "type": {"enum": list(anthropic.THINKING)},
        "budget_tokens": optional(within(0, WHOLE_MAX, whole=True), "Not kept to."),
        "display": optional({"type": "string", "enum": ["summarized", "omitted"]}),
    },
    required=["type"],
)
FORMAT: Schema = optional(record({"type": {"const": "json_schema"}, "schema": {"type": "object"}}, required=["type", "schema"]))
OUTPUT: Schema = record(
    {
        "effort": optional({"type": "string", "enum": list(anthropic.EFFORTS)}),
        "format": FORMAT,
    }
)
PROMPT: dict[str, Schema] = {
    "model": SOME,
    "messages": {**listed(MESSAGE), "minItems": 1},
    "system": optional(_content(TEXT)),
    "tools": {"anyOf": [{"enum": [None, False, "", []]}, listed(TOOL)]},
    "tool_choice": optional(TOOL_CHOICE),
    "thinking": optional(THINK, "Absent: the model does not think, where it can be told not to."),
    "output_config": optional(OUTPUT),
    "output_format": FORMAT,
    "mcp_servers": nothing("MCP servers"),
    "container": nothing("containers"),
}
USAGE: Schema = reply(
    {
        "input_tokens": {**COUNT, "description": "Of the prompt, without those that were reused."},
        "cache_creation_input_tokens": COUNT,
        "cache_read_input_tokens": {**COUNT, "description": "Tokens of the prompt that were computed before."},
        "output_tokens": COUNT,
    }
)
REASONS = ("end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded")
BLOCK: Schema = {
    "oneOf": [
        reply({"type": {"const": "text"}, "text": STRING}),
        reply({"type": {"const": "thinking"}, "thinking": STRING, "signature": STRING}),
        reply({"type": {"const": "tool_use"}, "id": STRING, "name": STRING, "input": {"type": "object"}}),
    ]
}
DELTA: Schema = {
    "oneOf": [
        reply({"type": {"const": "text_delta"}, "text": STRING}),
        reply({"type": {"const": "thinking_delta"}, "thinking": STRING}),
        reply({"type": {"const": "signature_delta"}, "signature": STRING}),
        reply({"type": {"const": "input_json_delta"}, "partial_json": STRING}),
    ]
}
ENDING: dict[str, Schema] = {"stop_reason": {"enum": [*REASONS, None]}, "stop_sequence": {"type": ["string", "null"]}}


def _event(kind: str, **fields: Schema) -> Schema:
    return reply({"type": {"const": kind}, **fields})


SCHEMAS: dict[str, Schema] = {
    "MessagesRequest": record(
        {
            **PROMPT,
            "max_tokens": within(1, WHOLE_MAX, whole=True),
            "stream": optional(BOOLEAN),
            "stop_sequences": {"type": ["array", "null"], "items": STRING},
            "temperature": optional({"type": "number", "minimum": 0}),
            "top_p": optional(within(0, 1)),
            "top_k": optional(within(-1, WHOLE_MAX, whole=True)),
        },
        required=["model", "messages", "max_tokens"],
    ),
    "CountTokensRequest": record(PROMPT, required=["model", "messages"]),
    "TokenCount": reply({"input_tokens": COUNT}),
    "MessagesReply": reply(
        {
            "id": STRING,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": STRING,
            "content": listed(BLOCK),
            **ENDING,
            "usage": USAGE,
        }
    ),
    "MessagesEvent": {
        "oneOf": [
            _event("message_start", message=ref("MessagesReply")),
            _event("ping"),
            _event("content_block_start", index=COUNT, content_block=BLOCK),
            _event("content_block_delta", index=COUNT, delta=DELTA),
            _event("content_block_stop", index=COUNT),
            _event("message_delta", delta=reply(ENDING), usage=USAGE),
            _event("message_stop"),
            ref("AnthropicError"),
        ],
        "description": "The data of an SSE event, whose name is its type.",
    },
}
