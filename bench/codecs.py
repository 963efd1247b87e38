"""What a piece of an answer costs in the codecs, and how fast parsers of markup read: pure functions, timed in this process.

Pieces are four letters long, as a token is: a parser's price is per piece, so megabytes a second for whole tokens are what counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from vllama_agent.apis import ollama_replies, openai_replies
from vllama_agent.apis.openai_replies import Choice
from vllama_agent.chat import families, parsers
from vllama_agent.chat.events import Begun, Text, Thought

PIECES = 20_000
LETTERS = 1_000_000
PIECE = 4
REPEATS = 5
PROSE = "The quick brown fox jumps over the lazy dog, and a < b, and [1, 2] is a list. "
CALL = '{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}'
TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {}}}},
    }
]
WRITTEN = {
    "qwen": ("qwen", "think", f"\n<tool_call>\n{CALL}\n</tool_call>\n"),
    "mistral": ("mistral", None, f"[TOOL_CALLS][{CALL}]"),
    "harmony": (
        "harmony",
        None,
        '<|channel|>commentary to=functions.get_weather<|message|>{"days": 3}<|call|><|start|>assistant<|channel|>final<|message|>',
    ),
}
"""A few ways to write calls: as JSON between tags, as a list to the end, and gpt-oss's channels. Family, thoughts, a call."""


def measure(_: int) -> dict[str, float]:
    """Microseconds a piece per codec, and MB/s per parser; each the best of some repeats, as anything else in the way only adds."""
    found = {f"{name}_us": 1e6 * _best(make) / PIECES for name, make in codecs().items()}
    for name, (family, thought, call) in WRITTEN.items():
        text = _answer(call, calls=name != "mistral")
        found[f"{name}_mb_s"] = len(text.encode()) / 1e6 / _parser_seconds(family, thought, text)
    found["codec_us_worst"] = max(value for name, value in found.items() if name.endswith("_us"))
    found["parser_mb_s_worst"] = min(value for name, value in found.items() if name.endswith("_mb_s"))
    return found


def codecs() -> dict[str, Callable[[], Callable[[], None]]]:
    """By name: makes a run of `PIECES` pieces."""
    words, thought = Text("fox "), Thought("fox ")

    def ollama(event: Text | Thought | None) -> Callable[[], None]:
        reply = ollama_replies.Reply("model", chat=True)
        return lambda: _spend((reply.piece("fox ") if event is None else reply.part(event, 0)) for _ in range(PIECES))

    def openai(event: Text | Thought | None) -> Callable[[], None]:
        reply, choice = openai_replies.Reply("model", chat=True, include_usage=False, alternatives=None), Choice(0)
        return lambda: _spend((reply.piece(0, "fox ") if event is None else reply.part(0, choice, event)) for _ in range(PIECES))

    return {
        "ollama_text": lambda: ollama(None),
        "ollama_event": lambda: ollama(words),
        "ollama_thought": lambda: ollama(thought),
        "openai_text": lambda: openai(None),
        "openai_event": lambda: openai(words),
        "openai_thought": lambda: openai(thought),
    }


def _spend(pieces: Iterable[bytes]) -> None:
    for _ in pieces:
        pass


def _answer(call: str, *, calls: bool) -> str:
    """Words, with a call now and then; where a call lasts to the answer's end, one at the end."""
    block = PROSE * 20 + (call if calls else "")
    text = block * (LETTERS // len(block))
    return text if calls else text + call


def _parser_seconds(family: str, thought: str | None, text: str) -> float:
    return _best(lambda: partial(_parse, family, thought, text))


def _parse(family: str, thought: str | None, text: str) -> None:
    parser = parsers.make(families.named(family, thought), TOOLS, Begun.NOT)
    assert parser is not None, "each of these families has a parser"
    for at in range(0, len(text), PIECE):
        parser.feed(text[at : at + PIECE])
    parser.finish()


def _best(make: Callable[[], Callable[[], None]]) -> float:
    """Seconds of the fastest run."""
    found = []
    for _ in range(REPEATS):
        run = make()
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return min(found)
