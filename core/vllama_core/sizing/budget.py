"""How much memory sizing may plan with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vllama_core.config import MOST_CONTEXT
from vllama_core.errors import ConfigError
from vllama_core.hardware import Machine, Vendor
from vllama_core.sizing.shape import GIB, KIB, MIB

HOST_SHARE = 0.9
"""Of the machine's free memory: the rest is for everybody else, and for what this arithmetic does not know."""
DEVICE_SHARE = 0.92
"""Of a GPU's memory: its driver and other programs keep some, and buffers are cut from it in pieces."""
_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1 << 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Memory, in bytes.

    :ivar host: what may be taken of the machine's.
    :ivar devices: each GPU's whole memory, as its vendor counts it.
    :ivar unified: the GPU's memory is the machine's own.
    :ivar whole: all of it may be filled: somebody has put the shares aside already.
    """

    host: int
    devices: tuple[int, ...] = ()
    unified: bool = False
    whole: bool = False

    @property
    def usable_host(self) -> int:
        """What a plan may fill."""
        return self.host if self.whole else int(self.host * HOST_SHARE)

    @property
    def usable_devices(self) -> tuple[int, ...]:
        """What a plan may fill, of each."""
        return self.devices if self.unified or self.whole else tuple(int(size * DEVICE_SHARE) for size in self.devices)


def of_machine(machine: Machine, *, gpus: bool = True) -> Budget:
    """What this machine offers. Accelerators of one vendor only: no engine uses two at once.

    :param gpus: whether an engine here can use them.
    """
    for vendor in Vendor if gpus else ():
        found = [accelerator for accelerator in machine.of(vendor) if accelerator.usable]
        if found:
            sizes = tuple(accelerator.usable for accelerator in found)
            return Budget(host=machine.memory.available, devices=sizes, unified=found[0].unified)
    return Budget(host=machine.memory.available)


def parse_size(text: str) -> int:
    """Bytes of ``24GiB``, ``24G``, ``512MB`` or a plain number. All units are powers of 1,024: memory is sold so, whatever is printed.

    :raises ConfigError: it is no size.
    """
    words = text.strip().upper().removesuffix("IB").removesuffix("B")
    unit = words[-1:] if words[-1:].isalpha() else ""
    try:
        size = float(words.removesuffix(unit)) * _UNITS[unit]
    except (ValueError, KeyError):
        size = math.nan
    if not math.isfinite(size) or size < 1:
        raise ConfigError(f"{text!r} is no size; write it like 24GiB, 800M or 8589934592")
    return int(size)


def parse_tokens(text: str) -> int:
    """A number of tokens: ``32768``, ``32k`` or ``1m``, in powers of 1,024 as contexts are.

    :raises ConfigError: it is no such number.
    """
    words = text.strip().upper()
    unit = words[-1:] if words[-1:] in ("K", "M") else ""
    try:
        count = int(words.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        count = 0
    if not 1 <= count <= MOST_CONTEXT:
        raise ConfigError(f"{text!r} is no number of tokens up to {MOST_CONTEXT // MIB}m; write it like 32k or 32768")
    return count
