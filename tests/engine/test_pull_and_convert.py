"""A real Hugging Face model all the way: found on a hub, fetched, converted, quantized, named, served."""

from __future__ import annotations

from pathlib import Path

import fake_hub

import llama_wheel
from vllama_agent.engines.base import GenerateRequest, Sampling
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.store import Store
from vllama_agent.store.events import Event, Progress, Status
from vllama_agent.store.hub import Hub
from vllama_agent.store.pull import pull
from vllama_agent.store.sources import Sources
from vllama_core.config import LoadConfig


async def test_safetensors_of_the_hub_become_a_model_that_answers(tiny_hf: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "envs").symlink_to(llama_wheel.CACHE / "envs")
    files = {path.name: path.read_bytes() for path in tiny_hf.iterdir() if path.suffix != ".npz"}
    events: list[Event] = []
    async with fake_hub.running() as hub:
        hub.add("me/tiny", files | {"README.md": b"# tiny"})
        sources = Sources(home=home, hub=lambda: Hub(endpoint=hub.endpoint, cache=tmp_path / "cache"), registry=hub.endpoint)
        for quantization in ("Q4_K_M", "Q5_K_M", "Q8_0"):
            await pull(sources, f"me/tiny:{quantization}", on_event=events.append)
        assert hub.sent["model.safetensors"] == len(files["model.safetensors"])
    assert any(event.text.startswith("converting") for event in events if isinstance(event, Status))
    assert any(event.label is None for event in events if isinstance(event, Progress)), "the converter's own progress"
    for quantization in ("Q4_K_M", "Q5_K_M", "Q8_0"):
        artifact = Store(home).find(f"me/tiny:{quantization}")
        assert artifact.header.quantization == quantization
        engine = LlamaCppEngine(files=artifact.files, config=LoadConfig(ctx_size=256, kv_cells=1024, parallel=4), load_timeout=60)
        await engine.load()
        try:
            request = GenerateRequest(prompt="The quick", max_tokens=4, sampling=Sampling(temperature=0))
            async with engine.generate(request) as generation:
                assert [delta.finish async for delta in generation][-1] is not None
        finally:
            await engine.unload()
