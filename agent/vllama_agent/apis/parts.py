"""What an answer to a chat is made of, delta by delta: thoughts, words, calls. Both families' replies are made of these. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vllama_agent.chat import families, parsers
from vllama_agent.chat.events import Call, Event, Text, Thought
from vllama_agent.engines.base import Delta, GenerateRequest, Reading, TokenLogprob

__all__ = ["Call", "Event", "Parts", "Text", "Thought", "of"]


def of(request: GenerateRequest, reading: Reading | None) -> Parts | None:
    """The reader of an answer; None: it is words and nothing else, as it stands."""
    if reading is None:
        return None
    parser = parsers.make(families.named(reading.family, reading.thought), request.tools, reading.begun, verbatim=reading.verbatim)
    return Parts(parser, parallel_calls=request.parallel_calls) if parser is not None else None


class Parts:
    """Splits one answer.

    :param parallel_calls: False: calls after the first are dropped.
    :ivar called: a call was made.
    """

    def __init__(self, parser: parsers.Parser, *, parallel_calls: bool = True) -> None:
        self._parser = parser
        self._parallel_calls = parallel_calls
        self._logprobs: list[TokenLogprob] = []
        self.called = False

    def split(self, delta: Delta) -> list[Event]:
        """What this delta makes certain; its log-probabilities wait for `logprobs`."""
        self._logprobs += delta.logprobs or ()
        events = self._parser.feed(delta.text)
        if delta.finish is not None:
            events += self._parser.finish()
        return [event for event in events if not isinstance(event, Call) or self._admits()]

    def logprobs(self) -> list[TokenLogprob] | None:
        """Those of all tokens since they were last asked for: they go out with the next piece, whatever it holds."""
        found, self._logprobs = self._logprobs, []
        return found or None

    def _admits(self) -> bool:
        admitted = self._parallel_calls or not self.called
        self.called = True
        return admitted


class Whole:
    """An answer that is not streamed, as it is gathered."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self.calls: list[Call] = []

    def add(self, events: Sequence[Event]) -> None:
        """Take in events."""
        for event in events:
            match event:
                case Text(text):
                    self._texts.append(text)
                case Thought(text):
                    self._thoughts.append(text)
                case Call():
                    self.calls.append(event)

    @property
    def text(self) -> str:
        """The words for the reader."""
        return "".join(self._texts)

    @property
    def thought(self) -> str:
        """The words for the model."""
        return "".join(self._thoughts)
