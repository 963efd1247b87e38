"""Tables in plain columns, and JSON for scripts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from vllama_agent.commands import answer

GAP = 4
"""Blanks between columns, as Ollama's tables have them: scripts split on runs of blanks."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """The flag that every listing has."""
    parser.add_argument("--json", action="store_true", help="print the server's answer as JSON")


def as_json(value: Any) -> None:
    """For scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under headings; on a terminal without control characters. A library for tables takes longer to import than the answer."""
    text = plain(columns, rows)
    print(answer.safe(text) if sys.stdout.isatty() else text, end="")


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) + GAP for index in range(len(columns))]
    return "".join("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines)


def seconds_since(timestamp: str) -> float:
    """How long ago an RFC 3339 time was; negative = it lies ahead."""
    at = datetime.fromisoformat(timestamp)
    return (datetime.now(UTC) - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds()
