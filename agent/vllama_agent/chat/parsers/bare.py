"""Calls without a marker: an answer that is one JSON object, or a list of Python calls, from its first character on."""

from __future__ import annotations

import re
from enum import Enum, auto

STARTS = ('{"name":', '[{"name":', '{"type":"function"', '{"function":', '```json{"name":', '```json[{"name":')
"""Beginnings of a call, without blanks."""
PYTHON = re.compile(r"\[\s*[A-Za-z_][\w.]*\s*\(")
PYTHON_SO_FAR = re.compile(r"\[\s*([A-Za-z_][\w.]*\s*)?")
LONGEST = 200
"""Characters that decide it: names are shorter."""


class Guess(Enum):
    """What the start of an answer looks like."""

    YES = auto()
    NO = auto()
    OPEN = auto()
    """More of it is needed."""


def guess(start: str) -> Guess:
    """Whether an answer that begins so may be a call.

    :param start: what there is of the answer.
    """
    begun = start.lstrip()
    if not begun:
        return Guess.OPEN
    if begun[0] not in "{[`":
        return Guess.NO
    head = begun[:LONGEST]
    compact = "".join(head.split())
    if any(compact.startswith(known) for known in STARTS) or PYTHON.match(head):
        return Guess.YES
    whole = len(begun) <= LONGEST
    if whole and (any(known.startswith(compact) for known in STARTS) or PYTHON_SO_FAR.fullmatch(head)):
        return Guess.OPEN
    return Guess.NO
