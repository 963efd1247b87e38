"""Frames survive any cut of the stream; what is no frame is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.engines.llama_cpp import wire

MESSAGES = st.lists(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-(2**63), 2**63), st.text(max_size=20), st.binary(max_size=20), st.none())),
    max_size=6,
)


@given(MESSAGES, st.integers(1, 50))
def test_frames_survive_any_cut(messages: list[dict[str, Any]], size: int) -> None:
    data = b"".join(wire.encode(message) for message in messages)
    decoder = wire.FrameDecoder()
    got = [message for at in range(0, len(data), size) for message in decoder.feed(data[at : at + size])]
    assert got == messages


def test_a_length_beyond_reason_is_refused() -> None:
    with pytest.raises(wire.WireError, match="longer than"):
        wire.FrameDecoder().feed(b"\xff\xff\xff\xff")


@given(st.binary(max_size=60))
def test_garbage_raises_only_wire_errors(data: bytes) -> None:
    decoder = wire.FrameDecoder()
    try:
        decoder.feed(len(data).to_bytes(4, "big") + data)
    except wire.WireError as error:
        assert str(error)  # noqa: PT017 - any other exception fails the test
