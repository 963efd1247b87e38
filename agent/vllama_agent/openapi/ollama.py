"""Bodies of the Ollama routes. https://github.com/ollama/ollama/blob/main/docs/api.md"""

from __future__ import annotations

from vllama_agent.apis import manage, messages, ollama, options, tools
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

TOOLS: Schema = {
    "anyOf": [{"enum": [None, False, "", []]}, {**listed(ref("Tool")), "maxItems": tools.MAX_TOOLS}],
    "description": "What the model may call; only for models whose template shows tools.",
}
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
    "format": {
        "anyOf": [{"enum": [None, False, "", [], "json"]}, {"type": "object"}],
        "description": "What the answer has to be: json = an object, or a JSON schema that it matches. Thoughts may precede it.",
    },
    "think": {
        "enum": [None, True, False, "", [], *tools.LEVELS],
        "description": "Whether to think before the answer, or how hard; models that think do unless this is false.",
    },
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
DIGEST: Schema = {"type": "string", "pattern": "^sha256:[0-9a-fA-F]{64}$"}
FILES: Schema = {"type": "object", "propertyNames": {"minLength": 1}, "additionalProperties": DIGEST}
NAMED: dict[str, Schema] = {"model": optional(STRING), "name": optional(STRING, "The old spelling of model.")}
HAS_NAME: Schema = {"anyOf": [{"required": [key], "properties": {key: {"type": "string", "minLength": 1}}} for key in NAMED]}
BASES: dict[str, Schema] = {"from": {"type": "string", "minLength": 1}, "files": {"type": "object", "minProperties": 1}}
HAS_BASE: Schema = {"oneOf": [{"required": [key], "properties": {key: schema}} for key, schema in BASES.items()]}
OPTIONS: dict[str, Schema] = {name: _option(option) for name, option in options.TABLE.items()}
MODEL: dict[str, Schema] = {"name": STRING, "model": STRING, "size": COUNT, "digest": STRING, "details": ref("Details")}
PROBLEM: Schema = {"type": "string", "description": "What of it runs elsewhere than it was to run, to be put behind its name."}
LOADED = {**MODEL, "expires_at": TIME, "size_vram": COUNT, "context_length": COUNT, "problem": PROBLEM}

SCHEMAS: dict[str, Schema] = {
    "Options": record(OPTIONS, description="Defaults are Ollama's."),
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
            "tools": nothing("tools of a single prompt; use /api/chat"),
        },
        required=["model"],
    ),
    "GenerateReply": record(
        {**ANSWER, "response": STRING, "thinking": STRING, "context": TOKEN_IDS},
        required=[*ALWAYS, "response"],
        description="The whole answer, or a line of the stream; the last one has done = true and the figures.",
    ),
    "ChatRequest": record(
        {**CHOICES, "tools": TOOLS, "messages": optional(listed(ref("Message")), "Empty or absent: only load or unload.")},
        required=["model"],
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
    "Tool": record(
        {
            "type": {"enum": [None, "function"]},
            "function": record(
                {
                    "name": {"type": "string", "minLength": 1},
                    "description": optional(STRING),
                    "parameters": optional({"type": "object"}, "A JSON schema."),
                },
                required=["name"],
            ),
        },
        required=["function"],
    ),
    "MadeCall": reply(
        {"id": STRING, "function": reply({"index": COUNT, "name": STRING, "arguments": {"type": "object"}})},
    ),
    "ToolCall": record(
        {
            "id": optional(STRING),
            "function": record({"name": STRING, "arguments": ARGUMENTS}, required=["name"]),
        },
        required=["function"],
    ),
    "ChatReply": record(
        {
            **ANSWER,
            "message": reply(
                {"role": {"const": "assistant"}, "content": STRING, "thinking": STRING, "tool_calls": listed(ref("MadeCall"))},
                optional=["thinking", "tool_calls"],
            ),
        },
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
    "Loaded": reply(
        {
            "models": listed(reply(LOADED, optional=["problem"])),
            "loading": listed(reply({"name": STRING, "progress": {**STRING, "description": "How far it is, or what it waits for."}})),
        },
        optional=["loading"],
    ),
    "ShowRequest": record(
        {
            **NAMED,
            "verbose": optional(BOOLEAN),
            "template": optional({"type": "string", "maxLength": manage.LONGEST_TEMPLATE}, "Show the model as if it had this one."),
            "system": optional(STRING, "Show the model as if it had this one."),
            "options": optional(ref("Options"), "Show the model as if it had these above its own."),
        }
    )
    | HAS_NAME,
    "ShowReply": record(
        {
            "license": STRING,
            "modelfile": STRING,
            "parameters": {"type": "string", "description": "A line for each value: the name, spaces, the value."},
            "template": {"type": "string", "description": "Jinja."},
            "system": STRING,
            "messages": listed(ref("Message")),
            "details": ref("Details"),
            "model_info": {"type": "object"},
            "projector_info": {"type": "object"},
            "tensors": listed(reply({"name": STRING, "type": STRING, "shape": listed(COUNT)})),
            "capabilities": STRINGS,
            "notes": {**STRINGS, "description": "What is worth knowing of how the model was found or made."},
            "modified_at": TIME,
        },
        required=["modelfile", "details", "model_info", "capabilities", "modified_at"],
    ),
    "PullRequest": record(
        {**NAMED, "stream": optional({"type": "boolean", "default": True}), "insecure": optional(BOOLEAN, "Take http for https.")}
    )
    | HAS_NAME,
    "CreateRequest": record(
        {
            **NAMED,
            "from": optional(STRING, "A model to start from; it is fetched where it is not here."),
            "files": optional(FILES, "Uploaded files by name: GGUF, or those of a Hugging Face model, which is converted."),
            "adapters": optional(FILES, "LoRA adapters as GGUF. They are stored; a model that has one cannot be run yet."),
            "template": optional(
                {"type": "string", "maxLength": manage.LONGEST_TEMPLATE}, "Jinja, or a Go template that has an equal in Jinja."
            ),
            "system": optional(STRING),
            "parameters": optional(ref("Parameters")),
            "messages": optional(listed(ref("Message"))),
            "license": {"type": ["string", "array", "null"], "items": STRING},
            "quantize": optional(STRING, "Such as Q4_K_M."),
            "quantization": optional(STRING, "The old spelling of quantize."),
            "stream": optional({"type": "boolean", "default": True}),
            **{name: nothing(name) for name in manage.UNSUPPORTED},
        }
    )
    | {"allOf": [HAS_NAME, HAS_BASE]},
    "Parameters": record(
        {
            **OPTIONS,
            "stop": {"type": ["string", "array", "null"], "items": STRING},
            **{name: {"description": "Of older versions; does nothing."} for name in sorted(manage.FORMER)},
        },
        description="Options that stand where a request has none.",
    )
    | {"additionalProperties": False},
    "CopyRequest": record(
        {"source": {"type": "string", "minLength": 1}, "destination": {"type": "string", "minLength": 1}},
        required=["source", "destination"],
    ),
    "DeleteRequest": record(NAMED) | HAS_NAME,
    "Success": reply({"status": {"const": "success"}}),
    "ProgressLine": record(
        {
            "status": {"type": "string", "description": "The step; success is the last one."},
            "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64}|sha1:[0-9a-f]{40})$"},
            "total": COUNT,
            "completed": COUNT,
            "error": {"type": "string", "description": "Instead of a status: the work failed here."},
        }
    ),
    "Version": reply({"version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}}),
    "CloudStatus": reply({"cloud": reply({"disabled": {"const": True}, "source": STRING})}),
    "Recommendations": reply({"recommendations": {"type": "array", "maxItems": 0}}),
    "OllamaError": reply({"error": STRING}),
}
