"""The text helper: renders chat templates and tokenises, one job at a time, in a process that may be killed.

Started under a keeper as ``python -m vllama_agent.engines.llama_cpp.text FD``; the first frame holds its settings. It loads the
vocabulary only. A job that takes too long, or too much memory, costs this process and nothing else.
"""

from __future__ import annotations

import array
import resource
import sys
from pathlib import Path
from typing import Any

from vllama_agent.engines.llama_cpp import lib, prompt
from vllama_agent.engines.llama_cpp.frames import FrameSocket, run_child
from vllama_core.config import LlamaCppConfig

MEMORY_FOR_JOBS = 2 << 30
"""Bytes of address space beyond the loaded vocabulary: room for any honest prompt, not for a template that doubles a string for ever."""


class Vocabulary:
    """A model's vocabulary and template, as `prompt.Text`."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._model = lib.Model(files, LlamaCppConfig(), vocab_only=True)
        self.chat_template = self._model.chat_template
        self.special_texts = self._model.special_texts
        self.fill_in_middle = self._model.fill_in_middle
        self.bos = self._model.bos
        self.longest_token = max(len(self._model.render_token(i, special=True)) for i in range(self._model.vocab_size))

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        return self._model.tokenize(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, tokens: list[int]) -> bytes:
        """The bytes of token ids; control tokens are left out."""
        return b"".join(self._model.piece(token) for token in tokens)


def answer(text: Vocabulary, job: dict[str, Any]) -> dict[str, Any]:
    """Do one job: ``prepare``, ``render``, ``tokenize`` or ``detokenize``."""
    try:
        match job["t"]:
            case "prepare":
                made = prompt.prepare(text, job)
                return {"tokens": array.array("i", made.tokens).tobytes(), "asked": made.asked, "dropped": made.dropped}
            case "render":
                return {"text": prompt.render(text, job["messages"], job["template"])}
            case "tokenize":
                ids = text.tokenize(job["text"].encode(), add_special=job["add_special"], parse_special=job["parse_special"])
                return {"tokens": array.array("i", ids).tobytes()}
            case _:
                return {"text": text.detokenize(job["tokens"]).decode("utf-8", "replace")}
    except prompt.PromptError as error:
        return {"invalid": str(error)}
    except prompt.TooLong as error:
        return {"too_long": error.tokens}
    except (MemoryError, RecursionError) as error:
        return {"invalid": f"rendering the prompt failed: {type(error).__name__}"}


def _limit_memory() -> None:
    if sys.platform != "linux":
        return  # RLIMIT_AS has no effect on macOS; the deadline remains
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_FOR_JOBS, used + MEMORY_FOR_JOBS))


def work(link: FrameSocket) -> None:
    """Load the vocabulary that the first frame names, and do jobs until the agent leaves."""
    settings = link.wait()[0]
    lib.start(lambda _line: None)  # the worker loads the same file and reports the same warnings
    text = Vocabulary(tuple(Path(file) for file in settings["files"]))
    _limit_memory()
    link.send({"t": "hello"})
    while True:
        for job in link.wait():
            link.send(answer(text, job))


if __name__ == "__main__":
    sys.exit(run_child(work))
