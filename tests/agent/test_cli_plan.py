"""`vllama plan` as a person and as a Job run it: files here, a hub and a registry, and no byte of weights fetched."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_hub
import pytest
from fake_hub import FakeHub

from vllama_agent import cli

WEIGHTS = 8 << 20
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 8,
    "num_key_value_heads": 2, "vocab_size": 1024, "max_position_embeddings": 4096,
}  # fmt: skip


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(file_type: int = 15) -> bytes:
    """A model whose header says 8 MiB of weights, and that many bytes."""
    numbers = {
        "llama.block_count": 2, "llama.context_length": 4096, "llama.embedding_length": 1024, "llama.feed_forward_length": 2048,
        "llama.attention.head_count": 8, "llama.attention.head_count_kv": 2, "general.file_type": file_type,
    }  # fmt: skip
    tensors = {"token_embd.weight": (1024, 1024), "blk.0.attn_k.weight": (1024, 256), "blk.1.attn_k.weight": (1024, 768)}
    pairs = _text("general.architecture") + struct.pack("<I", 8) + _text("llama")
    pairs += b"".join(_text(key) + struct.pack("<II", 4, value) for key, value in numbers.items())
    infos, at = b"", 0
    for name, (inputs, outputs) in tensors.items():
        infos += _text(name) + struct.pack("<IQQIQ", 2, inputs, outputs, 0, at)
        at += inputs * outputs * 4
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(numbers) + 1) + pairs + infos
    return head + bytes(-len(head) % 32) + bytes(at)


def safetensors() -> bytes:
    names = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight")
    each = WEIGHTS // len(names)
    entries = {
        name: {"dtype": "BF16", "shape": [each // 2], "data_offsets": [index * each, (index + 1) * each]}
        for index, name in enumerate(names)
    }
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(WEIGHTS)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub.in_a_thread() as running:
        monkeypatch.setenv("VLLAMA_HOME", str(tmp_path / "home"))
        cache = tmp_path / "cache"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        yield running
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > WEIGHTS // 2], "weights were fetched"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["plan", *words, "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_hubs_gguf_is_planned_by_its_first_bytes(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("org/model-GGUF", {"model-Q4_K_M.gguf": gguf()})
    found = answer(capsys, "org/model-GGUF", "--memory", "1GiB")
    assert found["fits"]
    assert found["shape"] == {
        "architecture": "llama", "parameters": 2097152, "quantization": "Q4_K_M", "layers": 2, "trained_context": 4096, "weights": WEIGHTS,
    }  # fmt: skip
    assert found["settings"]["context"] == 4096


def test_the_quantization_that_was_asked_for_is_looked_at_itself(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("org/model-GGUF", {"model-Q4_K_M.gguf": gguf(), "model-Q8_0.gguf": gguf(7)})
    found = answer(capsys, "org/model-GGUF", "--memory", "1GiB", "--quantization", "q8_0")
    assert found["shape"]["quantization"] == "Q8_0"
    assert found["shape"]["weights"] == WEIGHTS


def test_original_weights_are_planned_as_what_they_would_be_converted_to(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    """The converter need not be installed for that."""
    hub.add("org/original", {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": safetensors()})
    found = answer(capsys, "org/original", "--memory", "1GiB")
    assert found["shape"]["quantization"] == "Q4_K_M"
    assert found["shape"]["weights"] == pytest.approx(WEIGHTS * 4.8944 / 16, rel=0.01)


def test_vllm_is_planned_with_the_original_weights(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("org/original", {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": safetensors()})
    found = answer(capsys, "org/original", "--engine", "vllm", "--memory", "24GiB", "--gpus", "2", "--context", "4k")
    assert (found["engine"], found["shape"]["weights"], found["shape"]["quantization"]) == ("vllm", WEIGHTS, "BF16")
    assert found["settings"]["tensor_parallel"] == 1
    assert found["settings"]["kv_cells"] > 1_000_000


def test_a_folder_of_original_files_is_planned_without_a_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    assert answer(capsys, str(tmp_path), "--engine", "vllm", "--memory", "24GiB", "--gpus", "1")["fits"]


def test_a_job_writes_its_answer_where_the_kubelet_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "model.gguf", tmp_path / "termination-log"
    file.write_bytes(gguf())
    assert cli.main(["plan", str(file), "--memory", "1GiB", "--output", str(output)]) == 0
    assert json.loads(output.read_text())["fits"]
    assert capsys.readouterr().out == ""
    assert cli.main(["plan", str(file), "--memory", "1GiB", "--output", str(tmp_path / "no" / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_people_get_a_sentence_a_table_and_ways_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf())
    assert cli.main(["plan", str(file), "--memory", "120MiB"]) == 0
    printed = capsys.readouterr().out
    assert "does not fit with llama.cpp: even 2048 tokens with 4 at once need 0.1 GiB" in printed
    assert "PART              MEMORY     GPU\nweights           8 MiB      -\n" in printed
    assert "it would fit\n  with 1 GiB of memory" in printed


def test_this_machine_is_planned_for_where_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf())
    assert answer(capsys, str(file))["available"]["host"] > 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--memory", "lots"], "'lots' is no size; write it like 24GiB"),
        (["--context", "long"], "'long' is no number of tokens"),
        (["--parallel", "0"], "--parallel is '0': it must be a whole number, 1 to 4096"),
        (["--gpus", "many", "--memory", "1G"], "--gpus is 'many'"),
        (["--engine", "mlx"], "--engine is 'mlx': it must be one of llama.cpp, vllm"),
        (["--quantization", "Q9"], "--quantization is 'Q9'"),
        (["--quantization", "Q8_0", "--engine", "vllm", "--gpus", "1", "--memory", "1G"], "vLLM loads a model as it was published"),
        (["--engine", "vllm", "--memory", "1G"], "vllm is planned for GPUs"),
    ],
)
def test_wrong_words_are_told_with_the_way_out(words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    assert cli.main(["plan", str(tmp_path), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_what_leads_nowhere_is_an_error(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "org/nothing", "--memory", "1GiB"]) == 1
    assert "org/nothing" in capsys.readouterr().err
