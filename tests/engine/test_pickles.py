"""Pickled weights through the real converter: read where somebody asked for it, and programs in them not run."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import fake_hub
import pytest

import llama_wheel
from vllama_agent.environments.layout import Environment
from vllama_agent.store import Store
from vllama_agent.store.convert import convert
from vllama_agent.store.events import Event, Status
from vllama_agent.store.hub import Hub
from vllama_agent.store.pull import pull
from vllama_agent.store.sources import Sources
from vllama_core.errors import ConfigError, ConversionFailed

TOOL = Path(__file__).resolve().parents[2] / "tools" / "tiny_pickle.py"


def pickled(environment: Environment, tiny_hf: Path, folder: Path, *program: str) -> Path:
    """The tiny model with its weights as a pickle."""
    shutil.copytree(tiny_hf, folder)
    command = [environment.python, TOOL, folder / "model.safetensors", folder / "pytorch_model.bin", *program]
    subprocess.run(command, check=True, timeout=120)
    (folder / "model.safetensors").unlink()
    return folder


async def test_pickled_weights_give_the_same_model_as_safetensors(environment: Environment, tiny_hf: Path, tmp_path: Path) -> None:
    folder = pickled(environment, tiny_hf, tmp_path / "pickled")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".npz"}
    home = tmp_path / "home"
    home.mkdir()
    (home / "envs").symlink_to(llama_wheel.CACHE / "envs")
    events: list[Event] = []
    async with fake_hub.running() as hub:
        hub.add("me/old", files)
        sources = Sources(home=home, hub=lambda: Hub(endpoint=hub.endpoint, cache=tmp_path / "cache"), registry=hub.endpoint)
        with pytest.raises(ConfigError, match="--allow-pickle"):
            await pull(sources, "me/old:F16", on_event=events.append)
        assert hub.sent["pytorch_model.bin"] == 0
        await pull(sources, "me/old:F16", on_event=events.append, allow_pickle=True)
    assert any("pickled weights, of which only tensors are loaded" in event.text for event in events if isinstance(event, Status))
    made = Store(home).find("me/old:F16").files[0]
    other = await convert(
        tiny_hf, out=tmp_path / "other.gguf", quantization="F16", home=llama_wheel.CACHE, on_event=events.append, name="old"
    )
    assert made.read_bytes() == other.path.read_bytes()


async def test_a_program_in_a_pickle_is_not_run(environment: Environment, tiny_hf: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    folder = pickled(environment, tiny_hf, tmp_path / "pickled", str(trace))
    with pytest.raises(ConversionFailed, match="its pickled weights hold more than tensors"):
        await convert(
            folder, out=tmp_path / "out.gguf", quantization="F16", home=llama_wheel.CACHE, on_event=lambda _: None, allow_pickle=True
        )
    assert not trace.exists()
    careless = "import torch, sys; torch.load(sys.argv[1], weights_only=False)"
    command = [environment.python, "-c", careless, folder / "pytorch_model.bin"]
    await asyncio.to_thread(subprocess.run, command, check=False, timeout=120, capture_output=True)
    assert trace.exists(), "or this test would show nothing"
