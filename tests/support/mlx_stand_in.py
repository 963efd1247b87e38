"""Speaks what `mlx_lm.server` 0.32.2 speaks, without a model: ``python mlx_stand_in.py --port PORT …``. Standard library only.

Routes, fields, HTTP/1.0 and the order of events are those of https://github.com/ml-explore/mlx-lm/blob/v0.32.2/mlx_lm/server.py: a comment
while the prompt is computed, thoughts and calls apart from the text, the usage in an event of its own. The prompt says what is answered.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

THOUGHT = "Let me think."
CALL = {"index": 0, "id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
PIECES = ("Hello", " wor", "ld")


def deltas(prompt: str) -> list[dict[str, Any]]:
    """What is answered to a prompt."""
    if prompt == "think":
        return [{"reasoning": THOUGHT[:7]}, {"reasoning": THOUGHT[7:]}, {"content": "Done."}]
    if prompt == "call":
        return [{"reasoning": "Hm."}, {"tool_calls": [CALL]}]
    if prompt == "only think":
        return [{"reasoning": THOUGHT}]
    return [{"content": piece} for piece in (PIECES * 10_000 if prompt == "long" else PIECES)]


class Handler(BaseHTTPRequestHandler):
    """See the module."""

    def do_GET(self) -> None:
        self._reply(200, {"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = "messages" in body
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        if prompt == "die":
            print("mx.core: [metal::malloc] out of memory", file=sys.stderr, flush=True)
            os._exit(3)
        if prompt == "refuse":
            return self._reply(400, {"error": "top_logprobs must be at most 11"})
        if not body.get("stream"):
            return self._reply(200, {"choices": [{"text": "x", "finish_reason": "length"}], "usage": {}})
        if prompt == "tell":
            return self._stream(chat, [{"content": json.dumps(body, sort_keys=True)}], "stop")
        return self._stream(chat, deltas(prompt), "tool_calls" if prompt == "call" else "stop")

    def _stream(self, chat: bool, pieces: list[dict[str, Any]], finish: str) -> None:
        self.send_response(200)
        self.send_header("Content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b": keepalive 5/5\n\n")
        try:
            for piece in pieces:
                self._event({"choices": [self._choice(chat, piece, None)]})
                time.sleep(0.001 if len(pieces) > 100 else 0)
        except OSError:
            print("client gone", file=sys.stderr, flush=True)
            return
        self._event({"choices": [self._choice(chat, {}, finish)]})
        usage = {"prompt_tokens": 7, "completion_tokens": len(pieces), "total_tokens": 0, "prompt_tokens_details": {"cached_tokens": 4}}
        self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _choice(self, chat: bool, piece: dict[str, Any], finish: str | None) -> dict[str, Any]:
        made = {"delta": {"role": "assistant", **piece}} if chat else {"text": piece.get("content", "")}
        return {"index": 0, "finish_reason": finish, **made}

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def _reply(self, status: int, found: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    if "--broken" in sys.argv:
        sys.exit("ValueError: Model type what not supported.")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
