"""Which files a converter sees, and what its failures are called."""

from pathlib import PurePosixPath

import pytest

from vllama_agent.store import conversion
from vllama_agent.store.conversion import Failure
from vllama_core.errors import ConfigError

USUAL = ["config.json", "model.safetensors", "tokenizer.model", "chat_template.jinja", "1_Pooling/config.json", "LICENSE"]


def test_programs_of_strangers_are_not_seen() -> None:
    listed = [*USUAL, "modeling_evil.py", "pytorch_model.bin", "run.sh", "training_args.bin", "onnx/model.onnx"]
    assert conversion.visible(listed, model="m") == sorted(USUAL)


def test_pickles_are_refused() -> None:
    listed = ["config.json", "pytorch_model.bin"]
    with pytest.raises(ConfigError, match=r"pickles \(pytorch_model.bin\).*take a repository with safetensors.*--allow-pickle"):
        conversion.visible(listed, model="m")


def test_pickles_are_seen_where_that_is_allowed_and_there_is_nothing_better() -> None:
    listed = ["config.json", "pytorch_model.bin", "training_args.bin"]
    assert conversion.visible(listed, model="m", allow_pickle=True) == ["pytorch_model.bin", "config.json"]
    assert conversion.visible([*listed, "model.safetensors"], model="m", allow_pickle=True) == ["config.json", "model.safetensors"]


def test_a_folder_without_weights_is_told() -> None:
    with pytest.raises(ConfigError, match=r"m: there are no weights"):
        conversion.visible(["config.json", "README.md"], model="m")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/c/hub/models--Qwen--Qwen3-0.6B/snapshots/0123456789abcdef", "Qwen3-0.6B"),
        ("/c/hub/models--gpt2/snapshots/0123", "gpt2"),
        ("/data/my-model", "my-model"),
        ("/", "model"),
    ],
)
def test_a_model_is_called_as_its_repository_or_folder(path: str, name: str) -> None:
    assert conversion.model_name(PurePosixPath(path)) == name


def test_parts_that_are_left_out_are_noted() -> None:
    assert conversion.notes_on({"vision_config": {}, "audio_config": None}) == (
        "the model's vision part is not converted: the file takes text only",
    )


WARNING = "** WARNING: The BPE pre-tokenizer was not recognized!"


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (
            Failure("SystemExit", "1", ("Model FancyForCausalLM is not supported",)),
            ["architecture FancyForCausalLM", "--format hf", "0.3.36"],
        ),
        (
            Failure("NotImplementedError", "BPE pre-tokenizer was not recognized - update it", (WARNING, "** chkhsh:  0badf00d")),
            ["pre-tokenizer with checksum 0badf00d", "GGUF"],
        ),
        (Failure("ValueError", "Failed to detect model architecture"), ["config.json names no architecture"]),
        (Failure("MemoryError", ""), ["more than the 3.0 GB of memory"]),
        (Failure("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried"), ["more than the 3.0 GB"]),
        (Failure("OSError", "[Errno 28] No space left on device"), ["disk became full"]),
        (Failure("OSError", "/x does not appear to have a file named tokenization_x.py"), ["Python program", "runs none"]),
        (Failure("KeyError", "'rope'"), ["failed: KeyError: 'rope'"]),
        (Failure("", "it was killed", ("last line",)), ["it was killed last line"]),
    ],
)
def test_a_failure_says_what_it_is_and_what_to_try(failure: Failure, words: list[str]) -> None:
    sentence = conversion.explain(failure, model="some-model", memory=3_000_000_000)
    assert sentence.startswith("some-model: ")
    assert [word for word in words if word not in sentence] == []
