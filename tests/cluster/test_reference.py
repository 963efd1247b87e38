"""The page of all fields says what the definition says."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import llmserve_reference


def test_is_what_the_definition_says() -> None:
    """After a change of it: python tools/llmserve_reference.py"""
    definition = yaml.safe_load(llmserve_reference.DEFINITION.read_text())
    assert llmserve_reference.PAGE.read_text() == llmserve_reference.page(definition)
