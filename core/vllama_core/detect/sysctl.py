"""What Darwin's ``sysctl`` prints."""

from __future__ import annotations

from collections.abc import Mapping


def parse(text: str) -> dict[str, str]:
    """Value by name of lines such as ``hw.memsize: 68719476736``; other lines, as those on unknown names, are passed over."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name: value.strip() for name, colon, value in pairs if colon and "." in name}


def number(values: Mapping[str, str], name: str) -> int | None:
    """A value that is a whole number; None where it is missing or something else."""
    text = values.get(name, "")
    return int(text) if text.isdecimal() else None
