"""The KV memory as the scheduler sees it: a pool of cells that sequences share. Knows no library.

A unified pool today; a layout with a stream per sequence can stand behind the same calls.
"""

from __future__ import annotations

from typing import Protocol


class Memory(Protocol):
    """What `lib.Context` offers, and the fake of the tests.

    :ivar cells: capacity of the pool, in tokens.
    :ivar running: sequence ids 0 .. running - 1 may compute rows.
    :ivar sequences: ids 0 .. sequences - 1 may hold cells.
    :ivar whole_only: the state of a sequence cannot be cut or shared in part (recurrent and hybrid models).
    """

    cells: int
    running: int
    sequences: int
    whole_only: bool

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        """Let `target` share the cells [begin, end) of `source`, or copy its whole state where `whole_only`."""
        ...

    def remove(self, sequence: int, begin: int, end: int) -> None:
        """Take `sequence` off the cells [begin, end); end -1 = open. A cell that nobody holds is free."""
        ...
