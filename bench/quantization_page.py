"""The measured table and the picture of docs/quantization.md. Pure but for `write`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 40, 60
COLOUR, QUIET = "#2563eb", "#6b7280"
"""Both are legible on white and on black."""
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


def similarity_table(rows: Rows) -> str:
    """A Markdown table of MiniLM's embeddings, largest file first."""
    lines = ["| | file | bits per weight | mean cosine | least cosine |", "|---|---|---|---|---|"]
    for row in rows:
        size = f"{row['size'] / 1e6:.1f} MB"
        lines.append(f"| {row['name']} | {size} | {row['bits']:.2f} | {row['cosine']:.5f} | {row['worst']:.5f} |")
    return "\n".join(lines)


def picture(rows: Rows) -> str:
    """SVG: file size against loss of direction, in percent, a dot for each quantization. Of MiniLM: its original is known."""
    sizes = [row["size"] / 1e6 for row in rows]
    losses = [(1 - row["cosine"]) * 100 for row in rows]
    step_x, step_y = _step(max(sizes)), _step(max(losses))
    right, top = step_x * math.ceil(max(sizes) / step_x), step_y * math.ceil(max(losses) / step_y)

    def x(size: float) -> float:
        return LEFT + size / right * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return HEIGHT - BOTTOM - loss / top * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        "<title>File size and loss of each quantization</title>",
        _text(LEFT, TOP - 18, "1 - cosine to the F32 embeddings, in percent (lower is better)", anchor="start"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 15, "file size, in MB (smaller is better)"),
    ]
    for step in range(round(top / step_y) + 1):
        at = y(step * step_y)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{QUIET}" stroke-opacity="0.3"/>')
        parts.append(_text(LEFT - 8, at + 4, f"{step * step_y:g}", anchor="end"))
    parts += [_text(x(step * step_x), HEIGHT - BOTTOM + 20, f"{step * step_x:g}") for step in range(round(right / step_x) + 1)]
    for index, (row, size, loss) in enumerate(zip(rows, sizes, losses, strict=True)):
        side, anchor = ((-10, "end"), (10, "start"))[index % 2]  # neighbours lie close together
        parts.append(f'<circle cx="{x(size):.1f}" cy="{y(loss):.1f}" r="5" fill="{COLOUR}"/>')
        parts.append(_text(x(size) + side, y(loss) - 4, row["name"], anchor=anchor, colour=COLOUR))
    return "\n".join([*parts, "</svg>", ""])


def _step(largest: float) -> float:
    """A round distance between lines: four to ten of them reach the largest value."""
    power: float = 10.0 ** math.floor(math.log10(largest))
    return next(power * part for part in (1.0, 0.5, 0.2) if largest / (power * part) >= 4 or part == 0.2)


def _text(x: float, y: float, words: str, *, anchor: str = "middle", colour: str = QUIET) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def replaced(page: str, block: str, *, name: str) -> str:
    """The page with another block between the lines ``<!-- name -->`` and ``<!-- end of name -->``.

    :raises ValueError: it has no such lines.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"the page lacks the lines {begin} and {end}")
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{block}\n{end}", page, flags=re.DOTALL)


def write(rows: Rows, similarities: Rows, docs: Path) -> None:
    """Put the tables into the page and the picture beside it."""
    page = docs / "quantization.md"
    text = replaced(page.read_text(), table(rows), name="measured")
    page.write_text(replaced(text, similarity_table(similarities), name="minilm"))
    (docs / "quantization.svg").write_text(picture(similarities))
