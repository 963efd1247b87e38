"""From a Hugging Face snapshot to one GGUF file, in a child process with its own environment, memory limit and end.

Where files may have holes, the 16-bit file shrinks as the result grows; elsewhere both lie on the disk at the end: 1.3 times the former for
Q4_K_M. F32, F16, BF16 and Q8_0 need no 16-bit file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

from vllama_agent.environments import layout
from vllama_agent.environments.layout import Environment
from vllama_agent.hardware import cpu
from vllama_agent.store import children, conversion, header, snapshots
from vllama_agent.store.children import ConvertedFile, Reporter
from vllama_agent.store.conversion import Failure
from vllama_agent.store.events import OnEvent, Progress, Status
from vllama_agent.store.quantize import quantize
from vllama_core import quantization as quantizations
from vllama_core.errors import ConversionFailed
from vllama_core.gguf import GgufError

RUNNER = Path(__file__).with_name("convert_runner.py")
MEMORY_SHARE = 0.8
"""Of what is free: the rest is for the engine that may be answering meanwhile."""
LEAST_MEMORY = 2 << 30
"""Bytes. Python, torch and the largest tensor of a small model; with less, starting is pointless."""
LOG_LINES = 5


async def convert(
    snapshot: Path,
    *,
    out: Path,
    quantization: str,
    home: Path,
    on_event: OnEvent,
    name: str | None = None,
    memory: int | None = None,
    allow_pickle: bool = False,
) -> ConvertedFile:
    """Convert a folder of Hugging Face files. `out` appears whole or not at all; cancelling ends the work and leaves nothing.

    :param quantization: one of `vllama_core.quantization.TABLE`.
    :param home: `$VLLAMA_HOME`, where the converter's environment is looked for.
    :param on_event: called on the event loop.
    :param name: what the model is called; None: as its repository or folder.
    :param memory: bytes that the converter may take; None: most of what is free.
    :param allow_pickle: weights that are pickles are read, where there are no others. torch loads tensors of them and refuses the rest
        (``weights_only``).
    :raises ConfigError: the environment is missing, or these files or this quantization cannot be converted.
    :raises ConversionFailed: the converter gave up; the sentence says why and what to try.
    """
    wanted = quantizations.parse(quantization)
    environment = layout.require(home)
    found = await asyncio.to_thread(snapshots.read, snapshot, name=name, allow_pickle=allow_pickle)
    model = found.model
    with children.scratch_beside(out, kind="convert") as scratch:
        children.require_space(scratch, quantizations.disk_needed(found.parameters, wanted), what=f"converting {model} to {wanted.name}")
        view = snapshots.view(found, scratch / model)
        notes = (*found.notes, f"converted by {conversion.CONVERTER}")
        first = scratch / "converted.gguf"
        run = _Run(environment, scratch, model, memory or max(LEAST_MEMORY, int(cpu.available_memory() * MEMORY_SHARE)), on_event)
        await run.convert(view, first, wanted.direct or "auto")
        if wanted.direct:
            return await children.publish(first, out, notes=notes)
        made = await quantize(first, out=out, quantization=wanted.name, on_event=on_event, label=model, consume=True)
        return ConvertedFile(path=made.path, sha256=made.sha256, size=made.size, notes=(*notes, *made.notes))


class _Run:
    """One run of the converter."""

    def __init__(self, environment: Environment, scratch: Path, model: str, memory: int, on_event: OnEvent) -> None:
        self._environment = environment
        self._model = model
        self._memory = memory
        self._log = scratch / "log"
        self._on_event = on_event

    async def convert(self, view: Path, target: Path, outtype: str) -> None:
        self._on_event(Status(f"converting {self._model}"))
        settings = {
            "script": str(self._environment.llama_cpp / "convert_hf_to_gguf.py"),
            "arguments": [str(view), "--outfile", str(target), "--outtype", outtype],
            "memory": self._memory,
            "log": str(self._log),
        }
        child = await Reporter.start(str(self._environment.python), "-I", str(RUNNER), json.dumps(settings))
        try:
            failure = await self._follow(child, f"{self._model} {outtype}")
        finally:
            await child.stop()
        failure = failure or _unusable(target)
        if failure:
            raise ConversionFailed(conversion.explain(failure, model=self._model, memory=self._memory))

    async def _follow(self, child: Reporter, what: str) -> Failure | None:
        """Pass progress on until the converter ends; None: it is done."""
        bar = hashlib.sha256(f"convert {what}".encode()).hexdigest()
        async for message in child.messages(what=f"the converter of {self._model}", most_silence=children.SILENCE_SECONDS):
            match message["t"]:
                case "progress":
                    self._on_event(Progress(bar, message["total"], message["completed"]))
                case "done":
                    return None
                case "failed":
                    return Failure(message["kind"], message["message"], tuple(message["log"]))
        code = await child.ended()
        ended = "was killed, most often by the system for want of memory" if code > 128 else f"ended with status {code}"
        return Failure("", f"it {ended}", tuple(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]))


def _unusable(target: Path) -> Failure | None:
    try:
        header.read(target)
    except (OSError, GgufError) as error:
        return Failure(type(error).__name__, f"what it wrote cannot be read: {error}")
    return None
