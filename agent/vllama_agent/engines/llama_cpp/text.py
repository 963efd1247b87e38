"""The text helper: renders chat templates, tokenises and compiles grammars, one job at a time, in a process that may be killed.

Started under a keeper as ``python -m vllama_agent.engines.llama_cpp.text FD``; the first frame holds its settings. It loads the
vocabulary only. A job that takes too long, or too much memory, costs this process and nothing else.
"""

from __future__ import annotations

import array
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vllama_agent.chat import answer_grammar
from vllama_agent.chat.events import Begun
from vllama_agent.chat.families import Markup
from vllama_agent.engines.base import Constraint, ConstraintKind
from vllama_agent.engines.llama_cpp import grammar, lib, prompt
from vllama_agent.engines.llama_cpp.frames import FrameSocket, run_child
from vllama_agent.engines.llama_cpp.model import Model
from vllama_core.config import LoadConfig

MEMORY_FOR_JOBS = 2 << 30
"""Bytes of address space beyond the loaded vocabulary: room for any honest prompt, not for a template that doubles a string for ever."""


class Vocabulary:
    """A model's vocabulary and template, as `prompt.Text`."""

    def __init__(self, files: tuple[Path, ...], *, chat_family: str | None = None) -> None:
        self._model = Model(files, LoadConfig(), vocab_only=True)
        self.chat_template = self._model.chat_template
        self.tool_template = self._model.named_template("tool_use")
        self.chat_family = chat_family
        self.special_texts = self._model.special_texts
        self.fill_in_middle = self._model.fill_in_middle
        self.bos = self._model.bos
        self.longest_token = self._model.longest_text

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        return self._model.tokenize(text, add_special=add_special, parse_special=parse_special)

    def control_tokens(self, markup: Markup) -> dict[int, bytes]:
        """The control tokens that a chat's markup is made of, and their texts, which answers else do not show."""
        found = {}
        for text in (text.encode() for text in markup.control()):
            for token in self.tokenize(text, add_special=False, parse_special=True):
                shown = self._model.render_token(token, special=True)
                # a vocabulary that lacks a character has its unknown token there, which is no part of the text
                if not self._model.piece(token) and shown in text:
                    found[token] = shown
        return found

    def detokenize(self, tokens: list[int]) -> bytes:
        """The bytes of token ids; control tokens are left out."""
        return b"".join(self._model.piece(token) for token in tokens)


def answer(text: Vocabulary, job: dict[str, Any]) -> dict[str, Any]:
    """Do one job: ``prepare``, ``render``, ``grammar``, ``tokenize`` or ``detokenize``."""
    try:
        match job["t"]:
            case "prepare":
                made = prompt.prepare(text, job | {name: _ids(job[name]) for name in ("context", "prompt_tokens")})
                reply = {"tokens": array.array("i", made.tokens).tobytes(), "asked": made.asked, "dropped": made.dropped}
                return reply if made.markup is None else reply | {"chat": _chat(text, made.markup, made.begun)}
            case "render":
                return {"text": prompt.render(text, job)}
            case "grammar":
                return {"grammar": _grammar(text, job)}
            case "tokenize":
                special = job["add_special"] and not (job["parse_special"] and prompt.begins_with_bos(text, job["text"]))
                ids = text.tokenize(job["text"].encode(), add_special=special, parse_special=job["parse_special"])
                return {"tokens": array.array("i", ids).tobytes()}
            case _:
                return {"text": text.detokenize(job["tokens"]).decode("utf-8", "replace")}
    except (prompt.PromptError, grammar.GrammarRefused) as error:
        return {"invalid": str(error)}
    except prompt.TooLong as error:
        return {"too_long": error.tokens}
    except (MemoryError, RecursionError) as error:
        return {"invalid": f"rendering the prompt failed: {type(error).__name__}"}


def _ids(packed: bytes | None) -> list[int] | None:
    if packed is None:
        return None
    unpacked: list[int] = np.frombuffer(packed, np.int32).tolist()
    return unpacked


def _grammar(text: Vocabulary, job: dict[str, Any]) -> str:
    """Of the answer as a whole, where it is one to a chat."""
    constraint = None
    if job["kind"] is not None:
        constraint = Constraint(kind=ConstraintKind(job["kind"]), text=job["text"], field=job["field"])
    if job["begun"] is None:
        assert constraint is not None, "what is no chat has no calls"
        return grammar.prepare(constraint)
    markup = prompt.markup_of(text, job)
    names = job["must_call"]
    wanted = answer_grammar.Wanted(
        markup=markup,
        template=prompt.template_of(text, job) or "",
        begun=Begun(job["begun"]),
        may_think=job["think"] is not False,
        tools=tuple(tool for tool in job["tools"] if not names or tool["function"]["name"] in names),
        parallel=job["parallel_calls"],
    )
    control = {shown.decode(): token for token, shown in text.control_tokens(markup).items()}
    return grammar.prepare_chat(wanted, None if names else constraint, control)


def _chat(text: Vocabulary, markup: Markup, begun: Begun) -> dict[str, Any]:
    return {
        "family": markup.family.name if markup.family else None,
        "thought": markup.thought.name if markup.thought else None,
        "begun": begun.value,
        "markers": text.control_tokens(markup),
    }


def _limit_memory() -> None:
    if sys.platform != "linux":
        return  # RLIMIT_AS has no effect on macOS; the deadline remains
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_FOR_JOBS, used + MEMORY_FOR_JOBS))


def work(link: FrameSocket) -> None:
    """Load the vocabulary that the first frame names, and do jobs until the agent leaves."""
    lib.start(lambda _line: None)  # the worker loads the same file and reports the same warnings
    settings = link.wait()[0]
    text = Vocabulary(tuple(Path(file) for file in settings["files"]), chat_family=settings["chat_family"])
    _limit_memory()
    link.send({"t": "hello"})
    while True:
        for job in link.wait():
            link.send(answer(text, job))


if __name__ == "__main__":
    sys.exit(run_child(work))
