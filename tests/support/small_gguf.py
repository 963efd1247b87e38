"""GGUF files of some hundred bytes, whole by the letter and of no use to any engine."""

from __future__ import annotations

import struct


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _pair(key: str, value: int | str) -> bytes:
    return _text(key) + (struct.pack("<I", 8) + _text(value) if isinstance(value, str) else struct.pack("<II", 4, value))


def make(
    architecture: str = "llama",
    *,
    template: str | None = None,
    tensor: str = "token_embd.weight",
    padding: int = 0,
    **metadata: int | str,
) -> bytes:
    """A file with one tensor: the table of eight tokens of a model without layers, or another one.

    :param padding: further bytes of the tensor; makes files different and as long as a test wants.
    :param metadata: further keys; two underscores stand for a dot.
    """
    pairs: dict[str, int | str] = {"general.architecture": architecture, f"{architecture}.block_count": 0}
    pairs |= {"tokenizer.chat_template": template} if template is not None else {}
    pairs |= {key.replace("__", "."): value for key, value in metadata.items()}
    rows = 8
    count = 32 + -(-padding // (4 * rows)) * rows
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(_pair(key, value) for key, value in pairs.items())
    head += _text(tensor) + struct.pack("<IQQIQ", 2, count // rows, rows, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(range(128)) + bytes(4 * count - 128)
