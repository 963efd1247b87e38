"""Make a GGUF file smaller: `llama_model_quantize` in a process of its own, which may crash or be killed without harm."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from pathlib import Path

from vllama_agent.hardware import cpu
from vllama_agent.store import children, header
from vllama_agent.store.children import ConvertedFile, Reporter
from vllama_agent.store.consumed import Consumed
from vllama_agent.store.events import OnEvent, Progress, Status
from vllama_core import quantization as quantizations
from vllama_core.errors import ConfigError, ConversionFailed
from vllama_core.gguf import GgufError, GgufHeader

WORKER = "vllama_agent.engines.llama_cpp.quantize_worker"
UNQUANTIZED = ("F32", "F16", "BF16")


async def quantize(
    source: Path,
    *,
    out: Path,
    quantization: str,
    on_event: OnEvent,
    label: str | None = None,
    requantize: bool = False,
    consume: bool = False,
) -> ConvertedFile:
    """Quantize a GGUF file. `out` appears whole or not at all; cancelling ends the work and leaves nothing.

    :param on_event: called on the event loop.
    :param label: what the model is called in sentences; None: as its file.
    :param requantize: also from a file that is quantized already, although each step loses something.
    :param consume: the source is nobody's afterwards: its disk is given back while it is read.
    :raises ConfigError: the quantization is unknown, or the source is no GGUF file or quantized already.
    :raises ConversionFailed: llama.cpp refused.
    """
    wanted = quantizations.parse(quantization)
    model = label or source.stem
    found, size = _checked(source, model, requantize=requantize)
    with children.scratch_beside(out, kind="quantize") as scratch:
        children.require_space(scratch, int(size * min(1.0, wanted.bits * 1.1 / 16)), what=f"quantizing {model} to {wanted.name}")
        on_event(Status(f"quantizing {model} to {wanted.name}"))
        target = scratch / "quantized.gguf"
        settings = {
            "source": str(source),
            "target": str(target),
            "file_type": wanted.file_type,
            "threads": cpu.usable_cores(),
            "requantize": requantize,
        }
        with Consumed(source, found) if consume else contextlib.nullcontext() as consumed:
            child = await Reporter.start(sys.executable, "-m", WORKER, json.dumps(settings))
            try:
                notes = await _follow(child, f"{model} {wanted.name}", size, on_event, consumed)
            finally:
                await child.stop()
        return await children.publish(target, out, notes=notes)


def _checked(source: Path, model: str, *, requantize: bool) -> tuple[GgufHeader, int]:
    """The source's header, and its size in bytes."""
    try:
        found = header.read(source)
        size = source.stat().st_size
    except (OSError, GgufError) as error:
        raise ConfigError(f"{source}: {error}") from error
    quantized = sorted({tensor.type for tensor in found.tensors} - set(UNQUANTIZED))
    if quantized and not requantize:
        raise ConfigError(
            f"{model} is quantized already ({', '.join(quantized)}), and doing it again loses more; start from {' or '.join(UNQUANTIZED)}"
        )
    return found, size


async def _follow(child: Reporter, what: str, size: int, on_event: OnEvent, consumed: Consumed | None) -> tuple[str, ...]:
    """Pass progress on until the worker ends; what is worth knowing about the result."""
    bar, read = hashlib.sha256(f"quantize {what}".encode()).hexdigest(), ""
    async for message in child.messages(what=f"quantizing {what}", most_silence=children.SILENCE_SECONDS):
        match message["t"]:
            case "progress":
                if consumed is not None and read:  # the one before: a tensor is told before the last of it is written
                    await asyncio.to_thread(consumed.release, read)
                read = message["tensor"]
                on_event(Progress(bar, size, min(size, message["completed"])))
            case "done":
                on_event(Progress(bar, size, size))
                return tuple(message["notes"])
            case "failed":
                raise ConversionFailed(f"quantizing {what} failed: {message['message']}")
    code = await child.ended()
    raise ConversionFailed(f"quantizing {what} failed: the process ended with {f'signal {code - 128}' if code > 128 else f'status {code}'}")
