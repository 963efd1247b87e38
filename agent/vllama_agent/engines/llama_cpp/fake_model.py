"""A model whose next token is a hash of everything before it, over a KV memory that keeps books of every cell.

It notices what a real model would only blur: a gap in a sequence, a cell of somebody else's prompt, a cell that leaked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vllama_agent.engines.llama_cpp.request import Step

VOCABULARY = 23
END = 0


def next_token(tokens: Sequence[int]) -> int:
    """The one right continuation of a text."""
    digest = hashlib.blake2b(bytes(tokens), digest_size=4).digest()
    return int.from_bytes(digest, "big") % VOCABULARY


def continuation(prompt: Sequence[int], most: int) -> list[int]:
    """What one request alone would get."""
    tokens = list(prompt)
    made: list[int] = []
    while len(made) < most:
        token = next_token(tokens)
        made.append(token)
        if token == END:
            break
        tokens.append(token)
    return made


class FakeGrammar:
    """`request.Grammar` that forces nothing but what the model would say anyway, so that forced answers can be told right from wrong.

    :ivar forced: how many tokens it has forced.
    """

    def __init__(self, prompt: Sequence[int], *, longest: int, ends_after: int | None = None) -> None:
        """
        :param longest: most tokens of a run; how many it is depends on the text so far.
        :param ends_after: tokens of the answer after which nothing may follow.
        """
        self._tokens = list(prompt)
        self._prompt = len(prompt)
        self._longest = longest
        self._ends_after = ends_after
        self.forced = 0

    @property
    def complete(self) -> bool:
        return len(self._tokens) - self._prompt == self._ends_after

    def advance(self, token: int, most: int) -> list[int]:
        assert token == next_token(self._tokens), "told of a token that was never sampled"
        assert most >= 0
        self._tokens.append(token)
        run: list[int] = []
        for _ in range(min(most, next_token(self._tokens[1:]) % (self._longest + 1))):
            following = next_token(self._tokens)
            if following == END or self.complete:
                break
            self._tokens.append(following)
            run.append(following)
        self.forced += len(run)
        return run


class FakeMemory:
    """`kv.Memory` as a list of cells: (position, token, holders)."""

    def __init__(self, cells: int, *, running: int, sequences: int, whole_only: bool = False) -> None:
        self.cells = cells
        self.running = running
        self.sequences = sequences
        self.whole_only = whole_only
        self.held: list[tuple[int, int, set[int]]] = []

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        assert not self.whole_only, "a whole-state model must not be copied from in part"
        assert self.tokens_of(source)[begin:end], "nothing to copy"
        for position, _token, holders in self.held:
            if source in holders and begin <= position < end:
                holders.add(target)

    def remove(self, sequence: int, begin: int, end: int) -> None:
        assert not self.whole_only or (begin, end) == (0, -1)
        for position, _token, holders in self.held:
            if begin <= position and (end < 0 or position < end):
                holders.discard(sequence)
        self.held = [cell for cell in self.held if cell[2]]

    def tokens_of(self, sequence: int) -> list[int]:
        """Tokens of a sequence by position.

        :raises AssertionError: there is a gap, or a position is held twice.
        """
        cells = sorted((position, token) for position, token, holders in self.held if sequence in holders)
        assert [position for position, _ in cells] == list(range(len(cells)))
        return [token for _, token in cells]

    def decode(self, step: Step) -> list[int]:
        """Run the rows; one token for each row that wants logits."""
        sampled = []
        assert len(self.held) + len(step.tokens) <= self.cells, "no cells left"
        rows = zip(step.tokens.tolist(), step.positions.tolist(), step.sequences.tolist(), step.wants_logits.tolist(), strict=True)
        for token, position, sequence, wants in rows:
            assert 0 <= sequence < self.running
            self.held.append((position, token, {sequence}))
            if wants:
                tokens = self.tokens_of(sequence)
                assert len(tokens) == position + 1
                sampled.append(next_token(tokens))
        return sampled
