"""The rows of one `llama_decode` call, in memory of our own."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from vllama_agent.engines.llama_cpp.bindings import C

Int32s = npt.NDArray[np.int32]
Int8s = npt.NDArray[np.int8]


class Batch:
    """A `llama_batch` on our own arrays: filling it is five slice assignments instead of a ctypes write per token and field."""

    def __init__(self, capacity: int) -> None:
        self._token = np.zeros(capacity, np.int32)
        self._pos = np.zeros(capacity, np.int32)
        self._seq = np.zeros(capacity, np.int32)
        self._output = np.zeros(capacity, np.int8)
        self._id_count = np.ones(capacity, np.int32)
        # the pointer table is constant: row i's id stands at &seq[i]
        self._pointers = np.arange(capacity, dtype=np.uintp) * np.uintp(4) + np.uintp(self._seq.ctypes.data)
        self._struct = C.llama_batch(
            n_tokens=0,
            token=self._token.ctypes.data_as(ctypes.POINTER(C.llama_token)),
            embd=None,
            pos=self._pos.ctypes.data_as(ctypes.POINTER(C.llama_pos)),
            n_seq_id=self._id_count.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(C.llama_seq_id))),
            logits=self._output.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, tokens: Int32s, positions: Int32s, sequences: Int32s, outputs: Int8s) -> Any:
        n = len(tokens)
        self._token[:n] = tokens
        self._pos[:n] = positions
        self._seq[:n] = sequences
        self._output[:n] = outputs
        self._struct.n_tokens = n
        return self._struct
