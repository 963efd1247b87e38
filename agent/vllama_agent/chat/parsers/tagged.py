"""The parser for markup of tags: `<think>…</think>`, `<tool_call>…</tool_call>` and their many relatives.

Blanks around thoughts and calls belong to the markup and are dropped; blanks in and at the end of the words are kept.
"""

from __future__ import annotations

import re
from typing import Any

from vllama_agent.chat.events import Begun, Event, Text, Thought
from vllama_agent.chat.families import Calls, Markers
from vllama_agent.chat.parsers import bare, bodies

CONTROL = ("<|", "<｜", "[")
"""What opens a call and begins so is a control token, or as good as one: it ends a thought that was not closed."""


class TaggedParser:
    """See `parsers.Parser`.

    :param thought: the markers around a thought; None = the model has none.
    :param calls: how its calls look; None = they are not looked for.
    :param tools: each offered tool's parameters: name → JSON schema.
    :param verbatim: once words for the reader begin, nothing of them is markup.
    """

    def __init__(
        self,
        thought: Markers | None,
        calls: Calls | None,
        tools: dict[str, dict[str, Any]],
        begun: Begun,
        *,
        verbatim: bool = False,
    ) -> None:
        self._thought = thought
        self._calls = calls
        self._tools = tools
        self._thinking = begun is Begun.THOUGHT
        self._spoken = begun is Begun.TEXT
        """Words for the reader were shown: markers that only begin an answer count no more."""
        self._held = ""
        """What is not decided: the start of a marker, or a call that is not closed."""
        self._opened: str | None = None
        """The marker of the call that `_held` belongs to."""
        self._closer = ""
        """What ends that call; empty = the answer's end."""
        self._later: list[str] = []
        """Pieces of that call behind `_held`, in which no end of it can stand."""
        self._quotes = bodies.Quotes("")
        self._sought = 0
        """Characters of the body in which its end was looked for."""
        self._space = ""
        """Blanks that go with the next words, if any come."""
        self._trim = False
        """The next words lose the blanks before them."""
        openers = calls.openers if calls else ()
        anywhere = (thought.open,) if thought and thought.anywhere else ()
        drops = thought.drops if thought else ()
        first = (thought.open, thought.close) if thought else ()
        self._at_start = _Finder((*openers, *anywhere, *drops, *first))
        self._in_text = _Finder(() if verbatim else (*openers, *anywhere, *drops))
        self._in_thought = _Finder((*first[1:], *(opener for opener in openers if opener.startswith(CONTROL))))
        self._events: list[Event] = []
        self._flow: tuple[str, ...] | None = None
        """What markers begin with, while nothing is held: a piece without any of it is words, whatever comes after it."""

    def feed(self, text: str) -> list[Event]:
        if self._flow is not None:
            # most pieces of most answers: they cost a microsecond here, and three below
            for first in self._flow:
                if first in text:
                    break
            else:
                return self._flowed(text)
        elif self._opened is not None and (not self._closer or self._closer[-1] not in text):
            self._later.append(text)
            return []
        self._gather(text)
        while self._step():
            pass
        self._flow = self._flowing()
        return self._take()

    def finish(self) -> list[Event]:
        self._gather("")
        if self._opened is not None:
            self._close(self._held, closer="", rest="")
        else:
            self._say(self._held)
        self._held = ""
        if self._space and not self._thinking and not self._trim:
            self._events.append(Text(self._space))
        return self._take()

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _gather(self, text: str) -> None:
        """Put together what is held. Adding piece to piece would copy a long call as often as it has pieces."""
        self._held = "".join((self._held, *self._later, text))
        self._later.clear()

    def _flowing(self) -> tuple[str, ...] | None:
        if self._held or self._opened is not None or self._trim:
            return None
        if self._thinking:
            return self._in_thought.firsts
        return self._in_text.firsts if self._spoken else None

    def _flowed(self, text: str) -> list[Event]:
        words = self._space + text
        shown = words.rstrip()
        self._space = words[len(shown) :]
        if not shown:
            return []
        return [Thought(shown) if self._thinking else Text(shown)]

    def _step(self) -> bool:
        """Decide something of what is held; whether more may be decided."""
        if self._opened is not None:
            return self._in_call()
        if self._could_be_bare():
            return False
        finder = self._in_thought if self._thinking else self._in_text if self._spoken else self._at_start
        found = finder.find(self._held)
        if found is None:
            keep = finder.undecided(self._held)
            ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
            self._say(ready)
            return False
        before, self._held = self._held[: found.start()], self._held[found.end() :]
        spoken = self._spoken
        self._say(before)
        if self._spoken and not spoken and not self._in_text.knows(found[0]):
            self._say(found[0])  # words came first, so this is a word too
        else:
            self._mark(found[0])
        return True

    def _mark(self, marker: str) -> None:
        if self._calls and marker in self._calls.openers:
            self._closer = self._calls.closer(marker)
            self._opened, self._quotes, self._sought = marker, bodies.Quotes(self._closer), 0
        elif self._thought and marker == self._thought.open:
            self._turn(thinking=True)
        elif self._thought and marker == self._thought.close:
            self._turn(thinking=False)

    def _turn(self, *, thinking: bool) -> None:
        self._thinking = thinking
        self._space, self._trim = "", True

    def _could_be_bare(self) -> bool:
        """Whether the answer begins like a call without a marker: then it is held to its end."""
        if not (self._calls and self._calls.bare) or self._spoken or self._thinking or not self._held:
            return False
        guess = bare.guess(self._held)
        if guess is bare.Guess.YES:
            self._opened = self._closer = ""
        return guess is not bare.Guess.NO

    def _in_call(self) -> bool:
        closer = self._closer
        if not closer:
            return False
        if self._calls and self._calls.json:
            at = self._quotes.find(self._held)
        else:
            at = self._held.find(closer, max(0, self._sought - len(closer)))
            self._sought = len(self._held)
        if at < 0:
            return False
        self._close(self._held[:at], closer=closer, rest=self._held[at + len(closer) :])
        return True

    def _close(self, body: str, *, closer: str, rest: str) -> None:
        assert self._calls is not None, "only a format of calls opens one"
        opener, self._opened = self._opened or "", None
        found = bodies.DECODERS[self._calls.decoder](opener, body, self._tools)
        self._held = rest
        if found is None:
            self._say(opener + body + closer)
            return
        calls, tail = found
        self._thinking = False
        self._space, self._trim = "", True
        self._events += calls
        if tail.strip():
            self._say(tail)

    def _say(self, text: str) -> None:
        if self._trim:
            text = text.lstrip()
        if not text:
            return
        self._trim = False
        words = self._space + text
        shown = words.rstrip()
        self._space = words[len(shown) :]
        if not shown:
            return
        self._spoken = self._spoken or not self._thinking
        self._events.append(Thought(shown) if self._thinking else Text(shown))


class _Finder:
    """Looks for the first of several markers."""

    def __init__(self, markers: tuple[str, ...]) -> None:
        self._markers = frozenset(markers)
        # longer ones first: one may begin with another
        ordered = sorted(self._markers, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        starts = {marker[:length] for marker in ordered for length in range(1, len(marker))}
        longest = sorted(starts, key=len, reverse=True)
        self._start = re.compile("(?:" + "|".join(map(re.escape, longest)) + r")\Z") if longest else None
        self._width = max(map(len, longest), default=0)
        self.firsts = tuple(sorted({marker[0] for marker in ordered}))

    def knows(self, marker: str) -> bool:
        return marker in self._markers

    def find(self, text: str) -> re.Match[str] | None:
        return self._pattern.search(text) if self._pattern else None

    def undecided(self, text: str) -> int:
        """Length of the longest end of the text that a marker could start with."""
        if self._start is None:
            return 0
        found = self._start.search(text, max(0, len(text) - self._width))
        return len(found[0]) if found else 0
