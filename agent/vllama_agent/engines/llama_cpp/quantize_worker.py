"""Runs `llama_model_quantize` as the agent's child: ``python -m …quantize_worker SETTINGS FD``.

SETTINGS is JSON: source, target, file_type (`enum llama_ftype`), threads, requantize. FD is a socket; on it go lines of JSON:
``{"t": "progress", "completed", "tensor"}``, in bytes of the source and with the tensor that was read last, and at the end
``{"t": "done", "notes"}`` or ``{"t": "failed", "message"}``.
"""

from __future__ import annotations

import ctypes
import json
import re
import socket
import sys
from typing import Any

import llama_cpp.llama_cpp as C

from vllama_agent.engines.llama_cpp import version
from vllama_core.errors import EngineFailed

ERROR = 4
"""`GGML_LOG_LEVEL_ERROR`."""
BUFFER_BYTES = 1 << 30
"""Rows that are kept in memory at once; libllama's default of 8 GiB is more than small machines have."""
_SIZE = re.compile(r"size\s*=\s*([\d.]+) MiB")
_TENSOR = re.compile(r"\[\s*\d+/\s*\d+\]\s+(\S+)")
_FALLBACK = re.compile(r"(\d+) of (\d+) tensor\(s\) required fallback quantization")


class Log:
    """What libllama tells in its log, piece by piece: `[ 3/ 201] name - [shape], type = f16, ` … `size = 1.00 MiB -> 0.28 MiB`."""

    def __init__(self) -> None:
        self.completed = 0.0
        """MiB of the source."""
        self.tensor = ""
        """The one that is at work, or was last."""
        self.notes: list[str] = []
        self.error = ""
        self._within = False

    def take(self, level: int, text: str) -> bool:
        """One piece; whether a tensor is finished by it."""
        if level == ERROR and text.strip(" \n="):
            self.error = text.strip().removeprefix("llama_model_quantize: failed to quantize: ")
        if found := _FALLBACK.search(text):
            self.notes.append(
                f"{found[1]} of {found[2]} tensors have rows that are no multiple of 256 values: they got a larger type than the others"
            )
        if found := _TENSOR.match(text):
            self.tensor, self._within = found[1], True
        size = _SIZE.search(text) if self._within else None
        if size is None:
            return False
        self.completed += float(size[1])
        self._within = False
        return True


def work(settings: dict[str, Any], send: Any) -> None:
    """Quantize.

    :raises EngineFailed: libllama refused.
    """
    version.check()
    log = Log()

    @C.llama_log_callback  # type: ignore[untyped-decorator]
    def on_log(level: int, text: bytes, _data: object) -> None:
        if log.take(level, text.decode("utf-8", "replace")):
            send(t="progress", completed=int(log.completed * (1 << 20)), tensor=log.tensor)

    C.llama_log_set(on_log, None)
    C.llama_backend_init()
    params = C.llama_model_quantize_default_params()
    params.ftype = settings["file_type"]
    params.nthread = settings["threads"]
    params.allow_requantize = settings["requantize"]
    params.max_buf_size = BUFFER_BYTES
    if C.llama_model_quantize(settings["source"].encode(), settings["target"].encode(), ctypes.byref(params)):
        raise EngineFailed(log.error or "libllama does not say why")
    send(t="done", notes=log.notes)


def main() -> int:
    link = socket.socket(fileno=int(sys.argv[2])).makefile("w", encoding="utf-8")

    def send(**message: Any) -> None:
        link.write(json.dumps(message) + "\n")
        link.flush()

    try:
        work(json.loads(sys.argv[1]), send)
    except EngineFailed as error:
        send(t="failed", message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
