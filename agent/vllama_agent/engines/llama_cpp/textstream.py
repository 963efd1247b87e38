"""From token bytes to text that may be shown: whole UTF-8 characters, and nothing that could be the start of a stop string. Pure."""

from __future__ import annotations

import codecs


class TextStream:
    """One answer's text. Feed it the bytes of each token; it returns what can be shown.

    A token may end inside a character, and a stop string may span tokens: both are held back until they are decided. Bytes that are
    no UTF-8 become U+FFFD.
    """

    __slots__ = ("_decoder", "_held", "_stops", "_within", "stop", "stopped")

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self._within = False
        """The last token ended inside a character: the decoder holds its first bytes."""
        self.stopped = False
        """A stop string was found; the text ends before it."""
        self.stop: str | None = None
        """Which one."""

    def push(self, piece: bytes) -> str:
        """Text that became certain with this token."""
        if not self._within:
            try:
                return self._show(piece.decode())  # nearly every token is whole characters; the decoder takes ten times as long
            except UnicodeDecodeError:
                pass
        text = self._decoder.decode(piece)
        self._within = bool(self._decoder.getstate()[0])
        return self._show(text)

    def finish(self) -> str:
        """What is still held back, at the end of the answer."""
        if self.stopped:
            return ""
        text = self._show(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return text + rest

    def _show(self, new: str) -> str:
        if not self._stops:
            return new
        if self.stopped:
            return ""
        text = self._held + new
        found = min(((at, stop) for stop in self._stops if (at := text.find(stop)) >= 0), default=None)
        if found is not None:
            at, self.stop = found
            self.stopped, self._held = True, ""
            return text[:at]
        keep = self._undecided(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _undecided(self, text: str) -> int:
        """Length of the longest suffix that a stop string could start with."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest
