"""A conversion as the agent sees it, with a converter that fails in every way the real one can. Its runner is the real one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections import namedtuple
from pathlib import Path

import descendants
import psutil
import pytest
from small_gguf import make as gguf

from vllama_agent.environments import layout
from vllama_agent.store import children, claim, manifests
from vllama_agent.store.children import ConvertedFile
from vllama_agent.store.convert import convert
from vllama_agent.store.events import Event, Progress, Status
from vllama_core.errors import ConfigError, ConversionFailed

TQDM = "class tqdm:\n    def __init__(self, *positional, **named): pass\n"
SCRIPT = """
import argparse, logging, os, pathlib, signal, sys, time
from tqdm import tqdm
parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--outfile", type=pathlib.Path)
parser.add_argument("--outtype")
arguments = parser.parse_args()
whole = bytes.fromhex({whole!r})
def write():
    bar = tqdm(desc="Writing", total=len(whole), unit="byte")
    arguments.outfile.write_bytes(whole)
    bar.update(len(whole) // 2)
    bar.update(len(whole) - len(whole) // 2)
"""


def environment(home: Path, body: str) -> None:
    """An environment whose converter is `body`."""
    folder = layout.place(home)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    (folder / "llama.cpp").mkdir()
    (folder / "llama.cpp" / "tqdm.py").write_text(TQDM)
    (folder / "llama.cpp" / "convert_hf_to_gguf.py").write_text(SCRIPT.format(whole=gguf().hex()) + body)
    (folder / layout.MARKER).write_text("{}")


def safetensors(count: int = 4) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * count)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    folder = tmp_path / "models--owner--some-model" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["X"]}')
    (folder / "model.safetensors").write_bytes(safetensors())
    (folder / "modeling_evil.py").write_text("raise SystemExit('evil')")
    return folder


async def run(snapshot: Path, home: Path, out: Path, *, memory: int | None = None) -> tuple[ConvertedFile, list[Event]]:
    events: list[Event] = []
    made = await convert(snapshot, out=out, quantization="F16", home=home, on_event=events.append, memory=memory)
    return made, events


async def refused(snapshot: Path, home: Path, tmp_path: Path, *, memory: int | None = None) -> str:
    """The sentence of a conversion that fails; it leaves nothing behind."""
    out = tmp_path / "out" / "m.gguf"
    with pytest.raises(ConversionFailed) as caught:
        await run(snapshot, home, out, memory=memory)
    assert list(out.parent.iterdir()) == []
    return str(caught.value)


async def test_a_file_appears_with_its_digest_and_nothing_else(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(home, "write()")
    out = tmp_path / "out" / "m.gguf"
    made, events = await run(snapshot, home, out)
    assert out.read_bytes() == gguf()
    assert made.sha256 == hashlib.sha256(gguf()).hexdigest()
    assert (made.path, made.size) == (out, len(gguf()))
    assert list(out.parent.iterdir()) == [out]
    assert out.stat().st_mode & 0o777 == manifests.READABLE
    assert events[0] == Status("converting some-model")
    bars = [event for event in events if isinstance(event, Progress)]
    assert bars[-1].completed == bars[-1].total == len(gguf())
    assert len({bar.digest for bar in bars}) == 1


async def test_the_converter_sees_no_program_and_the_models_name(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(
        home, "raise ValueError(sorted(str(p.name) for p in arguments.model.iterdir()) + [arguments.model.name, arguments.outtype])"
    )
    assert "['config.json', 'model.safetensors', 'some-model', 'f16']" in await refused(snapshot, home, tmp_path)


async def test_no_secret_of_the_agents_reaches_the_converter(
    snapshot: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "VLLAMA_API_KEY", "NO_LOCAL_GGUF"):
        monkeypatch.setenv(name, "secret")
    environment(home, "raise ValueError([dict(os.environ)])")
    told = await refused(snapshot, home, tmp_path)
    assert "'PATH'" in told
    assert "'HF_HUB_OFFLINE': '1'" in told
    assert "secret" not in told


async def test_an_unknown_architecture_is_named(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(home, "logging.error('Model XForCausalLM is not supported'); sys.exit(1)")
    assert "architecture XForCausalLM" in await refused(snapshot, home, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's private memory")
async def test_memory_is_bounded(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(home, "block = bytearray(1 << 30)")
    assert "more than the 0.3 GB of memory" in await refused(snapshot, home, tmp_path, memory=256 << 20)


async def test_a_converter_that_is_killed_is_told(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(home, "print('about to end', flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    sentence = await refused(snapshot, home, tmp_path)
    assert "killed" in sentence
    assert "about to end" in sentence


async def test_a_converter_that_says_nothing_is_stopped(
    snapshot: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "SILENCE_SECONDS", 0.3)
    environment(home, "time.sleep(3600)")
    assert "said nothing for 0.3 s" in await refused(snapshot, home, tmp_path)


async def test_half_a_file_is_no_result(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(home, "arguments.outfile.write_bytes(whole[:-40])")
    assert "cannot be read" in await refused(snapshot, home, tmp_path)


async def test_cancelling_ends_the_converter_and_leaves_nothing(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(home, "write(); time.sleep(3600)")
    out = tmp_path / "out" / "m.gguf"
    begun = asyncio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, Progress):
            begun.set()

    task = asyncio.create_task(convert(snapshot, out=out, quantization="F16", home=home, on_event=on_event))
    async with asyncio.timeout(30):
        await begun.wait()
    assert descendants.named("convert_runner")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert psutil.Process().children(recursive=True) == []
    assert list(out.parent.iterdir()) == []


async def test_what_a_killed_conversion_left_goes_with_the_next_one(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(home, "write()")
    out = tmp_path / "out" / "m.gguf"
    folders = {name: out.parent / f"{manifests.SCRATCH}convert-{name}" for name in ("killed", "running", "elsewhere", "forgotten")}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        (folder / "converted.gguf").write_bytes(b"half")
        assert claim.Claim(folder).try_acquire(0)
        owner = json.loads((folder / "owner").read_text())
        changes = {"killed": {"process": 2**22 + 1}, "running": {}}.get(name, {"host": "another", "boot": "another"})
        (folder / "owner").write_text(json.dumps(owner | changes))
    for name in ("running", "forgotten"):
        for path in (*folders[name].iterdir(), folders[name]):
            os.utime(path, (1, 1))
    await run(snapshot, home, out)
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(["m.gguf", folders["running"].name, folders["elsewhere"].name])


async def test_without_the_environment_one_command_is_named(snapshot: Path, home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run: vllama engines install convert"):
        await run(snapshot, home, tmp_path / "out.gguf")


async def test_a_full_disk_is_told_before_the_work(snapshot: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(home, "write()")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(children.shutil, "disk_usage", lambda _path: usage(10, 10, 1))
    with pytest.raises(ConfigError, match=r"some-model to F16 needs 8 B of disk .* and 1 B are free"):
        await run(snapshot, home, tmp_path / "out.gguf")


@pytest.mark.parametrize("content", [b"nonsense", safetensors()[:-1], b""])
async def test_broken_weights_are_told_before_the_work(snapshot: Path, home: Path, tmp_path: Path, content: bytes) -> None:
    environment(home, "write()")
    (snapshot / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.safetensors.*fetch it again"):
        await run(snapshot, home, tmp_path / "out.gguf")


async def test_pickles_are_refused(snapshot: Path, home: Path, tmp_path: Path) -> None:
    environment(home, "write()")
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickles"):
        await run(snapshot, home, tmp_path / "out.gguf")
