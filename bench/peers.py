"""Build the peers once and keep them: llama.cpp's own tools from our wheel's source, and Ollama with its tuned CPU libraries.

A comparison means something only if both sides run the same kernels, so llama-server comes from the very source archive that the
wheel is built from, with the wheel's flags. Ollama is built from its Go module, which lacks vendored headers; the same archive has them.

    python -m bench.peers            # build what is missing, print where it lies
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import places

LLAMA_TARGETS = ("llama-server", "llama-bench", "llama-batched-bench")
PEER_FLAGS = (
    # What the wheel's build says or leaves at its default (CMake's own defaults choose OpenMP, repacking and llamafile alike) …
    "-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DLLAMA_CURL=OFF "
    # … and what only leaves things out: no web page, no TLS, no tests.
    "-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF"
)


class PeerMissing(Exception):
    """A peer cannot be had here; the sentence says why and goes into the report."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An executable and the words by which the report names it."""

    binary: Path
    version: str


def llama_server() -> Peer:
    """llama-server, from VLLAMA_BENCH_LLAMA_SERVER or built here."""
    import llama_wheel

    if given := os.environ.get("VLLAMA_BENCH_LLAMA_SERVER"):
        return Peer(Path(given), f"llama-server ({given})")
    version = llama_wheel.pinned_version()
    flags = f"{PEER_FLAGS} {llama_wheel.cmake_flags('native')}"
    folder = places.PEERS / f"llama.cpp-{version}-{places.short_hash(flags, llama_wheel.cpu_identity())}"
    _once(folder, lambda scratch: _build_llama(scratch, flags))
    return Peer(
        folder / "bin" / "llama-server", f"llama-server (source of llama-cpp-python {version}, {llama_wheel.cmake_flags('native')})"
    )


def ollama() -> Peer:
    """Ollama, from VLLAMA_BENCH_OLLAMA or built here."""
    import llama_wheel
    import ollama_cli

    if given := os.environ.get("VLLAMA_BENCH_OLLAMA"):
        return Peer(Path(given), f"Ollama ({given})")
    folder = places.PEERS / f"ollama-{ollama_cli.VERSION}-{places.short_hash('tuned', llama_wheel.cpu_identity())}"
    if not (folder / "bin").is_dir() and shutil.which("go") is None:
        raise PeerMissing("Ollama is not built: there is no Go compiler here")
    _once(folder, _build_ollama)
    return Peer(folder / "bin" / "ollama", f"Ollama {ollama_cli.VERSION} (Go module, tuned CPU libraries)")


def source_folder() -> Path:
    """The unpacked source archive of the pinned llama-cpp-python."""
    import llama_sdist

    return Path(llama_sdist.ensure())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _once(folder: Path, build: Callable[[Path], None]) -> None:
    """Make the folder if it is not there; it appears whole or not at all."""
    if folder.is_dir():
        return
    with _locked(folder.parent / f"{folder.name}.lock"):
        if folder.is_dir():
            return
        print(f"building {folder.name}; this takes minutes, once", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as scratch:
            build(Path(scratch))
            os.replace(Path(scratch) / "out", folder)


def _run(scratch: Path, *command: str | Path, env: dict[str, str] | None = None) -> None:
    log = scratch.parent / "build.log"
    with open(log, "a") as output:
        print("$", *command, file=output, flush=True)
        result = subprocess.run([str(part) for part in command], stdout=output, stderr=output, env=os.environ | (env or {}), check=False)
    if result.returncode != 0:
        raise PeerMissing(f"building a peer failed ({command[0]} ended with {result.returncode}); the log is in {log}")


def _build_llama(scratch: Path, flags: str) -> None:
    source = source_folder() / "vendor" / "llama.cpp"
    _run(scratch, "cmake", "-S", source, "-B", scratch / "build", "-G", "Ninja", *flags.split())
    _run(scratch, "cmake", "--build", scratch / "build", f"-j{os.cpu_count() or 2}", "--target", *LLAMA_TARGETS)
    out = scratch / "out"
    shutil.copytree(scratch / "build" / "bin", out / "bin", symlinks=True)
    shutil.copy(scratch / "build" / "CMakeCache.txt", out)


def _build_ollama(scratch: Path) -> None:
    import ollama_cli

    headers = source_folder() / "vendor" / "llama.cpp" / "vendor"
    out = scratch / "out"
    _run(scratch, "go", "install", ollama_cli.MODULE, env={"CPATH": str(headers), "GOBIN": str(out / "bin")})
    cache = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    tree = scratch / "tree"
    shutil.copytree(Path(cache) / ollama_cli.MODULE, tree)
    subprocess.run(["chmod", "-R", "u+w", str(tree)], check=True)  # the module cache is read-only
    _run(scratch, "cmake", "-S", tree, "-B", tree / "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release")
    _run(scratch, "cmake", "--build", tree / "build", f"-j{os.cpu_count() or 2}", "--target", "ggml-cpu")
    shutil.copytree(tree / "build" / "lib" / "ollama", out / "lib" / "ollama")


def library_path(peer: Peer) -> dict[str, str]:
    """llama.cpp's shared libraries lie beside its binaries."""
    return {"LD_LIBRARY_PATH": str(peer.binary.parent)}


if __name__ == "__main__":
    for make in (llama_server, ollama):
        try:
            print(make())
        except PeerMissing as missing:
            print(missing)
