"""Our server's /metrics, read back. Only totals and gauges; labels that are not asked for are summed over."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.client import Client

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Scrape:
    """One reading."""

    samples: tuple[tuple[str, dict[str, str], float], ...]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name with those labels.

        :raises KeyError: there is none; a renamed metric must not read as zero.
        """
        found = [value for sample, had, value in self.samples if sample == name and labels.items() <= had.items()]
        if not found:
            raise KeyError(f"no metric {name} {labels}")
        return sum(found)


def parse(text: str) -> Scrape:
    """Prometheus' text format."""
    matches = filter(None, map(SAMPLE.match, text.splitlines()))
    return Scrape(tuple((match[1], dict(LABEL.findall(match[2] or "")), float(match[3])) for match in matches))


async def scrape(client: Client) -> Scrape:
    return parse(await client.text("/metrics"))
