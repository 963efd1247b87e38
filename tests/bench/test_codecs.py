"""The measurement of codecs and parsers."""

import pytest

from bench import codecs, rows


def test_each_goal_has_its_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "PIECES", 10)
    monkeypatch.setattr(codecs, "LETTERS", 5_000)
    found = codecs.measure(1)
    [row] = [row for row in rows.ROWS if row.key == "codecs"]
    assert {goal.metric for goal in row.goals} <= found.keys()
    assert found["codec_us_worst"] >= found["openai_text_us"] > 0
    assert found["parser_mb_s_worst"] > 0
