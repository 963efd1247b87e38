#!/usr/bin/env python3
"""A server that speaks vLLM's API and computes nothing: its events have vLLM's bytes, its pace is set.

Run in place of the interpreter that has vLLM: `bench/standin_vllm.py -I -m MODULE --uds SOCKET …`. Standard library only. The tokens
per second of all answers together are VLLAMA_BENCH_STANDIN_RATE; a step gives each answer one token. A prompt that holds `die!` ends the
process in the middle of its answer, as a lost GPU would; `--fail SENTENCE` ends it while loading, `--fail-first SENTENCE` at its
first request.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from typing import Any

WORDS = (" the", " of", " and", " model", " served", " tokens", " quickly", "\\n", ' \\"quoted\\"', " naïve")
ARGUMENTS = dict(itertools.pairwise(sys.argv))
CONTEXT = int(ARGUMENTS.get("--max-model-len", "8192"))
RATE = float(os.environ.get("VLLAMA_BENCH_STANDIN_RATE", "1000"))
VERSION = os.environ.get("VLLAMA_BENCH_STANDIN_VERSION", "0.32.0")
CHAT = "/v1/chat/completions"


class Stream:
    """One answer on its connection."""

    def __init__(self, writer: asyncio.StreamWriter, body: dict[str, Any], *, chat: bool, prompt: int) -> None:
        self._writer = writer
        self._body = body
        self._prompt = prompt
        self._tokens = max(1, min(body.get("max_tokens") or CONTEXT, CONTEXT - prompt))
        self._interval = body.get("stream_interval") or 1
        self._made = self._sent = 0
        self._text = ""
        self._deadly = "die!" in json.dumps(body)
        name = "chatcmpl-93693c8090ab7dfb" if chat else "cmpl-accb1ce7d1243a45"
        kind = "chat.completion.chunk" if chat else "text_completion"
        self._head = f'data: {{"id":"{name}","object":"{kind}","created":1795638868,"model":"model","choices":['
        self._before = '{"index":0,"delta":{"content":"' if chat else '{"index":0,"text":"'
        self._rest = '"},"logprobs":null' if chat else '","logprobs":null'
        self._none = ',"token_ids":null}' if chat else ',"prompt_token_ids":null,"token_ids":null}'
        self._chat = chat
        self.done = asyncio.Event()

    def begin(self) -> None:
        self._writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")
        if self._chat:
            first = '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
            text = json.dumps("user: hello\nassistant: ") if self._body.get("return_prompt_text") else "null"
            self._send(f'{self._head}{first},"prompt_token_ids":null,"prompt_text":{text}}}\n\n')

    def step(self) -> None:
        """One token more, and the end behind the last. As in vLLM, the first and the last go out at once, others by `stream_interval`."""
        if self._writer.transport.is_closing():
            self.done.set()
            return
        if self._deadly and self._made == 2:
            print("ERROR 11-25 20:34:41 [core.py:1] RuntimeError: CUDA error: the GPU has fallen off the bus", flush=True)
            os._exit(3)
        self._made += 1
        self._text += WORDS[self._made % len(WORDS)]
        if 1 < self._made < self._tokens and self._made - self._sent < self._interval:
            return
        text, self._text, self._sent = self._text, "", self._made
        stop = "" if self._chat else ',"stop_reason":null'
        if self._made < self._tokens:
            self._send(f'{self._head}{self._before}{text}{self._rest},"finish_reason":null{stop}{self._none}]}}\n\n')
            return
        stop = ',"stop_reason":null'
        event = f'{self._head}{self._before}{text}{self._rest},"finish_reason":"length"{stop}{self._none}]}}\n\n'
        usage = {"prompt_tokens": self._prompt, "completion_tokens": self._made, "prompt_tokens_details": {"cached_tokens": 0}}
        metrics = {"time_to_first_token_ms": 3.0, "queue_time_ms": 1.0, "generation_time_ms": 2.0}
        self._send(event + f'{self._head}],"usage":{json.dumps(usage)},"metrics":{json.dumps(metrics)}}}\n\ndata: [DONE]\n\n')
        self._writer.write(b"0\r\n\r\n")
        self.done.set()

    def _send(self, text: str) -> None:
        data = text.encode()
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))


class StandIn:
    """The server."""

    def __init__(self) -> None:
        self._running: set[Stream] = set()
        self._begun = asyncio.Event()

    async def pace(self) -> None:
        """A schedule, not a sleep: a late step is followed by an early one, so the rate holds."""
        due = time.monotonic()
        while True:
            if not self._running:
                self._begun.clear()
                await self._begun.wait()
                due = time.monotonic()
            for stream in list(self._running):
                stream.step()
                if stream.done.is_set():
                    self._running.discard(stream)
            due += len(self._running) / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
                data = await reader.readexactly(int(headers.get("content-length", "0")))
                await self._answer(writer, lines[0].split(" ")[1], headers, json.loads(data) if data else {})
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        if path.startswith("/v1/") and headers.get("authorization") != f"Bearer {os.environ.get('VLLM_API_KEY')}":
            _reply(writer, 401, {"error": "Unauthorized"})
        elif path in (CHAT, "/v1/completions"):
            await self._generate(writer, body, chat=path == CHAT)
        else:
            _reply(writer, 200, self._told(path, body))

    def _told(self, path: str, body: dict[str, Any]) -> Any:
        match path:
            case "/version":
                return {"version": VERSION}
            case "/v1/models":
                return {"data": [{"id": "model", "max_model_len": CONTEXT}]}
            case "/tokenize":
                return {"tokens": _tokens(body), "count": len(_tokens(body))}
            case "/detokenize":
                return {"prompt": bytes(token % 256 for token in body["tokens"]).decode("utf-8", "replace")}
            case "/metrics":
                return f'vllm:num_requests_running{{engine="0"}} {len(self._running)}\nvllm:kv_cache_usage_perc{{engine="0"}} 0.25\n'
            case _:
                return {}

    async def _generate(self, writer: asyncio.StreamWriter, body: dict[str, Any], *, chat: bool) -> None:
        prompt = len(_tokens(body))
        if prompt > CONTEXT:
            message = f"This model's maximum context length is {CONTEXT} tokens."
            _reply(writer, 400, {"error": {"message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400}})
            return
        if (body.get("temperature") or 0) < 0:
            message = "temperature must be non-negative"
            _reply(writer, 400, {"error": {"message": message, "type": "BadRequestError", "param": "temperature", "code": 400}})
            return
        if "--fail-first" in ARGUMENTS:
            print(f"(EngineCore pid=7) ERROR 11-25 20:34:41 [core.py:1] {ARGUMENTS['--fail-first']}", flush=True)
            _reply(writer, 500, {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}})
            await writer.drain()
            os._exit(1)
        if not body.get("stream"):
            _reply(writer, 200, {"choices": [{"text": "x"}]})
            return
        stream = Stream(writer, body, chat=chat, prompt=prompt)
        stream.begin()
        self._running.add(stream)
        self._begun.set()
        await stream.done.wait()


def _tokens(body: dict[str, Any]) -> list[int]:
    """Bytes are tokens."""
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        return prompt
    if prompt is None:
        prompt = "".join(f"{message['role']}: {message['content']}\n" for message in body["messages"]) + "assistant: "
    return list(str(prompt).encode())


def _reply(writer: asyncio.StreamWriter, status: int, body: Any) -> None:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(data), data))


async def main() -> None:
    """Load as vLLM does, and serve."""
    for done in (0, 1, 2):
        print(f"Loading safetensors checkpoint shards:  {50 * done}% Completed | {done}/2 [00:00<00:00]\r", end="", flush=True)
    if "--fail" in ARGUMENTS:
        print(f"\n(EngineCore pid=7) ERROR 11-25 20:34:41 [core.py:1] ValueError: {ARGUMENTS['--fail']}", flush=True)
        sys.exit(1)
    print("\n(EngineCore pid=7) INFO 11-25 20:34:24 [kv_cache_utils.py:2327] GPU KV cache size: 4,096 tokens, Maximum", flush=True)
    standin = StandIn()
    server = await asyncio.start_unix_server(standin.serve, ARGUMENTS["--uds"], backlog=1024)
    async with server:
        await standin.pace()


if __name__ == "__main__":
    if "-c" in sys.argv:  # the agent asks an interpreter for the version of the vLLM that it has
        print("0.32.0")
    else:
        asyncio.run(main())
