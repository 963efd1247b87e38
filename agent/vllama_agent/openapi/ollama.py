"""Bodies of the Ollama routes. https://github.com/ollama/ollama/blob/main/docs/api.md"""

from __future__ import annotations

from vllama_agent.apis import messages, ollama, options
from vllama_agent.openapi.schema import (
    ARGUMENTS,
    BOOLEAN,
    COUNT,
    LOGIT_BIAS,
    NANOSECONDS,
    NUMBER,
    STRING,
    STRINGS,
    TIME,
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
from vllama_core import durations

KINDS: dict[str, Schema] = {"bool": BOOLEAN, "strings": STRINGS, "biases": LOGIT_BIAS}
UNITS = "|".join(durations.UNITS)
DURATION = rf"^[+-]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)({UNITS}))+)$"


def _option(option: options.Option) -> Schema:
    if option.kind in KINDS:
        return optional(KINDS[option.kind])
    return optional(within(option.low, option.high, whole=option.kind == "int"))


KEEP_ALIVE: Schema = {
    "type": ["number", "string", "null"],
    "pattern": DURATION,
    "maxLength": durations.LONGEST_TEXT,
    "description": "Seconds, or a duration such as 5m or 1h30m, that the model stays loaded; negative = for ever, 0 = unload after this.",
}
CHOICES: dict[str, Schema] = {
    "model": {"type": "string", "minLength": 1, "description": "A name of /api/tags; without a tag, latest is meant."},
    "stream": optional({"type": "boolean", "default": True}),
    "options": optional(ref("Options")),
    "keep_alive": KEEP_ALIVE,
    "truncate": optional({"type": "boolean", "default": True}, "Cut a prompt that does not fit; false = refuse it."),
    "shift": optional({"type": "boolean", "default": True}, "Go on at a full window without its older half; false = end there."),
    "logprobs": optional(BOOLEAN),
    "top_logprobs": optional(within(0, ollama.MAX_ALTERNATIVES, whole=True)),
    "tools": nothing("tools"),
    "format": nothing("constrained output"),
    "think": nothing("thinking"),
    "_debug_render_only": optional(BOOLEAN, "Answer with the rendered prompt instead of running it."),
}
ANSWER: dict[str, Schema] = {
    "model": STRING,
    "created_at": TIME,
    "done": BOOLEAN,
    "done_reason": {"enum": ["stop", "length", "load", "unload"]},
    "logprobs": listed(ref("TokenLogprob")),
    "total_duration": NANOSECONDS,
    "load_duration": NANOSECONDS,
    "prompt_eval_count": COUNT,
    "prompt_eval_duration": NANOSECONDS,
    "eval_count": COUNT,
    "eval_duration": NANOSECONDS,
    "context_shifts": {"type": "integer", "minimum": 1},
    "_debug_info": reply({"rendered_template": STRING}),
}
ALWAYS = ("model", "created_at", "done")
MODEL: dict[str, Schema] = {"name": STRING, "model": STRING, "size": COUNT, "digest": STRING, "details": ref("Details")}

SCHEMAS: dict[str, Schema] = {
    "Options": record({name: _option(option) for name, option in options.TABLE.items()}, description="Defaults are Ollama's."),
    "TokenLogprob": reply(
        {
            "token": STRING,
            "logprob": NUMBER,
            "bytes": listed({"type": "integer", "minimum": 0, "maximum": 255}),
            "top_logprobs": listed(ref("TokenLogprob")),
        },
        optional=["top_logprobs"],
    ),
    "GenerateRequest": record(
        {
            **CHOICES,
            "prompt": optional(STRING, "Empty or absent: only load the model, or unload it where keep_alive is 0."),
            "system": optional(STRING),
            "template": optional(STRING, "A Jinja template instead of the model's."),
            "raw": optional(BOOLEAN, "No template at all: not together with system, template or context."),
            "suffix": optional(STRING, "The text after the gap, for models that can fill in."),
            "context": optional(TOKEN_IDS, "Of an earlier reply."),
            "images": nothing("images"),
        },
        required=["model"],
    ),
    "GenerateReply": record(
        {**ANSWER, "response": STRING, "context": TOKEN_IDS},
        required=[*ALWAYS, "response"],
        description="The whole answer, or a line of the stream; the last one has done = true and the figures.",
    ),
    "ChatRequest": record(
        {**CHOICES, "messages": optional(listed(ref("Message")), "Empty or absent: only load or unload.")}, required=["model"]
    ),
    "Message": record(
        {
            "role": {"enum": list(messages.ROLES)},
            "content": optional(STRING),
            "thinking": optional(STRING),
            "images": nothing("images"),
            "tool_name": optional(STRING),
            "tool_call_id": optional(STRING),
            "tool_calls": optional(listed(ref("ToolCall")), "Of earlier turns."),
        },
        required=["role"],
    ),
    "ToolCall": record(
        {
            "id": optional(STRING),
            "function": record({"name": STRING, "arguments": ARGUMENTS}, required=["name"]),
        },
        required=["function"],
    ),
    "ChatReply": record(
        {**ANSWER, "message": reply({"role": {"const": "assistant"}, "content": STRING})},
        required=[*ALWAYS, "message"],
        description="The whole answer, or a line of the stream; the last one has done = true and the figures.",
    ),
    "Details": record(
        {
            "parent_model": STRING,
            "format": STRING,
            "family": STRING,
            "families": {"type": ["array", "null"], "items": STRING},
            "parameter_size": STRING,
            "quantization_level": STRING,
            "context_length": COUNT,
            "embedding_length": COUNT,
        },
        required=["parent_model", "format", "family", "families", "parameter_size", "quantization_level"],
    ),
    "Tags": reply({"models": listed(reply({**MODEL, "modified_at": TIME, "capabilities": STRINGS}))}),
    "Loaded": reply({"models": listed(reply({**MODEL, "expires_at": TIME, "size_vram": COUNT, "context_length": COUNT}))}),
    "ShowRequest": {
        **record({"model": optional(STRING), "name": optional(STRING, "The old spelling of model."), "verbose": optional(BOOLEAN)}),
        "anyOf": [{"required": [key], "properties": {key: {"type": "string", "minLength": 1}}} for key in ("model", "name")],
    },
    "ShowReply": record(
        {
            "license": STRING,
            "modelfile": STRING,
            "template": STRING,
            "details": ref("Details"),
            "model_info": {"type": "object"},
            "tensors": listed(reply({"name": STRING, "type": STRING, "shape": listed(COUNT)})),
            "capabilities": STRINGS,
            "modified_at": TIME,
        },
        required=["modelfile", "details", "model_info", "capabilities", "modified_at"],
    ),
    "Version": reply({"version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}}),
    "CloudStatus": reply({"cloud": reply({"disabled": {"const": True}, "source": STRING})}),
    "Recommendations": reply({"recommendations": {"type": "array", "maxItems": 0}}),
    "OllamaError": reply({"error": STRING}),
}
