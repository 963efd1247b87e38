"""The interactive chat of `vllama run`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, cast

from vllama_agent.commands import show, values
from vllama_agent.commands.answer import Printer, safe
from vllama_agent.commands.client import Client
from vllama_core.errors import VllamaError

QUOTES = '"""'
HELP = """Available commands:
  /set system TEXT           what the model is told before the chat
  /set parameter NAME VALUE  an option, such as temperature 0.2
  /set verbose | quiet       print what answers cost, or not
  /show info | license | modelfile | parameters | system | template
  /clear                     forget the chat
  /bye                       leave
  /?, /help                  this text

Use \"\"\" to begin and end a message of several lines. Ctrl-C stops an answer, Ctrl-D leaves.
"""
Read = Callable[[str], str]
"""Asks for a line with a prompt; raises EOFError at the end and KeyboardInterrupt for Ctrl-C."""


class Chat:
    """A conversation.

    :param chosen: fields of every request: `keep_alive`, `think`.
    """

    def __init__(self, client: Client, model: str, *, chosen: Mapping[str, Any], verbose: bool, hide_thinking: bool = False) -> None:
        self._client = client
        self._model = model
        self._chosen = chosen
        self._verbose = verbose
        self._hide_thinking = hide_thinking
        self.messages: list[dict[str, str]] = []
        self.system = ""
        self.options: dict[str, Any] = {}

    def load(self) -> None:
        """Load the model, so that what is wrong with it is told before the first question."""
        self._client.post("/api/generate", {"model": self._model, "stream": False, **self._chosen})

    def run(self, read: Read) -> int:
        """Answer until the user leaves."""
        while True:
            try:
                line = self._message(read)
            except KeyboardInterrupt:
                print("\nUse Ctrl + d or /bye to exit.")
                continue
            except EOFError:
                print()
                return 0
            if not line.strip():
                continue
            if line.lstrip().startswith("/"):
                if not self._command(line.strip()):
                    return 0
            else:
                self._answer(line)

    def _message(self, read: Read) -> str:
        """A line, or all lines between triple quotes."""
        line = read(">>> ")
        if not line.lstrip().startswith(QUOTES):
            return line
        text = line.lstrip().removeprefix(QUOTES)
        while QUOTES not in text:
            text += "\n" + read("... ")
        return text.partition(QUOTES)[0].removeprefix("\n")

    def _answer(self, words: str) -> None:
        """Ask and print. A stopped or failed answer leaves no half of itself in the history, a stopped one keeps what was said."""
        self.messages.append({"role": "user", "content": words})
        system = [{"role": "system", "content": self.system}] if self.system else []
        body = {"model": self._model, "messages": system + self.messages, "options": self.options, **self._chosen}
        printer, said = Printer(verbose=self._verbose, hide_thinking=self._hide_thinking), []
        # A generator; closing it closes the connection, and that is what cancels the answer at the server.
        stream = cast(Generator[dict[str, Any], None, None], self._client.stream("/api/chat", body))
        try:
            for piece in stream:
                said.append(piece["message"]["content"])
                printer.show(said[-1], piece, thought=piece["message"].get("thinking", ""))
            printer.end()
        except KeyboardInterrupt:
            print("\n")
        except VllamaError as error:
            print(f"\nError: {safe(str(error))}", file=sys.stderr)
            self.messages.pop()
            return
        finally:
            stream.close()
        self.messages.append({"role": "assistant", "content": "".join(said)})

    def _command(self, line: str) -> bool:
        """Do what a line with a slash says; False = leave."""
        match line.split(None, 2):
            case ["/bye" | "/exit"]:
                return False
            case ["/?" | "/help", *_]:
                print(HELP)
            case ["/clear"]:
                self.messages.clear()
                print("Cleared session context")
            case ["/set", *rest]:
                self._set(rest)
            case ["/show", part]:
                self._show(part)
            case _:
                print(f"Unknown command {line.split()[0]!r}. Type /? for help")
        return True

    def _set(self, words: list[str]) -> None:
        match words:
            case ["verbose" | "quiet" as mode]:
                self._verbose = mode == "verbose"
                print(f"Set '{mode}' mode.")
            case ["system", text]:
                self.system = text.strip().strip('"')
                print("Set system message.")
            case ["parameter", text] if len(parts := _words(text)) >= 2:
                name, *given = parts
                self.options[name] = [*self.options.get(name, []), *given] if name == "stop" else values.option(given[0])
                print(f"Set parameter '{name}' to '{' '.join(given)}'")
            case _:
                print("Usage: /set system TEXT, /set parameter NAME VALUE, /set verbose or /set quiet")

    def _show(self, part: str) -> None:
        try:
            info = self._client.post("/api/show", {"model": self._model})
        except VllamaError as error:
            print(f"Error: {safe(str(error))}", file=sys.stderr)
            return
        if part == "info":
            print(safe(show.text(info)))
        elif part == "system":
            print(self.system or info.get("system") or "No system message was specified for this model.")
        elif part == "parameters":
            chosen = [f"{name:<30} {value}" for name, value in self.options.items()]
            print("\n".join(chosen) or info.get("parameters") or "No parameters were specified for this model.")
        elif part in ("license", "modelfile", "template"):
            print(safe(info.get(part) or f"No {part} was specified for this model."))
        else:
            print("Usage: /show info, license, modelfile, parameters, system or template")


def _words(text: str) -> list[str]:
    """As a shell would take them apart; an object in JSON is one word, with its quotation marks."""
    name, _, value = text.partition(" ")
    if value.lstrip().startswith("{"):
        return [name, value.strip()]
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def terminal(environment: Mapping[str, str]) -> Read:
    """Line editing, with a history that other users cannot read."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    history: History = InMemoryHistory()
    if not environment.get("OLLAMA_NOHISTORY"):
        path = Path(environment.get("VLLAMA_HOME") or "~/.vllama").expanduser() / "history"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            history = FileHistory(str(path))
        except OSError as error:
            print(f"The history is not kept: {path}: {error.strerror}", file=sys.stderr)
    session: PromptSession[str] = PromptSession(history=history)
    return session.prompt
