"""The parser for gpt-oss: messages of a header and a body, each on a channel.

https://github.com/openai/harmony: `<|start|>assistant<|channel|>analysis<|message|>…<|end|>`; a header may name the tool that its body
is for: `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>`.
"""

from __future__ import annotations

import re

from vllama_agent.chat.events import Begun, Call, Event, Text, Thought
from vllama_agent.chat.parsers import values

TOKEN = re.compile(r"<\|(?:start|channel|message|constrain|end|call|return)\|>")
PARTIAL = re.compile(r"<(?:\|[a-z]{0,9}\|?)?\Z")
"""What could become a token; the longest name has nine letters."""
RECIPIENT = re.compile(r"\bto=(?:functions\.)?([^\s<]+)")
LONGEST_HEADER = 120
"""Characters: a role and the name of a tool."""
ENDS = frozenset({"<|end|>", "<|call|>", "<|return|>", "<|start|>"})


class HarmonyParser:
    """See `parsers.Parser`. The prompt ends with `<|start|>assistant`, so an answer begins within a header."""

    def __init__(self, begun: Begun, *, verbatim: bool = False) -> None:
        """
        :param verbatim: once words for the reader begin, nothing of them is markup.
        """
        self._verbatim = verbatim
        self._held = ""
        self._header: list[str] | None = [] if begun is Begun.NOT else None
        """Its parts so far; None: a body is being read."""
        self._marked = False
        """A token of the markup stands in the header: so it is one, however long it gets."""
        self._thinking = begun is Begun.THOUGHT
        self._tool: str | None = None
        self._arguments: list[str] = []
        self._events: list[Event] = []

    def feed(self, text: str) -> list[Event]:
        if "<" not in text and not self._held:
            # most pieces of most answers: nothing in them can be a token
            self._put(text)
            return self._take() if self._events else []
        self._held += text
        at = 0
        for found in TOKEN.finditer(self._held) if not self._speaks_verbatim() else ():
            self._put(self._held[at : found.start()])
            self._token(found[0])
            at = found.end()
            if self._speaks_verbatim():
                break
        partial = None if self._speaks_verbatim() else PARTIAL.search(self._held, at)
        end = partial.start() if partial else len(self._held)
        self._put(self._held[at:end])
        self._held = self._held[end:]
        return self._take()

    def finish(self) -> list[Event]:
        self._put(self._held)
        self._held = ""
        if self._header is not None and not self._marked:
            self._say("".join(self._header))
        self._end()
        return self._take()

    def _speaks_verbatim(self) -> bool:
        """Whether words for the reader are being read, to the end."""
        return self._verbatim and self._header is None and self._tool is None and not self._thinking

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _put(self, text: str) -> None:
        if not text:
            return
        if self._header is not None:
            self._header.append(text)
            if not self._marked:
                self._check_header("".join(self._header))
        elif self._tool is not None:
            self._arguments.append(text)
        else:
            self._say(text)

    def _check_header(self, text: str) -> None:
        """A model that just answers, without any header, is not held up."""
        if len(text) > LONGEST_HEADER:
            self._header = None
            self._say(text)

    def _say(self, text: str) -> None:
        if text:
            self._events.append(Thought(text) if self._thinking else Text(text))

    def _token(self, token: str) -> None:
        if token == "<|message|>":
            self._body("".join(self._header or ()))
        elif token in ENDS:
            self._end()
            self._header, self._marked = [token], True
        elif self._header is not None:
            self._header.append(token)
            self._marked = True

    def _body(self, header: str) -> None:
        recipient = RECIPIENT.search(header)
        self._tool = recipient[1] if recipient else None
        self._thinking = "<|channel|>analysis" in header
        self._header = None

    def _end(self) -> None:
        """A message is over."""
        tool, self._tool = self._tool, None
        body = "".join(self._arguments)
        self._arguments = []
        if tool is None:
            return
        try:
            arguments = values.loads(body) if body.strip() else {}
        except ValueError:
            arguments = None
        if isinstance(arguments, dict):
            self._events.append(Call(tool, arguments))
        else:
            self._say(body)
