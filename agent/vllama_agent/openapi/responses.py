"""Bodies of OpenAI's Responses. https://platform.openai.com/docs/api-reference/responses"""

from __future__ import annotations

from vllama_agent.apis import openai, responses, responses_items
from vllama_agent.openapi.openai import CHOICES, EFFORT
from vllama_agent.openapi.schema import BOOLEAN, COUNT, STRING, Schema, listed, nothing, optional, record, ref, reply, within

WHOLE_MAX = 2**31 - 1
SOME: Schema = {"type": "string", "minLength": 1}
PART: Schema = {
    "anyOf": [
        record({"type": {"enum": list(responses_items.TEXTS)}, "text": optional(STRING)}, required=["type"]),
        record({"type": {"const": "refusal"}, "refusal": optional(STRING)}, required=["type"]),
    ]
}
CONTENT: Schema = {"anyOf": [STRING, listed(PART)]}
NOTHING: Schema = {"enum": [None, "", [], False, 0]}
ITEM: Schema = {
    "anyOf": [
        record(
            {"type": {"enum": [None, "message"]}, "role": {"enum": ["user", "assistant", "system", "developer"]}, "content": CONTENT},
            required=["role", "content"],
        ),
        record(
            {
                "type": {"const": "reasoning"},
                "content": {"anyOf": [*CONTENT["anyOf"], {"type": "null"}, {"enum": [False, 0, {}]}]},
                "summary": {},
            },
            required=["type"],
        ),
        record(
            {"type": {"const": "function_call"}, "call_id": SOME, "name": SOME, "arguments": optional(STRING, "A JSON object.")},
            required=["type", "call_id", "name"],
        ),
        record({"type": {"const": "function_call_output"}, "call_id": SOME, "output": CONTENT}, required=["type", "call_id", "output"]),
    ]
}
HOSTED: Schema = {"type": "string", "pattern": f"^({'|'.join(responses.HOSTED)})", "description": "Tools that run at OpenAI: not shown."}
TOOL: Schema = {
    "anyOf": [
        record(
            {"type": {"const": "function"}, "name": SOME, "description": optional(STRING), "parameters": optional({"type": "object"})},
            required=["type", "name"],
        ),
        record({"type": HOSTED}, required=["type"]),
    ]
}
CHOSEN: Schema = record({"type": {"const": "function"}, "name": STRING}, required=["type", "name"])
TOOL_CHOICE: Schema = {
    "anyOf": [
        {"enum": [None, "none", "auto", "required"]},
        CHOSEN,
        record(
            {"type": {"const": "allowed_tools"}, "mode": {"enum": ["auto", "required"]}, "tools": {**listed(CHOSEN), "minItems": 1}},
            required=["type", "mode", "tools"],
        ),
    ]
}
FORMAT: Schema = {
    "anyOf": [
        {"type": "null"},
        record({"type": {"enum": ["text", "json_object"]}}, required=["type"]),
        record({"type": {"const": "json_schema"}, "schema": {"type": "object"}}, required=["type", "schema"]),
    ]
}
OUTPUT: Schema = record({"id": STRING, "type": {"enum": ["message", "reasoning", "function_call"]}, "status": STRING})
USAGE: Schema = reply(
    {
        "input_tokens": COUNT,
        "input_tokens_details": reply({"cached_tokens": COUNT}),
        "output_tokens": COUNT,
        "output_tokens_details": reply({"reasoning_tokens": COUNT}),
        "total_tokens": COUNT,
    }
)
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed", "logit_bias")
SCHEMAS: dict[str, Schema] = {
    "ResponseRequest": record(
        {
            "model": SOME,
            "input": {"anyOf": [STRING, {**listed(ITEM), "minItems": 1}]},
            "instructions": optional(STRING),
            "previous_response_id": optional(STRING, "Only where the server keeps responses (--keep-responses)."),
            "max_output_tokens": optional(within(1, WHOLE_MAX, whole=True)),
            "tools": {"anyOf": [{"enum": [None, False, "", []]}, listed(TOOL)]},
            "tool_choice": TOOL_CHOICE,
            "parallel_tool_calls": optional(BOOLEAN),
            "reasoning": optional(record({"effort": EFFORT})),
            "text": optional(record({"format": FORMAT})),
            "truncation": {"enum": [None, "auto", "disabled"]},
            "stream": optional(BOOLEAN),
            "store": optional(BOOLEAN),
            "top_logprobs": {"anyOf": [{"type": "null"}, within(0, 1)], "description": f"Not yet: up to {openai.MAX_ALTERNATIVES}."},
            "background": nothing("background"),
            "conversation": nothing("conversations"),
            "prompt": nothing("stored prompts"),
            **{name: CHOICES[name] for name in SAMPLING},
        },
        required=["model", "input"],
    ),
    "Response": record(
        {
            "id": {"type": "string", "pattern": "^resp_"},
            "object": {"const": "response"},
            "created_at": COUNT,
            "completed_at": optional(COUNT),
            "status": {"enum": ["in_progress", "completed", "incomplete", "failed"]},
            "error": optional(reply({"code": STRING, "message": STRING})),
            "incomplete_details": optional(reply({"reason": STRING})),
            "model": STRING,
            "output": listed(OUTPUT),
            "usage": optional(USAGE),
            "store": BOOLEAN,
        },
        required=["id", "object", "created_at", "status", "model", "output"],
        description="And what the request said, or what stands for it.",
    ),
    "ResponseEvent": {
        **record(
            {
                "type": {"type": "string", "pattern": "^response\\."},
                "sequence_number": COUNT,
                "response": ref("Response"),
                "output_index": COUNT,
                "item_id": STRING,
                "item": OUTPUT,
            },
            required=["type", "sequence_number"],
        ),
        "description": "The data of an SSE event, whose name is its type.",
    },
    "DeletedResponse": reply({"id": STRING, "object": {"const": "response"}, "deleted": {"const": True}}),
}
