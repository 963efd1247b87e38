"""`vllama run`: one prompt, or a chat."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from vllama_agent.commands import answer, client, pull
from vllama_core import durations
from vllama_core.errors import ConfigError

NOT_FOUND = 404
THINK = ("true", "false", "low", "medium", "high", "max")


def parser(prog: str) -> argparse.ArgumentParser:
    """Those flags of Ollama's `run` that this version does."""
    made = argparse.ArgumentParser(prog=prog, description="Chat with a model, or ask it one thing.", allow_abbrev=False)
    made.add_argument("model")
    made.add_argument("prompt", nargs="*", help="answer this and end; standard input is put before it")
    made.add_argument("--verbose", action="store_true", help="print what an answer cost")
    made.add_argument("--keepalive", metavar="TIME", help="how long the model stays loaded after it, such as 5m; negative = for ever")
    made.add_argument(
        "--think",
        metavar="LEVEL",
        choices=THINK,
        help="whether a model that can think does so before it answers: true (default), false, low, medium, high, max",
    )
    made.add_argument("--hidethinking", action="store_true", help="print no thoughts")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Answer once where there is a prompt or standard input is no terminal; else chat."""
    chosen = _keep_alive(arguments.keepalive) | _think(arguments.think)
    server = client.from_environment()
    _fetch_if_missing(server, arguments.model)
    words = list(arguments.prompt)
    if sys.stdin.isatty() and not words:
        from vllama_agent.commands.chat import Chat, terminal

        chat = Chat(server, arguments.model, chosen=chosen, verbose=arguments.verbose, hide_thinking=arguments.hidethinking)
        chat.load()
        return chat.run(terminal(os.environ))
    if not sys.stdin.isatty() and (piped := sys.stdin.buffer.read().decode("utf-8", "replace").strip()):
        words.insert(0, piped)
    body = {"model": arguments.model, "prompt": " ".join(words), **chosen}
    printer = answer.Printer(verbose=arguments.verbose, hide_thinking=arguments.hidethinking)
    for piece in server.stream("/api/generate", body):
        printer.show(piece.get("response", ""), piece, thought=piece.get("thinking", ""))
    printer.end()
    return 0


def _fetch_if_missing(server: client.Client, model: str) -> None:
    """A model that the server has not is pulled first, as Ollama's command does it."""
    try:
        server.post("/api/show", {"model": model})
    except client.ServerError as error:
        if error.status != NOT_FOUND:
            raise
        pull.through(server, model)


def _think(text: str | None) -> dict[str, Any]:
    """The request's field; it takes words for levels only."""
    return {} if text is None else {"think": {"true": True, "false": False}.get(text, text)}


def _keep_alive(text: str | None) -> dict[str, Any]:
    """The request's field. The flag takes bare seconds too, for which the API wants a number."""
    if text is None:
        return {}
    try:
        return {"keep_alive": durations.parse_seconds(text)}
    except ValueError as error:
        raise ConfigError(f"--keepalive is {text!r}: {error}") from None
