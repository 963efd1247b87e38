"""What other people's GPUs logged, against what we compute."""

from __future__ import annotations

from pathlib import Path

import public_logs
import pytest
from public_logs import Figure

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"
MOST_OFF = 0.08
FEWEST_LOGS = 20


@pytest.mark.parametrize("figure", public_logs.FIGURES, ids=lambda figure: f"{figure.engine}: {figure.model}, {figure.quantity}")
def test_a_logged_figure_is_met_within_eight_percent(figure: Figure) -> None:
    assert abs(figure.off) <= MOST_OFF


def test_there_are_enough_logs_of_both_engines() -> None:
    logs = {(figure.source, figure.model.partition(" on ")[0]) for figure in public_logs.FIGURES}
    assert len(logs) >= FEWEST_LOGS
    assert {figure.engine for figure in public_logs.FIGURES} >= {"vLLM", "llama.cpp"}


def test_the_page_shows_what_the_code_computes() -> None:
    """`.venv/bin/python tests/support/public_logs.py` prints the rows."""
    page = PAGE.read_text()
    assert [row for row in public_logs.rows() if row not in page] == []
