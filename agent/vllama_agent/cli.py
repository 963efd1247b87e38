"""The `vllama` command. Only the verb that is asked for is imported: `--help` takes a tenth of a second, and so must `list`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from vllama_core.errors import ConfigError, VllamaError

COMMANDS = {
    "serve": "serve models behind the Ollama and OpenAI APIs",
    "run": "chat with a model, or ask it one thing",
    "pull": "fetch a model from the Hugging Face hub or Ollama's registry",
    "list": "list the models that the server has",
    "ps": "list the models that are loaded",
    "show": "tell what a model is",
    "stop": "unload a model",
    "rm": "remove models",
    "cp": "give a model another name",
    "create": "make a model from a Modelfile",
    "import": "take over the models of another program, without copying them",
    "du": "tell how much disk each model takes",
    "verify": "read the models' files and check every byte",
    "gc": "remove files that no model needs",
    "engines": "tell which engines and converters are here, or install one",
    "version": "print the versions of this command and of the server",
}
MODULES = {"import": "import_", "gc": "gc_"}
"""Verbs that are words of Python, or modules of its standard library."""
ALIASES = {"start": "serve", "ls": "list", "-v": "version", "--version": "version"}
FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if words else WRONG_USE
    verb = ALIASES.get(words[0], words[0])
    if verb not in COMMANDS:
        print(f"vllama: there is no command {words[0]!r}; `vllama --help` lists them", file=sys.stderr)
        return WRONG_USE
    return _run(verb, words[1:])


def usage() -> str:
    """What `--help` prints."""
    lines = [f"  {verb:<9}{what}" for verb, what in COMMANDS.items()]
    return "\n".join(["usage: vllama COMMAND ...", "", *lines, "", "`vllama COMMAND --help` tells more about one.", ""])


def _run(verb: str, words: list[str]) -> int:
    command = importlib.import_module(f"vllama_agent.commands.{MODULES.get(verb, verb)}")
    parsed = command.parser(f"vllama {verb}").parse_args(words)
    try:
        status: int = command.run(parsed)
        sys.stdout.flush()
        return status
    except VllamaError as error:
        print(f"vllama: {error}", file=sys.stderr)
        return WRONG_USE if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
