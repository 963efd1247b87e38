"""Headers of safetensors files, whole, cut and hostile."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_core import safetensors
from vllama_core.safetensors import SafetensorsError


def header(entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


WHOLE = header(
    {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
    }
)


def test_shapes_and_the_files_end_are_read() -> None:
    found = safetensors.parse(WHOLE + b"\0" * 26)
    assert found.shapes == {"a": (2, 3), "b": ()}
    assert found.parameter_count == 7
    assert found.data_end == len(WHOLE) + 26 == safetensors.header_size(WHOLE[:8]) + 26


def test_a_file_without_tensors_is_one() -> None:
    assert safetensors.parse(header({})).parameter_count == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"\xff" * 16,
        WHOLE[:-1],
        header([1]),
        header({"a": 1}),
        header({"a": {"shape": [1]}}),
        (9).to_bytes(8, "little") + b"{" * 9,
    ],
)
def test_what_is_no_header_is_told(data: bytes) -> None:
    with pytest.raises(SafetensorsError):
        safetensors.parse(data)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for candidate in (data, len(data).to_bytes(8, "little") + data):
        try:
            count = safetensors.parse(candidate).parameter_count
        except SafetensorsError:
            continue
        assert count >= 0
