"""What converting and quantizing have in common: a child that reports in lines of JSON, and a file that appears whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllama_agent.engines.process import Child
from vllama_agent.store import claim, manifests
from vllama_core import human
from vllama_core.errors import ConfigError, ConversionFailed, EngineFailed

SILENCE_SECONDS = 900.0
"""A child that reports nothing for so long hangs: the largest tensors, tens of gigabytes on a slow disk, take minutes."""
STALE_SECONDS = 86_400.0
"""Without a write until a scratch folder of another machine counts as abandoned: a file that is being made grows steadily."""
NICENESS = 10
"""Answers that are streaming go first."""
LONGEST_LINE = 1 << 20
"""Bytes. A failure's line has a traceback's last words and twenty lines of a log."""
CHUNK = 8 << 20


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """A GGUF file that was made here.

    :ivar sha256: in hexadecimal.
    :ivar size: bytes.
    :ivar notes: sentences on what is worth knowing about it.
    """

    path: Path
    sha256: str
    size: int
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def scratch_beside(out: Path, *, kind: str) -> Iterator[Path]:
    """A hidden folder on the file system of `out`, gone at the end. It has a claim; those that a killed process left are removed first.

    :raises ConfigError: it cannot be made.
    """
    prefix = f"{manifests.SCRATCH}{kind}-"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f"{prefix}*"):
            if _is_abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=prefix))
        claim.Claim(folder).try_acquire(0.0)
    except OSError as error:
        raise ConfigError(f"{out.parent} cannot be written: {error.strerror or error}; VLLAMA_HOME names another place") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Whether whoever made it is gone: known at once on this machine, elsewhere by its age."""
    with contextlib.suppress(FileNotFoundError):  # its maker has just finished
        newest = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
        return claim.is_left(folder) or (time.time() - newest > STALE_SECONDS and not claim.is_at_work(folder))
    return False


def require_space(folder: Path, needed: int, *, what: str) -> None:
    """:raises ConfigError: the file system has less room than `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigError(f"{what} needs {human.size(needed)} of disk at {folder}, and {human.size(free)} are free; make room there")


class Reporter:
    """A child that reports in lines of JSON, and is told nothing."""

    def __init__(self, child: Child, lines: asyncio.StreamReader) -> None:
        self._child = child
        self._lines = lines

    @classmethod
    async def start(cls, *command: str, environment: Mapping[str, str] | None = None) -> Reporter:
        """Run ``command… FD`` (see `Child.start`); it gives way to engines.

        :raises ConversionFailed: the system cannot start it.
        """
        lines = asyncio.StreamReader(limit=LONGEST_LINE)
        try:
            link = asyncio.StreamReaderProtocol(lines)
            return cls(await Child.start(link, *command, environment=environment, niceness=NICENESS), lines)
        except EngineFailed as error:
            raise ConversionFailed(str(error)) from error

    async def messages(self, *, what: str, most_silence: float | None) -> AsyncIterator[dict[str, Any]]:
        """The child's lines, until it closes its end.

        :param most_silence: seconds between two lines; None: somebody else watches the child.
        :raises ConversionFailed: it said nothing for too long.
        """
        while True:
            try:
                async with asyncio.timeout(most_silence):
                    line = await self._lines.readline()
            except TimeoutError:
                raise ConversionFailed(f"{what} said nothing for {most_silence:g} s and was stopped") from None
            except ConnectionError:
                return
            if not line:
                return
            yield json.loads(line)

    async def ended(self) -> int:
        """The exit code of a child that has closed its end; 128 + the signal's number for one that a signal ended."""
        return await self._child.ended()

    async def stop(self) -> None:
        """Kill the whole tree and wait for its end."""
        await self._child.stop()


async def publish(made: Path, out: Path, *, notes: tuple[str, ...]) -> ConvertedFile:
    """Give a finished file its name. It is on the disk before it has it.

    :raises ConversionFailed: it cannot be read or moved.
    """
    stop = threading.Event()
    try:
        digest, size = await asyncio.to_thread(_sealed, made, stop)
        os.replace(made, out)
    except OSError as error:
        raise ConversionFailed(f"{out} could not be written: {error.strerror or error}") from error
    finally:
        stop.set()
    return ConvertedFile(path=out, sha256=digest, size=size, notes=notes)


def _sealed(path: Path, stop: threading.Event) -> tuple[str, int]:
    """The sha256 and the size of a file that is readable for all now and safe from a power cut. Ends early when nobody waits for it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while (data := file.read(CHUNK)) and not stop.is_set():
            digest.update(data)
        os.fsync(file.fileno())
    path.chmod(manifests.READABLE)
    return digest.hexdigest(), path.stat().st_size
