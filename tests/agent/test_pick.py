"""Which files of a repository make the model that is wanted."""

import pytest

from vllama_agent.store import pick
from vllama_core.errors import ConfigError

MANY = [
    "README.md",
    "config.json",
    "imatrix_unsloth.gguf",
    "x-imatrix.gguf",
    "mmproj-F32.gguf",
    "mmproj-F16.gguf",
    "mtp-x-Q4_K_M.gguf",
    "x-Q2_K.gguf",
    "x-Q4_K_M.gguf",
    "x-Q5_K_M.gguf",
    "x-Q8_0.gguf",
    "x-UD-Q4_K_XL.gguf",
    "BF16/x-BF16-00001-of-00002.gguf",
    "BF16/x-BF16-00002-of-00002.gguf",
]


def test_the_default_quantization_is_taken_with_its_projector() -> None:
    assert pick.gguf(MANY, repo="a/b") == pick.Choice(files=("x-Q4_K_M.gguf",), projector="mmproj-F16.gguf", quantization="Q4_K_M")


def test_a_split_set_is_one_model() -> None:
    choice = pick.gguf(MANY, repo="a/b", wanted="BF16")
    assert choice.files == ("BF16/x-BF16-00001-of-00002.gguf", "BF16/x-BF16-00002-of-00002.gguf")
    assert choice.projector == "mmproj-F16.gguf"


@pytest.mark.parametrize(
    ("wanted", "taken", "note"),
    [
        ("Q6_K", "Q8_0", "a/b has no Q6_K; taking Q8_0, the nearest better one"),
        ("Q3_K_M", "Q4_K_M", "a/b has no Q3_K_M; taking Q4_K_M, the nearest better one"),
        ("F32", "BF16", "a/b has no F32; taking BF16, the nearest one that there is"),
        ("Q5_K_M", "Q5_K_M", None),
    ],
)
def test_the_nearest_one_is_taken_and_told(wanted: str, taken: str, note: str | None) -> None:
    choice = pick.gguf(MANY, repo="a/b", wanted=wanted)
    assert (choice.quantization, choice.note) == (taken, note)


def test_importance_matrices_projectors_and_draft_heads_are_no_models() -> None:
    for path in ("imatrix_unsloth.gguf", "x.imatrix.gguf", "mmproj-model-f16.gguf", "mtp-x-Q4_K_M.gguf", "ggml-vocab-x.gguf"):
        with pytest.raises(pick.NoGguf):
            pick.gguf([path], repo="a/b")


def test_a_set_with_a_missing_part_is_no_model() -> None:
    with pytest.raises(pick.NoGguf):
        pick.gguf(["x-Q4_K_M-00001-of-00003.gguf", "x-Q4_K_M-00003-of-00003.gguf"], repo="a/b")


def test_a_named_file_is_taken_whatever_else_there_is() -> None:
    assert pick.gguf(MANY, repo="a/b", file="X-q2_k.gguf").files == ("x-Q2_K.gguf",)
    assert len(pick.gguf(MANY, repo="a/b", file="BF16/x-BF16-00002-of-00002.gguf").files) == 2


@pytest.mark.parametrize("file", ["x-Q1.gguf", "mmproj-F16.gguf"])
def test_a_named_file_that_is_no_model_is_told_with_those_that_are(file: str) -> None:
    with pytest.raises(ConfigError, match=r"x-Q4_K_M\.gguf"):
        pick.gguf(MANY, repo="a/b", file=file)


def test_two_models_in_one_repository_are_told_apart_by_file() -> None:
    with pytest.raises(ConfigError, match=r"more than one model: large-Q4_K_M.gguf, small-Q4_K_M.gguf; name a file: a/b:large"):
        pick.gguf(["small-Q4_K_M.gguf", "large-Q4_K_M.gguf"], repo="a/b")


def test_a_file_whose_name_says_no_quantization_is_taken_if_it_is_the_only_one() -> None:
    assert pick.gguf(["model.gguf"], repo="a/b").files == ("model.gguf",)
    assert pick.gguf(["model.gguf", "x-Q8_0.gguf"], repo="a/b").files == ("x-Q8_0.gguf",)


def test_a_whole_file_wins_over_the_same_in_parts() -> None:
    files = ["q/x-Q4_K_M-00001-of-00002.gguf", "q/x-Q4_K_M-00002-of-00002.gguf", "x-Q4_K_M.gguf"]
    assert pick.gguf(files, repo="a/b").files == ("x-Q4_K_M.gguf",)


def test_repositories_are_asked_in_order() -> None:
    assert pick.repositories("Qwen/Qwen3-8B")[:6] == [
        "Qwen/Qwen3-8B",
        "Qwen/Qwen3-8B-GGUF",
        "ggml-org/Qwen3-8B-GGUF",
        "bartowski/Qwen_Qwen3-8B-GGUF",
        "bartowski/Qwen3-8B-GGUF",
        "unsloth/Qwen3-8B-GGUF",
    ]
    assert pick.repositories("a/b", ["me"]) == ["a/b", "a/b-GGUF", "me/b-GGUF"]
    assert pick.repositories("a/b-GGUF") == ["a/b-GGUF"]


def test_a_snapshot_has_weights_configuration_and_tokenizer_and_nothing_else() -> None:
    files = [
        "README.md",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    more = ["consolidated.safetensors", "pytorch_model.bin", "original/params.json", "onnx/model.onnx", "tokenizer.model", "run.py"]
    expected = (
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.model",
    )
    assert pick.snapshot(files + more, repo="a/b", allow_pickle=True) == pick.Snapshot(expected)


def test_weights_that_are_pickles_are_taken_where_that_is_allowed() -> None:
    parts = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    listed = ["config.json", *parts, "pytorch_model.bin.index.json", "training_args.bin", "optimizer.pt", "run.py"]
    assert pick.snapshot(listed, repo="a/b", allow_pickle=True) == pick.Snapshot(
        (*parts, "config.json", "pytorch_model.bin.index.json"), pickled=True
    )


def test_weights_that_run_code_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"can run programs when they are read; .*`vllama pull --allow-pickle NAME`"):
        pick.snapshot(["config.json", "pytorch_model.bin"], repo="a/b")
    with pytest.raises(ConfigError, match="pickles of a kind that is not read"):
        pick.snapshot(["config.json", "consolidated.00.pth"], repo="a/b", allow_pickle=True)
    with pytest.raises(ConfigError, match="neither GGUF files nor safetensors"):
        pick.snapshot(["config.json", "training_args.bin"], repo="a/b")
