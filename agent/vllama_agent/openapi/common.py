"""Bodies of the agent's own routes, and Anthropic's shape of an error."""

from __future__ import annotations

from vllama_agent.openapi.schema import COUNT, NUMBER, STRING, Schema, reply

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
    "Document": {"type": "object", "required": ["openapi", "info", "paths", "components"]},
    "AnthropicError": reply(
        {
            "type": {"const": "error"},
            "error": reply({"type": STRING, "message": STRING}),
            "request_id": {"type": "string", "pattern": "^req_"},
        }
    ),
}
