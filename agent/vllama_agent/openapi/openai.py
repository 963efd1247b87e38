"""Bodies of the OpenAI routes. https://platform.openai.com/docs/api-reference/chat/create"""

from __future__ import annotations

from vllama_agent.apis import messages, openai, tools
from vllama_agent.openapi.ollama import TOOLS
from vllama_agent.openapi.schema import (
    ARGUMENTS,
    BOOLEAN,
    COUNT,
    LOGIT_BIAS,
    NUMBER,
    STRING,
    STRINGS,
    TOKEN_IDS,
    Schema,
    listed,
    nothing,
    optional,
    record,
    ref,
    reply,
    within,
)

WHOLE_MAX = 2**31 - 1
TEXT_PART: Schema = record({"type": {"enum": list(messages.TEXT_PARTS)}, "text": optional(STRING)}, required=["type"])
CHOICES: dict[str, Schema] = {
    "model": {"type": "string", "minLength": 1},
    "stream": optional(BOOLEAN),
    "stream_options": optional(record({"include_usage": optional(BOOLEAN)})),
    "max_tokens": optional(within(1, WHOLE_MAX, whole=True), "Absent: the answer may fill the context."),
    "n": optional(within(1, openai.MAX_CHOICES, whole=True)),
    "stop": {"type": ["string", "array", "null"], "items": STRING},
    "seed": optional(within(-(2**63), 2**64, whole=True)),
    "temperature": optional({"type": "number", "minimum": 0, "default": 1}),
    "top_p": optional({"type": "number", "minimum": 0, "maximum": 1, "default": 1}),
    "top_k": optional(within(-1, WHOLE_MAX, whole=True), "0 and -1 switch it off."),
    "min_p": optional(within(0, 1)),
    "presence_penalty": optional(within(-2, 2)),
    "frequency_penalty": optional(within(-2, 2)),
    "repetition_penalty": optional(within(openai.REPETITION.low, openai.REPETITION.high)),
    "logit_bias": optional(LOGIT_BIAS),
}
EFFORT: Schema = {"enum": [None, False, "", "none", *tools.EFFORTS], "description": "none = do not think."}
PROMPT: Schema = {
    "anyOf": [
        STRING,
        {**STRINGS, "minItems": 1},
        {**TOKEN_IDS, "minItems": 1},
        {"type": "array", "minItems": 1, "items": {**TOKEN_IDS, "minItems": 1}},
    ],
    "description": "A text or its token ids, or a list of either; run as it stands, without the chat template.",
}
FINISH: Schema = {"enum": ["stop", "length"]}
PENDING: Schema = {"enum": ["stop", "length", None]}
CHAT_FINISH: Schema = {"enum": ["stop", "length", "tool_calls"]}
CHAT_PENDING: Schema = {"enum": ["stop", "length", "tool_calls", None]}
THOUGHT: dict[str, Schema] = {"reasoning": STRING, "reasoning_content": STRING}
CALL: dict[str, Schema] = {"id": STRING, "type": {"const": "function"}, "function": reply({"name": STRING, "arguments": STRING})}
ENVELOPE: dict[str, Schema] = {"id": STRING, "created": COUNT, "model": STRING, "system_fingerprint": STRING}
CHAT_LOGPROBS: Schema = reply({"content": listed(ref("ChatLogprob")), "refusal": {"type": "null"}})
TOKEN: dict[str, Schema] = {"token": STRING, "logprob": NUMBER, "bytes": listed({"type": "integer", "minimum": 0, "maximum": 255})}


def _envelope(kind: str, choice: Schema, *, usage: Schema, optional_usage: bool = False) -> Schema:
    fields = {**ENVELOPE, "object": {"const": kind}, "choices": listed(choice), "usage": usage}
    return reply(fields, optional=["usage"] if optional_usage else [])


def _choice(fields: dict[str, Schema], finish: Schema) -> Schema:
    return reply({"index": COUNT, **fields, "finish_reason": finish}, optional=["logprobs"])


RESPONSE_FORMAT: Schema = {
    "anyOf": [
        {"enum": [None, False, "", []]},
        record({"type": {"enum": ["text", "json_object"]}}, required=["type"]),
        record({"type": {"const": "json_schema"}, "json_schema": ref("NamedSchema")}, required=["type", "json_schema"]),
    ]
}
CHOSEN: Schema = record(
    {"type": {"const": "function"}, "function": record({"name": STRING}, required=["name"])}, required=["type", "function"]
)
ALLOWED: Schema = record({"mode": {"enum": ["auto", "required"]}, "tools": {**listed(CHOSEN), "minItems": 1}}, required=["mode", "tools"])
TOOL_CHOICE: Schema = {
    "anyOf": [
        {"enum": [None, "none", "auto", "required"]},
        CHOSEN,
        record({"type": {"const": "allowed_tools"}, "allowed_tools": ALLOWED}, required=["type", "allowed_tools"]),
    ],
    "description": "required, or a tool: one has to be called; only tools that are offered.",
}
MAYBE_USAGE: Schema = {"anyOf": [ref("Usage"), {"type": "null"}]}
SCHEMAS: dict[str, Schema] = {
    "ChatCompletionRequest": record(
        {
            **CHOICES,
            "messages": {**listed(ref("ChatMessage")), "minItems": 1},
            "max_completion_tokens": optional(within(1, WHOLE_MAX, whole=True), "Goes before max_tokens."),
            "logprobs": optional(BOOLEAN),
            "top_logprobs": optional(within(0, openai.MAX_ALTERNATIVES, whole=True), "Needs logprobs."),
            "tools": TOOLS,
            "parallel_tool_calls": optional({"type": "boolean", "default": True}, "false: at most one call in an answer."),
            "functions": nothing("functions"),
            "audio": nothing("audio"),
            "tool_choice": TOOL_CHOICE,
            "function_call": {"enum": [None, "none", "auto"]},
            "modalities": {"enum": [None, [], ["text"]]},
            "response_format": RESPONSE_FORMAT,
            "reasoning_effort": EFFORT,
            "reasoning": optional(record({"effort": EFFORT})),
        },
        required=["model", "messages"],
    ),
    "NamedSchema": record(
        {
            "name": {"type": ["string", "null"]},
            "description": {"type": ["string", "null"]},
            "schema": {"type": "object"},
            "strict": optional(BOOLEAN, "The schema is kept to in any case."),
        },
        required=["schema"],
    ),
    "ChatMessage": {
        **record(
            {
                "role": {"enum": list(messages.ROLES)},
                "content": {"type": ["string", "array", "null"], "items": TEXT_PART},
                "reasoning": optional(STRING),
                "reasoning_content": optional(STRING),
                "tool_call_id": optional(STRING),
                "tool_calls": optional(listed(ref("ChatToolCall")), "Of earlier turns."),
            },
            required=["role"],
        ),
        "anyOf": [
            {"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}},
            {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}},
        ],
    },
    "ChatToolCall": record(
        {
            "id": optional(STRING),
            "function": record({"name": STRING, "arguments": ARGUMENTS}, required=["name"]),
        },
        required=["function"],
    ),
    "ChatLogprob": reply({**TOKEN, "top_logprobs": listed(reply(TOKEN))}),
    "ChatAnswer": reply(
        {
            "role": {"const": "assistant"},
            "content": {"type": ["string", "null"], "description": "null: nothing but calls."},
            **THOUGHT,
            "tool_calls": listed(reply(CALL)),
        },
        optional=[*THOUGHT, "tool_calls"],
    ),
    "ChatDelta": record(
        {
            "role": {"const": "assistant"},
            "content": STRING,
            **THOUGHT,
            "tool_calls": {**listed(reply({"index": COUNT, **CALL})), "description": "Whole calls, each in one piece."},
        }
    ),
    "ChatCompletion": _envelope(
        "chat.completion",
        _choice({"message": ref("ChatAnswer"), "logprobs": CHAT_LOGPROBS}, CHAT_FINISH),
        usage=ref("Usage"),
    ),
    "ChatCompletionChunk": _envelope(
        "chat.completion.chunk",
        _choice({"delta": ref("ChatDelta"), "logprobs": CHAT_LOGPROBS}, CHAT_PENDING),
        usage=MAYBE_USAGE,
        optional_usage=True,
    ),
    "CompletionRequest": record(
        {
            **CHOICES,
            "prompt": PROMPT,
            "suffix": optional(STRING, "The text after the gap, for models that can fill in."),
            "logprobs": {
                "anyOf": [{"type": "number", "minimum": 0, "maximum": openai.MAX_ALTERNATIVES}, {"enum": [None, False]}],
                "description": "Alternatives per token.",
            },
            "echo": nothing("echo"),
            "best_of": optional(within(1, openai.MAX_CHOICES, whole=True), "Only the value of n."),
        },
        required=["model", "prompt"],
    ),
    "CompletionLogprobs": reply(
        {
            "tokens": STRINGS,
            "token_logprobs": listed(NUMBER),
            "top_logprobs": {"type": ["array", "null"], "items": {"type": "object", "additionalProperties": NUMBER}},
            "text_offset": listed(COUNT),
        }
    ),
    "Completion": _envelope(
        "text_completion", _choice({"text": STRING, "logprobs": ref("CompletionLogprobs")}, FINISH), usage=ref("Usage")
    ),
    "CompletionChunk": _envelope(
        "text_completion",
        _choice({"text": STRING, "logprobs": ref("CompletionLogprobs")}, PENDING),
        usage=MAYBE_USAGE,
        optional_usage=True,
    ),
    "Usage": reply(
        {
            "prompt_tokens": COUNT,
            "completion_tokens": COUNT,
            "total_tokens": COUNT,
            "prompt_tokens_details": reply({"cached_tokens": COUNT}),
        }
    ),
    "Model": reply({"id": STRING, "object": {"const": "model"}, "created": COUNT, "owned_by": STRING}),
    "Models": reply({"object": {"const": "list"}, "data": listed(ref("Model"))}),
    "OpenAIError": reply(
        {"error": reply({"message": STRING, "type": STRING, "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}})}
    ),
}
