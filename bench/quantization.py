"""What each quantization costs and saves on the demo model: size, speed, perplexity on one text. Writes a page's table and its picture.

    python -m bench.quantization prepare            # the files, from the demo model's weights in F16
    python -m bench.quantization measure Q4_K_M     # one of them; F16 first, the others are compared with it
    python -m bench.quantization page               # docs/quantization.md and docs/quantization.svg

The demo model is published in Q4_K_M only. "F16" is what that file's weights are when they are written out in 16 bits, so it is the
reference, but not the model as it was trained.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench import places, prompts, quantization_page
from vllama_agent.engines.llama_cpp import lib
from vllama_agent.engines.llama_cpp.model import Model
from vllama_agent.hardware import cpu
from vllama_agent.store import header
from vllama_agent.store.events import Event, Status
from vllama_agent.store.quantize import quantize
from vllama_core.config import LoadConfig
from vllama_core.gguf import GgufHeader

FOLDER = places.CACHE / "quantization"
NAMES = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
WINDOW = 512
"""Tokens that are read at once; the second half of them is scored, so that each has at least 256 before it."""
WINDOWS = 16
OUTPUTS = 128
"""Rows with logits of one call: 262,144 numbers each."""
DECODED, PREFILLED, TRIALS = 48, 512, 3


@dataclass(frozen=True, slots=True)
class Measured:
    """One quantization.

    :ivar bits: per weight, of all tensors.
    :ivar perplexity: exp of the mean negative log-probability.
    :ivar change: mean of the log-probabilities' differences to F16's, in percent of perplexity; `error` is its standard error.
    :ivar same: share of positions where the likeliest token is F16's, in percent.
    :ivar decode: tokens per second of one stream; `prefill` of a prompt.
    """

    name: str
    size: int
    bits: float
    perplexity: float
    change: float
    error: float
    same: float
    decode: float
    prefill: float


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.gguf"


async def prepare() -> None:
    """The demo model in F16, and from that in every quantization, by the code that users run."""
    FOLDER.mkdir(parents=True, exist_ok=True)

    def tell(event: Event) -> None:
        if isinstance(event, Status):
            print(event.text, file=sys.stderr)

    for name in NAMES:
        source = places.gguf() if name == "F16" else file_of("F16")
        if not file_of(name).is_file():
            await quantize(source, out=file_of(name), quantization=name, on_event=tell, requantize=name == "F16")


def bits_per_weight(found: GgufHeader) -> float:
    """Of all tensors, whatever type each has."""
    return sum(tensor.size for tensor in found.tensors) * 8 / found.parameter_count


def windows(tokenize: Callable[[bytes], list[int]], bos: int) -> Iterator[npt.NDArray[np.int32]]:
    """The text in windows that start with BOS."""
    tokens = tokenize(" ".join(prompts.prose()).encode())
    own = WINDOW - 1
    if len(tokens) < WINDOWS * own:
        raise SystemExit(f"the text has {len(tokens)} tokens; {WINDOWS * own} are needed")
    for index in range(WINDOWS):
        yield np.array([bos, *tokens[index * own : (index + 1) * own]], np.int32)


def score(context: lib.Context, window: npt.NDArray[np.int32]) -> tuple[list[float], list[int]]:
    """(log-probability of each token in the second half, likeliest token there)."""
    values: list[float] = []
    best: list[int] = []
    half = WINDOW // 2
    _decode(context, window[:half], 0, outputs=False)
    for begin in range(half, WINDOW, OUTPUTS):
        logits = _decode(context, window[begin : begin + OUTPUTS], begin, outputs=True)
        targets = window[begin + 1 : begin + OUTPUTS + 1]
        for row, target in zip(logits, targets, strict=False):  # the very last row has no target
            values.append(float(row[target] - row.max() - np.log(np.exp(row - row.max(), dtype=np.float64).sum())))
            best.append(int(row.argmax()))
    context.remove(0, 0, -1)
    return values, best


def _decode(context: lib.Context, tokens: npt.NDArray[np.int32], begin: int, *, outputs: bool) -> npt.NDArray[np.float32]:
    count = len(tokens)
    wants = np.full(count, outputs, np.int8)
    wants[-1] = 1
    if context.decode(tokens, np.arange(begin, begin + count, dtype=np.int32), np.zeros(count, np.int32), wants):
        raise SystemExit("libllama found no cells")
    return context.logits(int(wants.sum()))


def speed(context: lib.Context, tokens: npt.NDArray[np.int32]) -> tuple[float, float]:
    """(tokens per second of one stream, of a prompt); the best of some trials, as others only disturb."""
    decode, prefill = [], []
    for _ in range(TRIALS):
        begin = time.perf_counter()
        _decode(context, tokens[:PREFILLED], 0, outputs=False)
        prefill.append(PREFILLED / (time.perf_counter() - begin))
        context.remove(0, 64, -1)
        begin = time.perf_counter()
        for position in range(64, 64 + DECODED):
            _decode(context, tokens[position : position + 1], position, outputs=True)
        decode.append(DECODED / (time.perf_counter() - begin))
        context.remove(0, 0, -1)
    return max(decode), max(prefill)


def measure(name: str) -> Measured:
    """Load one file and go through the text."""
    lib.start(lambda line: print(line, file=sys.stderr))
    config = LoadConfig(ctx_size=WINDOW, parallel=OUTPUTS)
    model = Model((file_of(name),), config)
    context = lib.Context(model, config, cells=WINDOW, threads=cpu.usable_cores())
    cut = list(windows(lambda text: model.tokenize(text, add_special=False, parse_special=False), model.bos))
    decode, prefill = speed(context, cut[0])
    scored = [score(context, window) for window in cut]
    values = np.array([value for found, _ in scored for value in found])
    best = np.array([token for _, found in scored for token in found])
    if name == NAMES[0]:
        np.savez(FOLDER / "reference.npz", values=values, best=best)
    reference = np.load(FOLDER / "reference.npz")
    worse = reference["values"] - values
    read = header.read(file_of(name))
    return Measured(
        name=name,
        size=file_of(name).stat().st_size,
        bits=bits_per_weight(read),
        perplexity=float(np.exp(-values.mean())),
        change=float(np.expm1(worse.mean()) * 100),
        error=float(worse.std(ddof=1) / len(worse) ** 0.5 * 100),
        same=float((best == reference["best"]).mean() * 100),
        decode=decode,
        prefill=prefill,
    )


def main(words: list[str]) -> None:
    match words:
        case ["prepare"]:
            asyncio.run(prepare())
        case ["measure", name] if name in NAMES:
            (FOLDER / f"{name}.json").write_text(json.dumps(asdict(measure(name))))
            print((FOLDER / f"{name}.json").read_text())
        case ["page"]:
            found = [json.loads((FOLDER / f"{name}.json").read_text()) for name in NAMES]
            quantization_page.write(found, json.loads((FOLDER / "minilm.json").read_text()), places.ROOT / "docs")
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
