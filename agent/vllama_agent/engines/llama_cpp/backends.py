"""The devices of ggml's backends: those of its functions that llama-cpp-python does not bind."""

from __future__ import annotations

import ctypes
from typing import Any

from vllama_agent.engines.llama_cpp.bindings import C
from vllama_core import placement


def devices() -> tuple[placement.Device, ...]:
    """What this build's backends found, the CPU included."""
    ggml = C._lib  # whose symbols are found through libllama, which links it
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    return tuple(_device(ggml, ggml.ggml_backend_dev_get(index)) for index in range(ggml.ggml_backend_dev_count()))


def _device(ggml: Any, handle: int) -> placement.Device:
    for function in (ggml.ggml_backend_dev_name, ggml.ggml_backend_dev_description):
        function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    ggml.ggml_backend_dev_type.restype, ggml.ggml_backend_dev_type.argtypes = ctypes.c_int, [ctypes.c_void_p]
    ggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)]
    ggml.ggml_backend_dev_memory.restype = None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ggml.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    return placement.Device(
        name=ggml.ggml_backend_dev_name(handle).decode("utf-8", "replace"),
        description=ggml.ggml_backend_dev_description(handle).decode("utf-8", "replace"),
        kind=tuple(placement.DeviceKind)[ggml.ggml_backend_dev_type(handle)],
        total=total.value,
        free=free.value,
    )
