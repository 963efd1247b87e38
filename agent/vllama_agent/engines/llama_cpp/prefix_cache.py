"""Which sequence holds which cells: finds reusable prefixes, frees what is least needed, counts every cell. Pure over `kv.Memory`.

Running sequences share what they have computed of their prompts; a finished one leaves its cells behind as an *idle* prefix, held by
an idle id, until the room is needed. Tokens that a running sequence has generated are its own until it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vllama_agent.engines.llama_cpp.kv import Memory
from vllama_agent.engines.llama_cpp.radix import Node, RadixTree, Tokens


class Cache(Protocol):
    """What the scheduler needs of a cache; `PrefixCache` for models with attention only, `whole_cache.WholeCache` for the others."""

    evicted_total: int

    @property
    def used(self) -> int:
        """Cells that hold something, running and idle."""
        ...

    @property
    def free(self) -> int:
        """Cells that hold nothing."""
        ...

    @property
    def idle(self) -> int:
        """Cells that only idle sequences hold: evictable at once."""
        ...

    @property
    def has_sequence(self) -> bool:
        """Whether another sequence can start."""
        ...

    @property
    def shares_running(self) -> bool:
        """Whether a prompt can be reused while the sequence that computes it still runs."""
        ...

    def match(self, tokens: Tokens) -> int:
        """Tokens of a prompt that need no prefill: all but the last at the most, whose logits are wanted."""
        ...

    def idle_beside(self, tokens: Tokens) -> int:
        """Cells that only idle sequences hold and that a sequence on this prompt would not reuse: what it could evict."""
        ...

    def acquire(self, tokens: Tokens, now: float) -> tuple[int, int]:
        """Start a sequence on a prompt.

        :returns: its id, and how many tokens it already holds.
        """
        ...

    def computed_prompt(self, sequence: int, tokens: Tokens, now: float) -> None:
        """`sequence` now holds cells for all of `tokens`; from here on others may share them."""
        ...

    def decoded(self, sequences: Sequence[int]) -> None:
        """Each of `sequences` now holds one more cell of its own."""
        ...

    def truncate(self, sequence: int, length: int) -> int:
        """Cut a running sequence to its first `length` tokens, or fewer where less can be kept.

        :returns: the tokens it still holds.
        """
        ...

    def release(self, sequence: int, tokens: Tokens, now: float) -> None:
        """End a running sequence that holds cells for exactly `tokens`, and keep them as an idle prefix."""
        ...

    def drop(self, sequence: int) -> None:
        """End a running sequence and forget what only it holds."""
        ...

    def evict(self, cells: int) -> int:
        """Free at least `cells` from the idle prefixes that were used least recently.

        :returns: cells freed; fewer than asked when nothing idle is left.
        """
        ...


@dataclass(slots=True)
class Held:
    """A sequence with cells."""

    node: Node
    """Deepest node of the tree that it holds."""
    own: int = 0
    """Cells beyond the tree: tokens it has generated."""


class PrefixCache:
    """See the module and `Cache`."""

    shares_running = True

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._tree = RadixTree()
        self._running: dict[int, Held] = {}
        self._idle: dict[int, Held] = {}
        # lowest id first: libllama keeps per-sequence arrays, and low ids stay in its caches
        self._free_running = list(range(memory.running - 1, -1, -1))
        self._free_idle = list(range(memory.sequences - 1, memory.running - 1, -1))
        self._own = 0
        self.evicted_total = 0

    @property
    def used(self) -> int:
        return self._tree.cells + self._own

    @property
    def free(self) -> int:
        return self._memory.cells - self.used

    @property
    def idle(self) -> int:
        running = self._running
        return sum(len(node.tokens) for node in self._tree.nodes() if not any(s in running for s in node.holders))

    @property
    def has_sequence(self) -> bool:
        return bool(self._free_running)

    def match(self, tokens: Tokens) -> int:
        return self._tree.match(tokens[:-1])[0]

    def idle_beside(self, tokens: Tokens) -> int:
        length, node = self._tree.match(tokens[:-1])
        reused, running = 0, self._running
        while node.parent is not None:
            if not any(s in running for s in node.holders):
                reused += min(node.end, length) - node.begin
            node = node.parent
        return self.idle - reused

    def acquire(self, tokens: Tokens, now: float) -> tuple[int, int]:
        length, node = self._tree.match(tokens[:-1])
        sequence = self._free_running.pop()
        held = self._running[sequence] = Held(self._tree.root)
        if length:
            self._memory.copy(next(iter(node.holders)), sequence, 0, length)
            held.node, _ = self._tree.insert(sequence, tokens[:length], now)
            self._drop_redundant(held.node)
        return sequence, length

    def computed_prompt(self, sequence: int, tokens: Tokens, now: float) -> None:
        held = self._running[sequence]
        self._own -= held.own
        held.own = 0
        held.node = self._publish(sequence, tokens, now)

    def decoded(self, sequences: Sequence[int]) -> None:
        running = self._running
        for sequence in sequences:
            running[sequence].own += 1
        self._own += len(sequences)

    def truncate(self, sequence: int, length: int) -> int:
        held = self._running[sequence]
        self._own -= held.own
        held.own = 0
        length = min(length, held.node.end)
        self._memory.remove(sequence, length, -1)
        held.node = self._tree.truncate(sequence, held.node, length)
        return length

    def release(self, sequence: int, tokens: Tokens, now: float) -> None:
        self.computed_prompt(sequence, tokens, now)
        node = self._running.pop(sequence).node
        redundant = any(holder != sequence for holder in node.holders) or node is self._tree.root
        idle = None if redundant else self._take_idle_id()
        if idle is not None:
            self._memory.copy(sequence, idle, 0, len(tokens))
            self._tree.rename(sequence, idle, node)
            self._idle[idle] = Held(node)
        else:
            self._tree.truncate(sequence, node, 0)
        self._memory.remove(sequence, 0, -1)
        self._free_running.append(sequence)

    def drop(self, sequence: int) -> None:
        held = self._running.pop(sequence)
        self._own -= held.own
        self._tree.truncate(sequence, held.node, 0)
        self._memory.remove(sequence, 0, -1)
        self._free_running.append(sequence)

    def evict(self, cells: int) -> int:
        """Free at least `cells` by cutting the ends of the idle prefixes that were used least recently.

        :returns: cells freed; fewer than asked when nothing idle is left.
        """
        freed = 0
        while freed < cells and (leaf := self._oldest_idle_leaf()) is not None:
            freed += self._cut(leaf, min(cells - freed, len(leaf.tokens)))
        self.evicted_total += freed
        return freed

    def _oldest_idle_leaf(self) -> Node | None:
        leaves = (node for node in self._tree.nodes() if not node.children and not any(s in self._running for s in node.holders))
        return min(leaves, key=lambda node: node.last_use, default=None)

    def _cut(self, leaf: Node, count: int) -> int:
        length = leaf.end - count
        for sequence in list(leaf.holders):
            self._memory.remove(sequence, length, -1)
            held = self._idle[sequence]
            held.node = self._tree.truncate(sequence, held.node, length)
            if length == 0 or len(held.node.holders) > 1:
                self._forget_idle(sequence)
        return count

    def _publish(self, sequence: int, tokens: Tokens, now: float) -> Node:
        node, overlaps = self._tree.insert(sequence, tokens, now)
        for begin, end, other in overlaps:
            # computed twice, by two sequences at once: keep the other's cells and free ours
            self._memory.remove(sequence, begin, end)
            self._memory.copy(other, sequence, begin, end)
        if overlaps:
            self._drop_redundant(node)
        return node

    def _drop_redundant(self, node: Node) -> None:
        """Free the ids of idle sequences that end in `node`, which a running one now holds as well."""
        for sequence in [s for s in node.holders if s in self._idle and self._idle[s].node is node]:
            self._forget_idle(sequence)

    def _forget_idle(self, sequence: int) -> None:
        held = self._idle.pop(sequence)
        self._tree.truncate(sequence, held.node, 0)
        self._memory.remove(sequence, 0, -1)
        self._free_idle.append(sequence)

    def _take_idle_id(self) -> int | None:
        if not self._free_idle and (leaf := self._oldest_idle_leaf()) is not None:
            self.evicted_total += len(leaf.tokens)
            for sequence in list(leaf.holders):
                self._forget_idle(sequence)
        return self._free_idle.pop() if self._free_idle else None

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        cells = sum(len(node.tokens) for node in self._tree.nodes())
        assert cells == self._tree.cells
        assert self._own == sum(held.own for held in self._running.values())
        assert self.used <= self._memory.cells
        for node in self._tree.nodes():
            assert node.holders
            assert node.parent is self._tree.root or node.parent is None or node.holders <= node.parent.holders
            assert node.holders <= self._running.keys() | self._idle.keys()
        ids = [*self._free_running, *self._free_idle, *self._running, *self._idle]
        assert sorted(ids) == list(range(self._memory.sequences)), "a sequence id leaked"
