"""The measured table and the picture of docs/quantization.md. Pure but for `write`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 40, 60
COLOUR, QUIET = "#2563eb", "#6b7280"
"""Both are legible on white and on black."""
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
Rows = Sequence[Mapping[str, Any]]


def table(rows: Rows) -> str:
    """A Markdown table, largest file first."""
    head = "| | file | bits per weight | perplexity | change against F16 | same first choice | one stream | prompt |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        change = "reference" if row is rows[0] else f"{row['change']:+.2f} % ± {row['error']:.2f}"
        cells = [
            row["name"],
            f"{row['size'] / 1e6:.0f} MB",
            f"{row['bits']:.2f}",
            f"{row['perplexity']:.2f}",
            change,
            f"{row['same']:.1f} %",
            f"{row['decode']:.0f} tok/s",
            f"{row['prefill']:.0f} tok/s",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(rows: Rows) -> str:
    """SVG: file size against change of perplexity, a dot for each quantization."""
    sizes = [row["size"] / 1e6 for row in rows]
    changes = [row["change"] for row in rows]
    right, top = max(sizes) * 1.08, max(*changes, 0.1) * 1.2
    bottom = min(*changes, 0.0) - top * 0.08

    def x(size: float) -> float:
        return LEFT + size / right * (WIDTH - LEFT - RIGHT)

    def y(change: float) -> float:
        return HEIGHT - BOTTOM - (change - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f"<title>{escape('File size and loss of each quantization')}</title>",
        _text(LEFT, TOP - 18, "change of perplexity against F16, in percent (lower is better)", anchor="start"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 15, "file size, in MB (smaller is better)"),
    ]
    for step in range(5):
        change = bottom + (top - bottom) * step / 4
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(change):.1f}" y2="{y(change):.1f}" stroke="{QUIET}" stroke-opacity="0.3"/>'
        )
        parts.append(_text(LEFT - 8, y(change) + 4, f"{change:.2f}", anchor="end"))
        size = right * step / 4
        parts.append(_text(x(size), HEIGHT - BOTTOM + 20, f"{size:.0f}"))
    for row, size, change in zip(rows, sizes, changes, strict=True):
        parts.append(f'<circle cx="{x(size):.1f}" cy="{y(change):.1f}" r="5" fill="{COLOUR}"/>')
        parts.append(_text(x(size), y(change) - 11, row["name"], colour=COLOUR))
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, words: str, *, anchor: str = "middle", colour: str = QUIET) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def replaced(page: str, block: str) -> str:
    """The page with another measured block.

    :raises ValueError: it has no place for one.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page lacks the lines {BEGIN} and {END}")
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{block}\n{END}", page, flags=re.DOTALL)


def write(rows: Rows, docs: Path) -> None:
    """Put the table into the page and the picture beside it."""
    page = docs / "quantization.md"
    page.write_text(replaced(page.read_text(), table(rows)))
    (docs / "quantization.svg").write_text(picture(rows))
