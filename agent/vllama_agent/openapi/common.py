"""Bodies of the agent's own routes, and Anthropic's shape of an error."""

from __future__ import annotations

from vllama_agent.openapi.ollama import TOOLS
from vllama_agent.openapi.schema import BOOLEAN, COUNT, NUMBER, STRING, TOKEN_IDS, Schema, listed, nothing, optional, record, ref, reply

_MODEL_LOAD = {"running": COUNT, "waiting": COUNT, "kv_free": COUNT, "kv_total": COUNT}
SCHEMAS: dict[str, Schema] = {
    "Load": reply(
        {
            "inflight": COUNT,
            "queued": COUNT,
            "kv_free": COUNT,
            "tokens_per_second": NUMBER,
            "models": {"type": "object", "additionalProperties": reply(dict(_MODEL_LOAD))},
        }
    ),
    "TokenizeRequest": {
        **record(
            {
                "model": {"type": "string", "minLength": 1},
                "prompt": optional(STRING, "vLLM's name of the text: BOS is added where the model wants one."),
                "content": optional(STRING, "llama-server's: it is not."),
                "messages": optional({**listed(ref("ChatMessage")), "minItems": 1}, "A chat, rendered by the model's template."),
                "tools": TOOLS,
                "add_special_tokens": optional(BOOLEAN),
                "add_special": optional(BOOLEAN),
                "parse_special": optional(BOOLEAN, "Control tokens that are written out are those tokens."),
                "with_pieces": nothing("pieces"),
                "return_token_strs": nothing("pieces"),
            },
            required=["model"],
        ),
        "oneOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in ("prompt", "content", "messages")],
    },
    "TokenizeReply": reply({"tokens": TOKEN_IDS, "count": COUNT, "max_model_len": optional(COUNT)}),
    "DetokenizeRequest": record({"model": {"type": "string", "minLength": 1}, "tokens": TOKEN_IDS}, required=["model", "tokens"]),
    "DetokenizeReply": reply({"prompt": STRING, "content": STRING}),
    "Document": {"type": "object", "required": ["openapi", "info", "paths", "components"]},
    "AnthropicError": reply(
        {
            "type": {"const": "error"},
            "error": reply({"type": STRING, "message": STRING}),
            "request_id": {"type": "string", "pattern": "^req_"},
        }
    ),
}
