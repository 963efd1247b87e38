"""How long `vllama list` takes on a store of many models: the whole command, beside a server that has not looked at the store before.

    python -m bench.listing [MODELS] [ROUNDS]

Every model is the demo model under a digest of its own, a hard link: its header has 262,144 tokens to step over. Prints three figures: the
first list when no header is kept yet, the first after the server's start, and the median of the rounds after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import places
from vllama_agent.store import manifests
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.modelref import ModelName

VLLAMA = Path(sys.executable).with_name("vllama")
START_SECONDS = 30.0


def fill(home: Path, models: int) -> None:
    """Put the demo model into a home, many times."""
    file = places.gguf()
    (home / "blobs").mkdir(parents=True)
    for number in range(models):
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        os.link(file, manifests.blob(home, digest))
        ref = FileRef(digest=digest, size=file.stat().st_size)
        source = Source(kind="url", ref="https://example.com/demo.gguf")
        manifests.write(home, Manifest(name=ModelName(f"model-{number}"), files=(ref,), source=source))


@contextlib.contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[None]:
    """A server of that home."""
    host, _, port = environment["VLLAMA_HOST"].rpartition(":")
    process = subprocess.Popen([VLLAMA, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server did not start")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def listed(environment: Mapping[str, str], models: int) -> float:
    """Milliseconds of one command."""
    started = time.perf_counter()
    done = subprocess.run([VLLAMA, "list"], env=environment, check=True, capture_output=True, text=True)
    milliseconds = (time.perf_counter() - started) * 1000
    assert len(done.stdout.splitlines()) == models + 1, done.stdout
    return milliseconds


def main(models: int = 200, rounds: int = 9) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory(dir=places.CACHE) as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = {"VLLAMA_HOME": f"{folder}/home", "VLLAMA_HOST": f"127.0.0.1:{probe.getsockname()[1]}"}
        probe.close()
        fill(Path(where["VLLAMA_HOME"]), models)
        environment = os.environ | where
        with serving(environment):
            unread = listed(environment, models)
        with serving(environment):
            first, *others = [listed(environment, models) for _ in range(rounds + 1)]
    print(f"{models} models: {unread:.0f} ms with no header kept, {first:.0f} ms after a start, then {statistics.median(others):.0f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
