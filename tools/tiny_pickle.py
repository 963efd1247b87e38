"""Write a model's weights as Python pickles, as transformers did before safetensors, and such as hold a program.

Runs in the converter's environment, which has torch: ``python tiny_pickle.py SAFETENSORS PICKLE [FILE]``. With FILE, whoever opens the
pickle without care makes that file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


class Program:
    """A value that is made by calling a function, which is what pickles allow."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.file, "w")


def main(source: str, target: str, program: str | None = None) -> None:
    weights: dict[str, object] = dict(load_file(source))
    if program is not None:
        weights["program"] = Program(program)
    torch.save(weights, Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
