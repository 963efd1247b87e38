"""What sizing computes, against what libllama reserves and what the process then takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import descendants
import pytest

import llama_memory
import sketch_gguf
import tiny_gguf
from vllama_agent.engines.llama_cpp import helpers, spares, text
from vllama_agent.pool import needs
from vllama_agent.store import header
from vllama_core.config import LoadConfig
from vllama_core.sizing import gguf_shape, llama_cpp
from vllama_core.sizing.budget import Budget
from vllama_core.sizing.llama_cpp import Settings
from vllama_core.sizing.shape import MIB, ModelShape

TOOL = Path(llama_memory.__file__)
CLOSE = 0.05
SETTINGS = Settings(context=llama_memory.CELLS, cells=llama_memory.CELLS, parallel=llama_memory.SEQUENCES, ubatch=llama_memory.ROWS)
TINY = ("llama", "qwen2", "gemma3", "mamba", "jamba", "lfm2")


def run(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, timeout=120, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def shape_of(file: Path) -> ModelShape:
    return gguf_shape.shape_of([header.read(file)])


@pytest.fixture(scope="session")
def reserved(demo_model: Path) -> dict[Path, dict[str, float]]:
    """Of real models' shapes, the demo model and the tiny ones, by libllama's own words."""
    files = [demo_model, *map(sketch_gguf.ensure, sketch_gguf.MODELS), *map(tiny_gguf.ensure, TINY)]
    found = run("reserve", *map(str, files))
    return {file: {name: value for name, value in line.items() if name != "file"} for file, line in zip(files, found, strict=True)}


def test_libllamas_own_figures_are_met_within_five_percent(reserved: dict[Path, dict[str, float]]) -> None:
    """Seventeen models: dense, of experts, windowed, tied, recurrent and hybrid."""
    off = {}
    for file, told in reserved.items():
        shape = shape_of(file)
        estimate = llama_cpp.estimate(shape, SETTINGS)
        ours = estimate.total - estimate.of("worker process") - estimate.of("text helpers")
        off[file.name] = ours / (sum(told.values()) * MIB) - 1
    assert len(off) == 17
    assert {name: share for name, share in off.items() if abs(share) > CLOSE} == {}


def test_each_part_is_met_by_itself(reserved: dict[Path, dict[str, float]]) -> None:
    """Weights, pool, states and logits to the printed digit; buffers of experts are reserved in holes that others leave."""
    for file, told in reserved.items():
        shape = shape_of(file)
        exact = {
            "weights": shape.weights.total,
            "kv": llama_cpp.kv_bytes(shape, SETTINGS),
            "states": shape.state * llama_memory.RECURRENT,
            "logits": llama_cpp.logits_bytes(shape, SETTINGS),
        }
        assert {name: size / MIB for name, size in exact.items()} == pytest.approx({name: told[name] for name in exact}, abs=0.02), file
        assert llama_cpp.compute_bytes(shape, SETTINGS) / MIB == pytest.approx(told["compute"], rel=0.1), file


@pytest.mark.skipif(sys.platform != "linux", reason="this machine tells no resident memory in /proc")
@pytest.mark.parametrize("name", ["demo", "llama", "qwen2", "mamba", "qwen3-0.6b"])
def test_the_process_takes_what_was_computed_within_five_percent(name: str, demo_model: Path) -> None:
    """The last one is 1.1 GiB of 16-bit weights. Libraries' pages are left out: how many are mapped depends on the page cache."""
    sketched = name in sketch_gguf.MODELS
    file = sketch_gguf.ensure(name) if sketched else demo_model if name == "demo" else tiny_gguf.ensure(name)
    shape = shape_of(file)
    [measured] = run("resident", str(SETTINGS.cells), str(file))
    expected = llama_cpp.resident_bytes(shape, SETTINGS) - llama_cpp.LIBRARIES - (llama_cpp.vocabulary_bytes(shape) if sketched else 0)
    assert measured["resident"] == pytest.approx(expected, rel=CLOSE)


@pytest.mark.skipif(sys.platform != "linux", reason="this machine tells no anonymous memory in /proc")
@pytest.mark.parametrize("name", ["demo", "llama", "qwen2"])
async def test_a_text_helper_takes_what_was_computed_within_ten_percent(name: str, demo_model: Path) -> None:
    """After a job of each kind that loads something of its own. Vocabularies of 32,000 to 262,144 tokens, with and without merges."""
    file = demo_model if name == "demo" else tiny_gguf.ensure(name)
    helper = await helpers._Helper.load(await spares.HELPER.start(), [file], None)
    try:
        [pid] = [child.pid for child, command in descendants.living().items() if command[1:3] == ["-m", text.__name__]]
        await helper.ask({"t": "tokenize", "text": "Paris is", "add_special": True, "parse_special": True})
        await helper.ask({"t": "grammar", "kind": "json_schema", "text": '{"type": "object"}', "field": "format", "begun": None})
        status = Path(f"/proc/{pid}/status").read_text()
    finally:
        await helper.stop()
    anonymous = int(status.partition("RssAnon:")[2].split()[0]) * 1024
    assert anonymous == pytest.approx(llama_cpp.HELPER + llama_cpp.vocabulary_bytes(shape_of(file)), rel=2 * CLOSE)


def test_the_demo_model_keeps_its_published_settings(demo_model: Path) -> None:
    """BENCHMARKS.md was measured with these, on a machine of 24 GiB."""
    found = needs.sized(shape_of(demo_model), LoadConfig(), Budget(host=19 << 30, whole=True)).config
    assert (found.ctx_size, found.parallel, found.kv_cells) == (8192, 64, 32768)
