"""The `vllama` command. Only the verb that is asked for is imported: `--help` takes a tenth of a second, and so must `list`."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from vllama_agent.commands import answer
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
    "doctor": "tell what this machine has, and what to do about each problem",
    "plan": "tell whether a model fits into memory, and what would",
    "engines": "tell which engines and converters are here, or install one",
    "config": "check a vllama.yaml",
    "connect": "let programs that send no key use a server that asks for one",
    "service": "run the server whenever you are logged in (launchd, systemd)",
    "cluster": "serve models in a Kubernetes cluster",
    "version": "print the versions of this command and of the server",
}
MODULES = {"import": "import_", "gc": "gc_"}
"""Verbs that are words of Python, or modules of its standard library."""
ALIASES = {"start": "serve", "ls": "list", "-v": "version", "--version": "version"}
ELSEWHERE = ("cluster",)
"""Verbs of another package: it says by an entry point of the group `vllama.commands` which module they are."""
FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write to standard output, which have no file's name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return status
    except VllamaError as error:
        print(f"vllama: {answer.safe(str(error))}", file=sys.stderr)  # a server's words, too, must not steer the terminal
        return WRONG_USE if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno not in UNWRITTEN or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what could not be written would be tried again at the end
        if not isinstance(error, BrokenPipeError):  # then the reader of our output has seen enough, as `head` does
            print(f"vllama: standard output: {error.strerror}", file=sys.stderr)
        return FAILED


def usage() -> str:
    """What `--help` prints."""
    lines = [f"  {verb:<9}{what}" for verb, what in COMMANDS.items()]
    return "\n".join(["usage: vllama COMMAND ...", "", *lines, "", "`vllama COMMAND --help` tells more about one.", ""])


def _command(verb: str) -> Any:
    """The module of a verb."""
    if verb not in ELSEWHERE:
        return importlib.import_module(f"vllama_agent.commands.{MODULES.get(verb, verb)}")
    from importlib import metadata

    found = next(iter(metadata.entry_points(group="vllama.commands", name=verb)), None)
    if found is None:
        raise ConfigError(f"`vllama {verb}` is not installed; install vllama-serve anew, with the extra [operator]")
    return found.load()


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if words else WRONG_USE
    verb = ALIASES.get(words[0], words[0])
    if verb not in COMMANDS:
        print(f"vllama: there is no command {words[0]!r}; `vllama --help` lists them", file=sys.stderr)
        return WRONG_USE
    command = _command(verb)
    status: int = command.run(command.parser(f"vllama {verb}").parse_args(words[1:]))
    return status
