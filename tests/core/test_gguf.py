"""GGUF headers: what whole files say, and that no bytes whatever do harm."""

import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_core import gguf
from vllama_core.gguf import GgufError, GgufTruncated, Tensor
from vllama_core.gguf_array import GgufArray

U32, STRING, ARRAY, FLOAT, BOOL = 4, 8, 9, 6, 7


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, kind: int, raw: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + raw


def words(key: str, *values: str) -> bytes:
    return pair(key, ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values)))


def numbers(key: str, *values: int) -> bytes:
    return pair(key, ARRAY, struct.pack(f"<IQ{len(values)}I", U32, len(values), *values))


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file_of(
    *pairs: bytes, tensors: tuple[bytes, ...] = (), version: int = 3, tensor_count: int | None = None, pair_count: int | None = None
) -> bytes:
    counts = struct.pack(
        "<IQQ", version, len(tensors) if tensor_count is None else tensor_count, len(pairs) if pair_count is None else pair_count
    )
    return b"GGUF" + counts + b"".join(pairs) + b"".join(tensors)


MODEL = file_of(
    pair("general.architecture", STRING, text("llama")),
    pair("general.file_type", U32, struct.pack("<I", 15)),
    pair("llama.context_length", U32, struct.pack("<I", 4096)),
    pair("llama.embedding_length", U32, struct.pack("<I", 64)),
    pair("llama.rope.freq_base", FLOAT, struct.pack("<f", 10000.0)),
    pair("tokenizer.ggml.add_bos_token", BOOL, b"\x01"),
    words("general.tags", "a", "b"),
    words("tokenizer.ggml.tokens", *(f"token {i}" for i in range(100))),
    numbers("tokenizer.ggml.token_type", *range(100)),
    tensors=(tensor("token_embd.weight", (64, 100), 8), tensor("output_norm.weight", (64,), 0, 6816)),
)


def test_a_header_says_what_the_model_is() -> None:
    header = gguf.parse(MODEL)
    assert (header.architecture, header.quantization, header.context_length, header.embedding_length) == ("llama", "Q4_K_M", 4096, 64)
    assert header.parameter_count == 64 * 100 + 64
    assert header.parameter_size == "6K"
    assert header.metadata["general.tags"] == ["a", "b"]
    assert header.metadata["llama.rope.freq_base"] == 10000.0
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert header.tensors[0] == Tensor("token_embd.weight", (64, 100), "Q8_0", 0, 6800)
    assert header.data_start % 32 == 0
    assert header.data_end == header.data_start + 6816 + 256


def test_long_arrays_are_read_when_somebody_looks() -> None:
    asked: list[tuple[int, int]] = []

    def source(offset: int, size: int) -> bytes:
        asked.append((offset, size))
        return MODEL[offset : offset + size]

    metadata = gguf.parse(MODEL, source=source).metadata
    tokens = metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, GgufArray)
    assert len(tokens) == 100
    assert asked == []
    assert tokens[42] == "token 42"
    assert list(metadata["tokenizer.ggml.token_type"]) == list(range(100))
    assert len(asked) == 2


def test_a_file_that_changed_meanwhile_is_noticed() -> None:
    tokens = gguf.parse(MODEL, source=lambda offset, size: b"").metadata["tokenizer.ggml.tokens"]
    with pytest.raises(ValueError, match="has changed"):
        list(tokens)


@pytest.mark.parametrize("size", range(24, len(MODEL) - 100, 97))
def test_a_part_of_a_file_says_how_much_more_is_needed(size: int) -> None:
    """More than there is, and no more than the header takes: a reader that fetches what is asked for comes to the end."""
    with pytest.raises(GgufTruncated) as told:
        gguf.parse(MODEL[:size], total=len(MODEL) + 10_000)
    assert size < told.value.needed <= len(MODEL)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "does not begin with 'GGUF'"),
        (b"GG", "does not begin with 'GGUF'"),
        (b"\x7fELF" + bytes(100), "does not begin with 'GGUF'"),
        (file_of(version=1), "its version is 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (file_of(pair_count=1 << 40), "claims 1099511627776 metadata pairs"),
        (file_of(tensor_count=1 << 63), "claims 9223372036854775808 tensors"),
        (file_of(pair("k", 99, b"")), "'k' has the unknown type 99"),
        (file_of(pair("k", STRING, struct.pack("<Q", 1 << 62))), "the value of 'k' at byte .* claims"),
        (file_of(words("k") + words("k"), pair_count=2), "'k' is there twice"),
        (file_of(text("") + struct.pack("<IB", 0, 1), pair_count=1), "0 characters"),
        (file_of(pair("k", ARRAY, struct.pack("<IQ", U32, 1 << 60))), "goes beyond the header's end"),
        (file_of(pair("k", ARRAY, struct.pack("<IQ", STRING, 1 << 60))), "strings goes beyond"),
        (file_of(pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1))), "which arrays cannot hold"),
        (file_of(pair("general.alignment", U32, bytes(4))), "general.alignment is 0"),
        (file_of(tensors=(tensor("t", (1, 2, 3, 4, 5)),)), "has 5 dimensions"),
        (file_of(tensors=(tensor("t", (1,), 77),)), "unknown type 77"),
        (MODEL[:-5], "header's end"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, sentence: str) -> None:
    with pytest.raises(GgufError, match=sentence):
        gguf.parse(raw)


@given(st.binary(max_size=400))
def test_no_bytes_do_harm(raw: bytes) -> None:
    for candidate in (raw, b"GGUF" + raw, b"GGUF\x03\0\0\0" + raw):
        with_outcome(candidate)


@given(st.integers(0, len(MODEL) - 1), st.binary(min_size=1, max_size=8), st.integers(0, len(MODEL)))
def test_no_damage_to_a_real_header_does_harm(at: int, patch: bytes, end: int) -> None:
    with_outcome((MODEL[:at] + patch + MODEL[at + len(patch) :])[:end])


def with_outcome(raw: bytes) -> None:
    """A header, every value of which can be looked at, or an error of ours."""
    try:
        header = gguf.parse(raw)
    except GgufError:
        return
    _: Any = (header.parameter_size, header.quantization, header.context_length, header.data_end, [list(v) for v in arrays(header)])


def arrays(header: gguf.GgufHeader) -> list[GgufArray]:
    return [value for value in header.metadata.values() if isinstance(value, GgufArray)]


def test_claims_take_no_memory() -> None:
    raw = file_of(pair("k", ARRAY, struct.pack("<IQ", STRING, 1 << 24)))
    tracemalloc.start()
    with pytest.raises(GgufError):
        gguf.parse(raw, total=1 << 40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
