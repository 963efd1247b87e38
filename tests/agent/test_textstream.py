"""Text is right however its bytes are cut into tokens."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.engines.llama_cpp.textstream import TextStream


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def run(pieces: list[bytes], stops: tuple[str, ...]) -> tuple[str, bool]:
    stream = TextStream(stops)
    text = ""
    for piece in pieces:
        text += stream.push(piece)
        if stream.stopped:
            break
    return text + stream.finish(), stream.stopped


@given(st.text(max_size=40), st.lists(st.integers(0, 200), max_size=12))
def test_any_split_gives_the_whole_text(text: str, points: list[int]) -> None:
    assert run(cut(text.encode("utf-8", "replace"), points), ()) == (text.encode("utf-8", "replace").decode(), False)


@given(
    st.text(alphabet="abä€", max_size=30),
    st.lists(st.text(alphabet="abä€", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_no_split_shows_a_stop_string(text: str, stops: list[str], points: list[int]) -> None:
    """Text ends before the first stop string that is complete, and nothing of it has been shown before."""
    shown, stopped = run(cut(text.encode(), points), tuple(stops))
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not stopped:
        assert shown == text


@pytest.mark.parametrize(("data", "text"), [(b"\xff", "\ufffd"), (b"\xe2\x82", "\ufffd"), (b"a\xf0\x9f", "a\ufffd")])
def test_bytes_that_are_no_utf8_become_replacement_characters(data: bytes, text: str) -> None:
    assert run([data[i : i + 1] for i in range(len(data))], ())[0] == text


def test_the_earliest_stop_wins() -> None:
    assert run([b"one two three"], ("three", "two")) == ("one ", True)
