"""What a model brings to every request: a template, a system prompt, turns, and options. The request's own words go first.

https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from vllama_agent.apis import messages
from vllama_agent.engines.base import Message


class Model(Protocol):
    """What is read of a stored model."""

    @property
    def template(self) -> str | None: ...
    @property
    def system(self) -> str | None: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    @property
    def messages(self) -> tuple[dict[str, Any], ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """A model's own part of a request.

    :ivar template: Jinja text instead of the file's.
    :ivar system: stands first, unless the request has a system prompt.
    :ivar turns: stand between the system prompt and the request's messages.
    :ivar parameters: options by Ollama's names; each stands unless the request has the same one.
    """

    template: str | None = None
    system: str | None = None
    turns: tuple[Message, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    def chat(self, turns: tuple[Message, ...]) -> tuple[Message, ...]:
        """A request's turns with the model's before them. A request whose first turn is a system prompt keeps that one only."""
        if not turns:
            return ()
        if turns[0].role == "system":
            return (turns[0], *self.turns, *turns[1:])
        return (*self._system(), *self.turns, *turns)

    def prompt(self, prompt: str, *, system: str | None, continued: bool) -> tuple[Message, ...]:
        """A single prompt as a chat.

        :param system: the request's; the empty string is none.
        :param continued: it goes on from an earlier answer's token ids, in which the model's turns are already.
        """
        first = (Message(role="system", content=system),) if system else self._system()
        return (*first, *(() if continued else self.turns), Message(role="user", content=prompt))

    def options(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Options of a request over the model's."""
        return self.parameters | {name: value for name, value in asked.items() if value is not None}

    def _system(self) -> tuple[Message, ...]:
        return (Message(role="system", content=self.system),) if self.system else ()


NONE = Defaults()


def of(model: Model) -> Defaults:
    """What a stored model brings.

    :raises InvalidRequest: its turns are none.
    """
    return Defaults(
        template=model.template, system=model.system, turns=messages.ollama(list(model.messages)), parameters=dict(model.parameters)
    )
