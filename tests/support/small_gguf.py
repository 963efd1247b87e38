"""GGUF files of some hundred bytes, whole by the letter and of no use to any engine."""

from __future__ import annotations

import struct


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def make(architecture: str = "llama", *, template: str | None = None, tensor: str = "token_embd.weight", padding: int = 0) -> bytes:
    """A file with one tensor.

    :param padding: further bytes of the tensor; makes files different and as long as a test wants.
    """
    pairs = {"general.architecture": architecture} | ({"tokenizer.chat_template": template} if template is not None else {})
    count = 32 + (padding + 3) // 4
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs))
    for key, value in pairs.items():
        head += _text(key) + struct.pack("<I", 8) + _text(value)
    head += _text(tensor) + struct.pack("<IQIQ", 1, count, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(range(128)) + bytes(4 * count - 128)
