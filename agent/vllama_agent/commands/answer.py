"""An answer on its way to the terminal, and what it cost."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from vllama_core.errors import EngineFailed

_CONTROLS = dict.fromkeys(code for code in (*range(32), *range(127, 160)) if code not in (9, 10))


class Printer:
    """Prints pieces as they come; into a pipe exactly as they are, on a terminal without control characters.

    :param hide_thinking: print no thoughts.
    """

    def __init__(self, *, verbose: bool, hide_thinking: bool = False) -> None:
        self._verbose = verbose
        self._hide_thinking = hide_thinking
        self._thinking = False
        self._terminal = sys.stdout.isatty()
        self._done = False

    def show(self, words: str, piece: Mapping[str, Any], *, thought: str = "") -> None:
        """Print a piece; after the last also a line's end, and the costs if they are wanted."""
        self._write(self._framed(words, "" if self._hide_thinking else thought))
        self._done = bool(piece.get("done"))
        if self._done:
            sys.stdout.write("\n\n" if self._terminal else "\n")
        sys.stdout.flush()
        if self._done and self._verbose:
            print("\n".join(costs(piece)), file=sys.stderr)

    def _framed(self, words: str, thought: str) -> str:
        """With the lines that stand around thoughts, as Ollama's command prints them."""
        framed = thought if self._thinking or not thought else f"Thinking...\n{thought}"
        self._thinking = self._thinking or bool(thought)
        if words and self._thinking:
            self._thinking = False
            framed += "\n...done thinking.\n\n"
        return framed + words

    def _write(self, text: str) -> None:
        sys.stdout.write(safe(text) if self._terminal else text)

    def end(self) -> None:
        """The stream is over.

        :raises EngineFailed: before the answer was: a server that is killed closes its connections without a word.
        """
        if not self._done:
            raise EngineFailed("the server broke off in the middle of its answer")


def safe(text: str) -> str:
    """Without control characters: what a model says must not steer the terminal."""
    return text.translate(_CONTROLS)


def costs(final: Mapping[str, Any]) -> list[str]:
    """The lines of --verbose, as Ollama prints them."""
    lines = [(key.replace("_", " "), duration(final[key])) for key in ("total_duration", "load_duration") if final.get(key)]
    for part in ("prompt_eval", "eval"):
        count, spent, name = final.get(f"{part}_count", 0), final.get(f"{part}_duration", 0), part.replace("_", " ")
        if count:
            lines.append((f"{name} count", f"{count} token(s)"))
        if spent:
            lines.append((f"{name} duration", duration(spent)))
            lines.append((f"{name} rate", f"{count / spent * 1e9:.2f} tokens/s"))
    return [f"{name + ':':<21} {value}" for name, value in lines]


def duration(nanoseconds: int) -> str:
    """A measured time, as Go writes durations: ``1m2.5s``, ``130.5ms``, ``12µs``."""
    seconds = nanoseconds / 1e9
    if seconds >= 60:
        hours, rest = divmod(seconds, 3600)
        minutes, rest = divmod(rest, 60)
        return (f"{int(hours)}h" if hours else "") + f"{int(minutes)}m{rest:.6g}s"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.6g}{unit}"
    return f"{nanoseconds}ns"
