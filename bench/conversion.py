"""Peak disk and memory of converting and quantizing, beside llama.cpp's converter run plainly; and what each quantization takes.

    python -m bench.conversion prepare           # a random Llama of 0.3 billion parameters
    python -m bench.conversion plain             # the converter alone
    python -m bench.conversion ours Q4_K_M       # the whole way to a quantization; any of the table may be named

Each prints one JSON object. Disk is what the output folder holds, memory the largest process' peak (VmHWM), both read 50 times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from bench.places import CACHE, ROOT
from bench.quantization import bits_per_weight
from vllama_agent.environments import install, layout
from vllama_agent.store import header
from vllama_agent.store.convert import convert

SNAPSHOT = CACHE / "models" / "random-llama-300m"
WIDTH, LAYERS = 1024, 22
POLL_SECONDS = 0.02


def prepare() -> None:
    """The model, as Hugging Face files."""
    environment = install.install(CACHE, tell=print)
    tools = ROOT / "tools" / "tiny_hf.py"
    if SNAPSHOT.is_dir():
        return
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        subprocess.run([environment.python, tools, f"{scratch}/tiny"], check=True)
        made = f"{scratch}/llama"
        subprocess.run(
            [environment.python, ROOT / "bench" / "random_llama.py", f"{scratch}/tiny", made, str(WIDTH), str(LAYERS)], check=True
        )
        SNAPSHOT.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, SNAPSHOT)


class Peaks:
    """The largest values seen: bytes in a folder, bytes of one child process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.disk = 0
        self.memory = 0

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(POLL_SECONDS)

    def look(self) -> None:
        with contextlib.suppress(OSError):  # a file or process that ended between being listed and being read
            self.disk = max(self.disk, sum(path.lstat().st_blocks * 512 for path in self._folder.rglob("*") if path.is_file()))
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{child.pid}/status").read_text()
                self.memory = max([self.memory, *(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))])


@contextlib.asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Peaks]:
    peaks = Peaks(folder)
    task = asyncio.create_task(peaks.watch(), name="peaks")
    try:
        yield peaks
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def plain(folder: Path) -> Path:
    """The converter as anybody runs it."""
    environment = layout.require(CACHE)
    script = environment.llama_cpp / "convert_hf_to_gguf.py"
    out = folder / "plain.gguf"
    quiet = asyncio.subprocess.DEVNULL
    arguments = (str(SNAPSHOT), "--outfile", str(out))
    process = await asyncio.create_subprocess_exec(environment.python, script, *arguments, stdout=quiet, stderr=quiet)
    if await process.wait():
        raise SystemExit("the converter failed")
    return out


async def ours(folder: Path, quantization: str) -> Path:
    """Our way."""
    made = await convert(SNAPSHOT, out=folder / "m.gguf", quantization=quantization, home=CACHE, on_event=lambda _event: None)
    return made.path


async def measure(words: list[str]) -> dict[str, object]:
    """One run."""
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        folder = Path(scratch)
        begin = time.perf_counter()
        async with watched(folder) as peaks:
            out = await (ours(folder, words[1]) if words[0] == "ours" else plain(folder))
        read = header.read(out)
        return {
            "run": " ".join(words),
            "seconds": round(time.perf_counter() - begin, 1),
            "size": out.stat().st_size,
            "bits": round(bits_per_weight(read), 3),
            "peak_disk_over_16_bit": round(peaks.disk / (read.parameter_count * 2), 3),
            "peak_memory": peaks.memory,
        }


def main(words: list[str]) -> None:
    match words:
        case ["prepare"]:
            prepare()
        case ["plain"] | ["ours", _]:
            print(json.dumps(asyncio.run(measure(words))))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
