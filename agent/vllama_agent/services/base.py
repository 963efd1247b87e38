"""What a service is and what a service manager does with one, for launchd and systemd alike. Nothing here touches the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vllama_core.errors import ConfigError

PATIENCE = 15
"""Seconds beyond the drain's own limits until the manager kills: streams that were too long still get their last event."""
OPEN_FILES = 8192
"""Each connection is one. launchd's own limit is 256, less than the requests that may wait for one model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is to run.

    :ivar command: the program and its arguments; no secret, as everybody on the machine can read them.
    :ivar environment: variables; no secret either: keys stay in files that these name.
    :ivar folder: where it runs.
    :ivar stop_seconds: from the request to stop until it is killed.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    stop_seconds: int

    def check(self) -> None:
        """:raises ConfigError: a text has a line break or another control character, which no manager's file can hold."""
        for text in (*self.command, *self.environment, *self.environment.values()):
            if not text.isprintable():
                raise ConfigError(f"{text!r} has a control character, which a service's file cannot hold")


@dataclass(frozen=True, slots=True)
class Status:
    """What the manager says.

    :ivar running: None of the others matters to a script.
    :ivar pid: None: no process.
    :ivar words: the manager's own, such as ``active (running)``.
    """

    running: bool
    pid: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command of the manager's said."""

    status: int
    output: str
    errors: str


Ask = Callable[[Sequence[str]], Answer]
"""Runs a command of the manager's and gives its answer, whatever its status."""


class Manager(Protocol):
    """launchd or systemd. `file` is where the service stands; all that is done goes through `ask`."""

    file: Path

    def render(self, service: Service) -> bytes:
        """The file's content."""
        ...

    def start(self, ask: Ask) -> str:
        """Make it run from the file, now and at each login; a sentence about when it does.

        :raises ConfigError: the manager refuses.
        """
        ...

    def stop(self, ask: Ask) -> None:
        """Make it end, and not start again. It may take as long as its drain.

        :raises ConfigError: the manager refuses.
        """
        ...

    def status(self, ask: Ask) -> Status | None:
        """How it is; None: the manager does not know it."""
        ...

    def forget(self, ask: Ask) -> None:
        """The file is gone."""
        ...


def must(answer: Answer, what: str) -> Answer:
    """The answer of a command that has to succeed.

    :raises ConfigError: it did not; holds what the command said.
    """
    if answer.status != 0:
        said = (answer.errors or answer.output).strip().splitlines()
        raise ConfigError(f"{what} failed with status {answer.status}: {said[-1] if said else 'it did not say why'}")
    return answer
