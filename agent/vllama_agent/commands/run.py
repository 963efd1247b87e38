"""`vllama run`: one prompt, or a chat."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from vllama_core.errors import ConfigError

from vllama_agent.client import Client
from vllama_agent.commands.answer import Printer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of Ollama's `run` that this version does."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="answer this and end; standard input is put before it")
    parser.add_argument("--verbose", action="store_true", help="print what the answer cost")
    parser.add_argument("--keepalive", metavar="DURATION", help="how long the model stays loaded, such as 5m; -1 = for ever")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Answer once where there is a prompt or standard input is no terminal; else chat."""
    client = Client.from_environment(environment)
    keep_alive = _keep_alive(options.keepalive)
    words = list(options.prompt)
    interactive = sys.stdin.isatty() and not words
    if not sys.stdin.isatty() and (piped := sys.stdin.buffer.read().decode("utf-8", "replace").strip()):
        words.insert(0, piped)
    if interactive:
        from vllama_agent.commands.chat import Chat

        return Chat(client, options.model, keep_alive=keep_alive, verbose=options.verbose, environment=environment).run()
    body: dict[str, Any] = {"model": options.model, "prompt": " ".join(words), **keep_alive}
    printer = Printer(verbose=options.verbose)
    for piece in client.stream("/api/generate", body):
        printer.show(piece.get("response", ""), piece)
    return 0


def _keep_alive(text: str | None) -> dict[str, Any]:
    """The request's field. The flag takes bare seconds too, which the API does not."""
    if text is None:
        return {}
    from vllama_agent.commands import values

    try:
        return {"keep_alive": values.keep_alive(text)}
    except ValueError as error:
        raise ConfigError(f"--keepalive is {text!r}; it must be {error}") from None
