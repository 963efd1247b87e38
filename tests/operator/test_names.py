from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_operator import names

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
SERVES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?)?", fullmatch=True)


@given(SERVES)
def test_children_have_names_that_a_service_may_have(serve: str) -> None:
    for name in (names.base(serve), names.headless(serve), names.cache(serve)):
        assert LABEL.fullmatch(name)
        assert len(name) <= 63


@given(SERVES, SERVES)
def test_two_llmserves_share_no_name(one: str, other: str) -> None:
    children = [{names.base(serve), names.headless(serve), names.cache(serve)} for serve in (one, other)]
    assert one == other or not children[0] & children[1]


@pytest.mark.parametrize(
    ("serve", "child"),
    [("qwen3", "qwen3"), ("a", "a"), ("llama-3-8b", "llama-3-8b"), ("7b", "m-7b-x"), ("qwen2.5", "qwen2-5-x"), ("x-pods", "x-pods-x")],
)
def test_a_name_that_can_be_kept_is_kept(serve: str, child: str) -> None:
    assert names.base(serve).startswith(child)
    assert (names.base(serve) == serve) is (child == serve)


def test_the_longest_name_has_room_for_its_longest_child() -> None:
    assert len(names.cache("9" * 45)) <= 63


def test_a_name_that_looks_derived_is_derived_again() -> None:
    """Or an LLMServe could be given the very name that another one's children got."""
    assert names.base(names.base("qwen2.5")) != names.base("qwen2.5")
