"""A radix tree over token ids that knows which sequences hold which span of KV cells. Pure.

Each edge is a span of tokens and stands for as many cells; the sequences in its `holders` share them. Whoever holds a node holds
every node above it. The tree counts cells once, however many sequences share them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]


def common_prefix(a: Tokens, b: Tokens) -> int:
    """How many tokens two arrays have in common at their start."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n


class Node:
    """A span of tokens [begin, end) of every prompt that passes through it."""

    __slots__ = ("begin", "children", "holders", "last_use", "parent", "tokens")

    def __init__(self, tokens: Tokens, begin: int, parent: Node | None) -> None:
        self.tokens = tokens
        self.begin = begin
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.holders: set[int] = set()
        self.last_use = 0.0

    @property
    def end(self) -> int:
        return self.begin + len(self.tokens)


class RadixTree:
    """See the module. All lengths and positions in tokens."""

    def __init__(self) -> None:
        self.root = Node(np.empty(0, np.int32), 0, None)
        self.cells = 0

    def match(self, tokens: Tokens) -> tuple[int, Node]:
        """Length of the longest stored prefix, and the deepest node it reaches (perhaps only in part)."""
        node, position = self.root, 0
        while position < len(tokens):
            child = node.children.get(int(tokens[position]))
            if child is None:
                break
            shared = common_prefix(child.tokens, tokens[position:])
            node, position = child, position + shared
            if shared < len(child.tokens):
                break
        return position, node

    def insert(self, sequence: int, tokens: Tokens, now: float) -> tuple[Node, list[tuple[int, int, int]]]:
        """Make `sequence` a holder of the whole path of `tokens`.

        :returns: the path's last node, and the spans (begin, end, other holder) that were there already and not held by `sequence`:
            its own cells for them, if it has any, are duplicates.
        """
        node, position, overlaps = self.root, 0, []
        while position < len(tokens):
            child = node.children.get(int(tokens[position]))
            if child is None:
                child = Node(tokens[position:].copy(), position, node)
                node.children[int(tokens[position])] = child
                self.cells += len(child.tokens)
            else:
                shared = common_prefix(child.tokens, tokens[position:])
                if shared < len(child.tokens):
                    child = self._split(child, shared)
                if sequence not in child.holders:
                    overlaps.append((child.begin, child.end, next(iter(child.holders))))
            child.holders.add(sequence)
            child.last_use = now
            node, position = child, child.end
        return node, overlaps

    def truncate(self, sequence: int, last: Node, length: int) -> Node:
        """Take `sequence` off everything from `length` on; nodes that nobody holds any more go.

        :param last: the deepest node that `sequence` holds.
        :returns: the deepest node that it holds now (the root when length is 0).
        """
        node = last
        while node.begin >= length and node.parent is not None:
            node.holders.discard(sequence)
            parent = node.parent
            if not node.holders:
                del parent.children[int(node.tokens[0])]
                self.cells -= len(node.tokens)
            node = parent
        if node.end <= length:
            return node
        kept = self._split(node, length - node.begin)
        return self.truncate(sequence, node, kept.end)

    def rename(self, old: int, new: int, last: Node) -> None:
        """Hand every node from `last` up from one sequence to another."""
        node: Node | None = last
        while node is not None and node.parent is not None:
            node.holders.discard(old)
            node.holders.add(new)
            node = node.parent

    def nodes(self) -> Iterator[Node]:
        """All nodes but the root, parents first."""
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())

    def _split(self, node: Node, at: int) -> Node:
        """Cut a node in two and return the upper part. The object given stays the lower part, so whoever points at it still points
        at the end of its path."""
        assert node.parent is not None
        upper = Node(node.tokens[:at].copy(), node.begin, node.parent)
        upper.holders = set(node.holders)
        upper.last_use = node.last_use
        node.parent.children[int(upper.tokens[0])] = upper
        node.tokens = node.tokens[at:].copy()
        node.begin += at
        node.parent = upper
        upper.children[int(node.tokens[0])] = node
        return upper
